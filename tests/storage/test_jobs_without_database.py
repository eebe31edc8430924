"""PostgreSQL is killed under a job: its lease survives, and no step counts twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import DBAPIError

from storage import worker
from storage.db import abandon, db, release
from storage.jobs import runner, table
from storage.models import Job, JobKind, JobState
from storage.runtime import runtime
from storage.worker import Worker
from support import database
from support.postgres import Postgres
from support.soak import times
from support.store import Store

STEPS = 4


class Interrupted:
    """A job of a few steps, in some of which the database goes."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.during: dict[int, Callable[[], None]] = {}

    def begin(self, claim: runner.Claim, array: Any) -> tuple[int, int]:
        """Say how many steps there are."""
        return STEPS, 0

    def step(self, claim: runner.Claim, array: Any) -> runner.Step:
        """Do the next; doing one twice is harmless."""
        number = int(claim.cursor or 0) + 1
        self.during.pop(number, lambda: None)()
        self.done.append(number)
        step = runner.Step(str(number), objects=1, done=number == STEPS)
        step.count("steps")
        return step

    def finish(self, session: Any, job: Job) -> None:
        """Nothing follows."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    """The only kind of job there is, at full pace; no chores besides."""
    work = Interrupted()
    monkeypatch.setattr(runner, "_works", {JobKind.SCRUB: work})
    monkeypatch.setattr(runner, "pace", lambda: 100)
    monkeypatch.setattr(worker, "_chores", {})
    return work


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    """A server of PostgreSQL that calls fsync."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def store(calm: None, durable: Postgres, tmp_path: Path) -> Iterator[Store]:
    """The storage of an application over it."""
    app: Flask = database.application(tmp_path, durable.url(), {})
    with app.app_context():
        yield Store(app)
    database.close(app)


def _job(number: int) -> Job:
    job = db.session.get_one(Job, number, populate_existing=True)
    release()
    return job


def _round(one: Worker) -> None:
    """A round as the loop does it."""
    runtime().rests.clear()
    try:
        one.tick()
    except DBAPIError:
        abandon()


def test_a_lease_survives_a_killed_database(
    store: Store, durable: Postgres, work: Interrupted
) -> None:
    """The step that was not written down is done again, by the same holder."""
    crashes = durable.recoveries()
    for _ in range(times(1)):
        one = Worker()
        work.done.clear()
        work.during = {1: durable.kill, 3: durable.cut}
        number = table.request(JobKind.SCRUB)
        _round(one)
        lease = dict(runtime().leases)
        assert set(lease) == {number}
        _round(one)
        durable.start()
        for _ in range(3 * STEPS):
            _round(one)
        job = _job(number)
        assert job.state == JobState.DONE
        assert job.takeovers == 0
        assert job.counts == {"steps": STEPS}
        # A connection that was cut is noticed before it is used, and costs nothing.
        assert work.done == [1, 1, 2, 3, 4]
    assert durable.recoveries() - crashes == times(1)


def test_a_step_that_breaks_leaves_the_others_their_turn(
    store: Store, work: Interrupted
) -> None:
    """A mistake in one job is told, and ends neither the round nor the worker."""

    def broken() -> None:
        raise ZeroDivisionError("a mistake of ours")

    work.during = {1: broken}
    number = table.request(JobKind.SCRUB)
    one = Worker()
    one.tick()
    job = _job(number)
    assert "ZeroDivisionError" in (job.problem or "")
    assert job.state == JobState.RUNNING
    for _ in range(2 * STEPS):
        _round(one)
    job = _job(number)
    assert job.state == JobState.DONE
