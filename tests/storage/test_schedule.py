"""Scrub, drill and sweep come by themselves, once, when their time has come."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from storage.db import release, transaction, utcnow
from storage.jobs import runner, schedule, table
from storage.models import ArrayRow, Event, Job, JobKind, JobState
from support.store import Store

DAY = timedelta(days=1)


def age(days: float) -> datetime:
    """Let the array be so many days old."""
    made = utcnow() - timedelta(days=days)
    with transaction() as session:
        session.execute(update(ArrayRow).values(created_at=made))
    return made


def ended(kind: JobKind, days: float, **values: Any) -> None:
    """Note a job that ended so many days ago."""
    values = {"state": JobState.DONE, "counts": {}, **values}
    with transaction() as session:
        ended_at = utcnow() - timedelta(days=days)
        session.add(Job(kind=kind, finished_at=ended_at, **values))


def asked(store: Store, *, sweeps: bool = False) -> list[str]:
    """Look at what is due, and return what is under way after that."""
    schedule.run(store.runtime.array())
    active = (job.kind for job in store.rows(Job) if job.state in table.ACTIVE)
    return sorted(kind for kind in active if kind != JobKind.SWEEP or sweeps)


def until(when: datetime | None) -> float:
    """How many days from now; the array was made when the tests began."""
    release()
    assert when is not None
    return round((when - utcnow()) / DAY, 1)


def test_a_new_array_waits(store: Store) -> None:
    store.put(10)
    assert asked(store) == []
    assert until(schedule.next_scrub()) == 30
    assert until(schedule.next_drill()) == 1
    assert schedule.last_full_scrub() is None
    assert schedule.last_drill() is None


def test_the_first_drill_comes_after_a_day_when_there_is_anything(
    store: Store,
) -> None:
    age(2)
    assert asked(store) == []
    assert schedule.next_drill() is None
    store.put(10)
    assert asked(store) == ["drill"]
    assert asked(store) == ["drill"], "one at a time"


def test_the_scrub_comes_on_its_period_after_the_last_full_one(store: Store) -> None:
    age(31)
    assert asked(store) == ["scrub"]
    with transaction() as session:
        session.execute(
            update(Job).values(state=JobState.DONE, finished_at=utcnow(), counts={})
        )
    assert asked(store) == []
    assert until(schedule.next_scrub()) == 30
    ended(JobKind.SCRUB, 2)
    last = schedule.last_full_scrub()
    assert last is not None and last.finished_at is not None
    assert utcnow() - last.finished_at < DAY, "the last one counts"


@pytest.mark.parametrize(
    "values",
    [{"counts": {"unreachable": 3}}, {"state": JobState.CANCELLED}],
    ids=["partial", "cancelled"],
)
def test_a_scrub_that_was_not_full_is_tried_again_a_day_later(
    store: Store, values: dict[str, Any]
) -> None:
    age(60)
    ended(JobKind.SCRUB, 40)
    ended(JobKind.SCRUB, 0.5, **values)
    assert asked(store) == []
    assert until(schedule.next_scrub()) == 0.5
    last = schedule.last_full_scrub()
    assert last is not None and last.finished_at is not None
    assert utcnow() - last.finished_at > 39 * DAY
    ended(JobKind.SCRUB, 1.5, **values)
    with transaction() as session:
        late = utcnow() - 1.1 * DAY
        session.execute(
            update(Job).where(Job.finished_at > late).values(finished_at=late)
        )
    assert asked(store) == ["scrub"]


def paused(days: float, problem: str | None) -> None:
    """Note a scrub that was paused so many days ago."""
    at = utcnow() - timedelta(days=days)
    with transaction() as session:
        job = Job(kind=JobKind.SCRUB, state=JobState.PAUSED, problem=problem)
        job.touched_at = at
        session.add(job)


def test_a_scrub_that_paused_itself_goes_on_a_day_later(store: Store) -> None:
    """It finds the trouble mended, or warns again; one by hand waits for the hand."""
    age(60)
    paused(0.5, "Much looks lost.")
    assert until(schedule.next_scrub()) == 0.5
    assert schedule.run(store.runtime.array()) == 1, "the sweep, and no scrub"
    with transaction() as session:
        session.execute(update(Job).values(touched_at=utcnow() - 1.1 * DAY))
    assert schedule.run(store.runtime.array()) == 1
    assert schedule.run(store.runtime.array()) == 0
    (job,) = (job for job in store.rows(Job) if job.kind == JobKind.SCRUB)
    assert (job.state, job.problem) == (JobState.QUEUED, None)
    assert table.pause(job.id)
    assert schedule.run(store.runtime.array()) == 0
    assert [event.fields.get("state") for event in store.rows(Event)][-2:] == [
        "queued",
        "paused",
    ]


def test_the_sweep_is_daily_once_somebody_can_do_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(2)
    monkeypatch.delitem(runner._works, JobKind.SWEEP, raising=False)
    assert asked(store, sweeps=True) == []
    monkeypatch.setitem(runner._works, JobKind.SWEEP, None)
    assert asked(store, sweeps=True) == ["sweep"]


def test_two_workers_ask_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw that it is due; the job of the first has even ended meanwhile."""
    age(31)
    real, fired = schedule._ask, []

    def late(kind: JobKind, when: schedule.Next) -> bool:
        if not fired:
            fired.append(kind)
            assert real(kind, when)
            with transaction() as session:
                session.execute(
                    update(Job).values(state=JobState.DONE, finished_at=utcnow())
                )
        return real(kind, when)

    monkeypatch.setattr(schedule, "_ask", late)
    monkeypatch.delitem(runner._works, JobKind.SWEEP)
    assert asked(store) == []
    assert fired == [JobKind.SCRUB]
    assert len(store.rows(Job)) == 1


def test_the_worker_does_it(store: Store) -> None:
    """In its rounds: asked for, and done."""
    age(31)
    store.put(1000)
    table.set_pace(100)
    store.settle()
    done = {job.kind for job in store.rows(Job) if job.state == JobState.DONE}
    assert {"scrub", "drill"} <= done
    assert until(schedule.next_scrub()) == 30
    assert until(schedule.next_drill()) == 7
