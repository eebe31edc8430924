"""The wall clock is set a day forward and back: no loss, and nothing goes early."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from raid.journal import EntryFlag
from storage import blobs, clock, debts, kept, purge, uploads
from storage.db import db, release, transaction, utcnow
from storage.errors import Fenced
from storage.jobs import receipts, runner, schedule, table
from storage.journal import chain, exporter
from storage.models import ArrayRow, Blob, Debt, Job, JobKind, JobState, Upload
from storage.runtime import runtime
from support.arrays import Body
from support.clock import Clock
from support.soak import times
from support.store import KIB, Store, wanted

DAY = timedelta(days=1)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock of this process."""
    return Clock(monkeypatch)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Give a function that lets seconds pass on both clocks, for `storage.clock`."""
    passed = [0.0]
    real, wall = time.monotonic, utcnow

    def later(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(clock.time, "monotonic", lambda: real() + passed[0])
    monkeypatch.setattr(clock, "utcnow", lambda: wall() + timedelta(seconds=passed[0]))
    yield later


def _near(one: datetime, other: datetime) -> bool:
    return abs(one - other) < timedelta(seconds=2)


# -- the two moments


@pytest.mark.parametrize("days", [-1, 1])
def test_a_jump_widens_what_may_be_now(
    wall: Clock, moment: Callable[[float], None], days: int
) -> None:
    """One moment goes with the jump and the other does not, until it is believed."""
    assert _near(clock.earliest(), wall.true())
    assert _near(clock.latest(), wall.true())
    wall.jump(days=days)
    early, late = sorted([wall.true(), wall.true() + days * DAY])
    assert _near(clock.earliest(), early)
    assert _near(clock.latest(), late)
    moment(clock.PATIENCE - 60)
    assert clock.latest() - clock.earliest() > DAY - timedelta(seconds=2)
    moment(61)
    assert clock.latest() - clock.earliest() < timedelta(seconds=2)
    assert _near(clock.earliest(), wall.true() + DAY + days * DAY)


def test_a_clock_that_is_put_right_at_once_leaves_no_trace(wall: Clock) -> None:
    """There and back is as if nothing had been."""
    for days in (1, -1):
        wall.jump(days=days)
        assert clock.latest() - clock.earliest() > DAY - timedelta(seconds=2)
        wall.right()
        assert clock.latest() - clock.earliest() < timedelta(seconds=2)


# -- purges


@pytest.mark.sqlite
def test_no_grace_ends_because_the_clock_was_set(store: Store, wall: Clock) -> None:
    """Forward while it runs; or back when it began, and right again later."""
    first = store.put(70 * KIB)
    store.let_go(first.uuid)
    wall.jump(days=1, hours=1)
    store.settle()
    assert wall.asked > 0
    assert store.get(first.uuid)
    wall.right()
    wall.jump(days=-1, hours=-1)
    second = store.put(70 * KIB)
    store.let_go(second.uuid)
    wall.right()
    store.settle()
    for blob in (first, second):
        assert store.get(blob.uuid), "the grace of a running download was cut short"
    _age_graces()
    store.settle()
    assert store.rows(Blob) == []
    assert store.objects() == set()


def _age_graces() -> None:
    with transaction() as session:
        session.execute(update(Blob).values(due_at=utcnow() - timedelta(seconds=1)))


# -- uploads


class Jumpy(Body):
    """A body during which the clock is set and the worker does its rounds."""

    def __init__(self, data: bytes, during: Callable[[], None]) -> None:
        super().__init__(data)
        self._during = during

    def readinto(self, view: memoryview) -> int:
        """Give a piece, and let something happen."""
        self._during()
        return super().readinto(view[: 1 << 20])


@pytest.mark.sqlite
@pytest.mark.parametrize("days", [1, -1])
def test_uploads_under_way_are_whole_or_refused(
    store: Store, wall: Clock, days: int
) -> None:
    """A worker may take a jump for silence: refused then, and never half there."""
    kept = refused = 0
    for number in range(times(3)):
        data = os.urandom(3 * 1024 * KIB)
        steps = iter([lambda: wall.jump(days=days), wall.right])

        def during(steps: Any = steps, touch: int = number % 2) -> None:
            next(steps, lambda: None)()
            if touch:
                uploads.touch(list(store.runtime.uploads))
            store.tick()

        source = Jumpy(data, during)
        try:
            with (
                blobs.receive(wanted(data), source, lambda _: None) as incoming,
                transaction() as session,
            ):
                store.contents[incoming.commit(session).uuid] = data
            kept += 1
        except Fenced:
            refused += 1
    assert kept > 0, refused
    wall.right()
    store.settle()
    store.check()
    assert store.rows(Upload) == []
    assert store.leftovers() == set()


@pytest.mark.postgresql
@pytest.mark.parametrize("ahead", [600, -600])
def test_hosts_whose_clocks_differ_leave_each_others_uploads_alone(
    store: Store, wall: Clock, ahead: int
) -> None:
    """A worker ten minutes off judges by the clock of the database, as all do."""
    data = os.urandom(3 * 1024 * KIB)
    looked: list[int] = []

    def elsewhere() -> None:
        wall.jump(seconds=ahead)
        looked.append(uploads.undo_abandoned(store.runtime.array()))
        wall.right()

    with (
        blobs.receive(wanted(data), Jumpy(data, elsewhere), lambda _: None) as incoming,
        transaction() as session,
    ):
        store.contents[incoming.commit(session).uuid] = data
    assert len(looked) > 2
    assert set(looked) == {0}
    assert wall.asked > 0
    store.check()


@pytest.mark.sqlite
def test_an_upload_from_the_future_is_undone(store: Store, wall: Clock) -> None:
    """Its process died while the clock was ahead; nobody waits for that day."""
    wall.jump(days=1)
    log = uploads.Log(wanted(b"x" * 10), lambda _: None)
    log.begin()
    wall.right()
    store.settle()
    assert store.rows(Upload) == []


# -- debts


@pytest.mark.sqlite
def test_debts_are_paid_although_they_were_put_off_for_a_day(
    store: Store, wall: Clock
) -> None:
    """A wait that was written by a clock ahead is no reason to stay owed."""
    store.lose(0)
    store.put(1000)
    wall.jump(days=1)
    with transaction() as session:
        session.execute(
            update(Debt).values(due_at=utcnow() + timedelta(seconds=60), tries=5)
        )
    wall.right()
    member = store.debts()[0].member_uuid
    assert len(debts._claim(member).due) == 1
    with transaction() as session:
        session.execute(update(Debt).values(due_at=utcnow() + timedelta(seconds=3600)))
    assert debts._claim(member).due == []
    store.bring_back(0)
    store.settle()
    assert store.debts() == []


@pytest.mark.sqlite
def test_what_a_member_keeps_is_tried_again_although_the_clock_was_ahead(
    make_store: Callable[..., Store], wall: Clock
) -> None:
    """A day counted from that moment would be years; a day from now is waited for."""
    store = make_store(PURGE_GRACE_SECONDS="0")
    blob = store.put(10).uuid
    store.let_go(blob)
    purge.begin_due()
    array = store.runtime.array()
    pairs = [(blob, debt.member_uuid) for debt in store.debts()]
    kept.note(array, pairs)
    assert purge.run(array) == 0
    wall.jump(days=3000)
    kept.note(array, pairs)
    wall.right()
    assert purge.run(array) == 1
    assert store.rows(Blob) == store.debts() == []


# -- jobs


class Counting:
    """A job of ten steps; each writes its number where both writers would."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.during: Callable[[], None] = lambda: None

    def begin(self, claim: runner.Claim, array: Any) -> tuple[int, int]:
        """There are ten objects."""
        return 10, 0

    def step(self, claim: runner.Claim, array: Any) -> runner.Step:
        """Do the next; doing one twice is harmless."""
        number = int(claim.cursor or 0) + 1
        self.during()
        self.done.append(number)
        step = runner.Step(str(number), objects=1, done=number == 10)
        step.count("steps")
        return step

    def finish(self, session: Any, job: Job) -> None:
        """Nothing follows."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The only kind of job there is, at full pace."""
    work = Counting()
    monkeypatch.setattr(runner, "_works", {JobKind.SCRUB: work})
    monkeypatch.setattr(runner, "pace", lambda: 100)
    return work


def _request() -> int:
    return int(table.request(JobKind.SCRUB) or 0)


def _job() -> Job:
    job = db.session.scalars(
        select(Job), execution_options={"populate_existing": True}
    ).one()
    release()
    return job


def _rest() -> None:
    runtime().rests.clear()


def _other_worker() -> None:
    """Go on as a process that holds no lease."""
    runtime().leases.clear()
    _rest()


def test_two_workers_whose_clocks_differ_do_no_harm(
    store: Store, wall: Clock, work: Counting
) -> None:
    """A lease that looks over is taken; what its first holder writes is refused."""
    number = _request()
    array = store.runtime.array()

    def overtake() -> None:
        work.during = lambda: None
        mine = dict(runtime().leases)
        _other_worker()
        wall.jump(days=1)
        runner.run_step(array, number)
        wall.right()
        runtime().leases.clear()
        runtime().leases.update(mine)

    work.during = overtake
    assert runner.run_step(array, number) == 0
    assert work.done == [1, 1], "both did it"
    job = _job()
    assert (job.cursor, job.done_objects, job.takeovers) == ("1", 1, 1)
    _other_worker()
    for _ in range(30):
        runner.run_step(array, number)
        _rest()
    job = _job()
    assert job.state == JobState.DONE
    assert job.done_objects == 10
    assert job.counts == {"steps": 10}


@pytest.mark.sqlite
def test_a_lease_from_the_future_does_not_stop_a_job(
    store: Store, wall: Clock, work: Counting
) -> None:
    """Its holder died while the clock was a day ahead."""
    number = _request()
    wall.jump(days=1)
    assert runner.run(store.runtime.array()) == 1
    wall.right()
    _other_worker()
    assert runner.run(store.runtime.array()) == 1
    assert _job().takeovers == 1
    assert work.done == [1, 2]
    _other_worker()
    assert runner.run_step(store.runtime.array(), number) == 0, "a true lease holds"
    assert datetime.now(UTC) < (_job().lease_until or utcnow())


# -- what comes by itself


@pytest.mark.parametrize("kind", [JobKind.SCRUB, JobKind.DRILL, JobKind.SWEEP])
def test_what_ended_in_the_future_puts_nothing_off(
    store: Store, wall: Clock, kind: JobKind
) -> None:
    """The clock was years ahead while a job ended; the next one is due as ever."""
    store.put(10)
    wall.jump(days=3000)
    with transaction() as session:
        session.add(Job(kind=kind, state=JobState.DONE, finished_at=utcnow()))
    wall.right()
    with transaction() as session:
        long_ago = utcnow() - 50 * DAY
        session.execute(update(ArrayRow).values(created_at=long_ago))
    schedule.run(store.runtime.array())
    assert kind in {job.kind for job in store.rows(Job) if job.state == JobState.QUEUED}


def test_receipts_of_the_future_put_nothing_off(store: Store, wall: Clock) -> None:
    wall.jump(days=3000)
    with transaction() as session:
        ended = {"state": JobState.DONE, "finished_at": utcnow()}
        session.add(Job(kind=JobKind.RECEIPTS, **ended))
    wall.right()
    blob = store.put(10)
    with transaction() as session:
        session.get_one(Blob, blob.uuid).created_at = utcnow() - DAY
    assert receipts.request() == 1


def test_a_snapshot_from_the_future_does_not_stop_the_journal(
    store: Store, wall: Clock
) -> None:
    """Whoever began it died while the clock was ahead."""
    wall.jump(days=3000)
    with transaction() as session:
        tail = chain.lock(session)
        tail.add(session, b"", EntryFlag.SNAPSHOT | EntryFlag.FIRST)
    wall.right()
    exporter.run(store.runtime.array())
    assert store.array_row().journal_number
