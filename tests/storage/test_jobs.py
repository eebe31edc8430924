"""Jobs: one lease, one step at a time, and a late worker that can do no harm."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from raid.array import Array
from raid.errors import BlobUnreachable
from storage import history, maps
from storage.db import db, release, transaction, utcnow
from storage.errors import NoArray, NotNow
from storage.jobs import runner, table
from storage.jobs.runner import Claim, GiveUp, Step
from storage.models import Event, Job, JobKind, JobState
from storage.runtime import Runtime
from storage.worker import Worker
from support.store import Store

KIND = JobKind.SWEEP
LAST = 5


class Clock:
    """The monotonic clock of the runner, which moves when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Counting:
    """A job that counts to five, a number a step, and does what a test wants."""

    clock: Clock
    begun: int = 0
    seen: list[str | None] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    seconds: float = 1.0
    finished: list[int] = field(default_factory=list)

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:
        self.begun += 1
        return LAST, LAST * 100

    def step(self, claim: Claim, array: Array) -> Step:
        self.seen.append(claim.cursor)
        number = int(claim.cursor or 0) + 1
        self.clock.now += self.seconds
        self.meanwhile()
        step = Step(cursor=str(number), bytes=100, objects=1, done=number == LAST)
        step.count("numbers")
        step.report.append({"number": number})
        return step

    def finish(self, session: maps.AnySession, job: Job) -> None:
        self.finished.append(job.id)


@pytest.fixture
def work(store: Store, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The work of the kind that these tests take, under a clock of theirs."""
    clock = Clock()
    made = Counting(clock)
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setitem(runner._works, KIND, made)
    return made


def job_of(number: int) -> Job:
    """The row as it is now."""
    job = db.session.get(Job, number, populate_existing=True)
    release()
    assert job is not None
    return job


def step(store: Store, number: int) -> int:
    """One step by this process."""
    return runner.run_step(store.runtime.array(), number)


def finish(store: Store, work: Counting, number: int) -> Job:
    """All that is left, with the rests between."""
    for _ in range(2 * LAST):
        work.clock.now += 100
        step(store, number)
    return job_of(number)


@contextmanager
def another(store: Store) -> Iterator[Runtime]:
    """Be another worker on the same database for a while."""
    own, other = store.runtime, Runtime(store.app)
    store.app.extensions["holdfast_runtime"] = other
    try:
        yield other
    finally:
        store.app.extensions["holdfast_runtime"] = own
        other.close()


def let_the_lease_run_out(number: int) -> None:
    with transaction() as session:
        past = utcnow() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == number).values(lease_until=past))


def test_a_step_that_takes_long_keeps_its_lease(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may make it last for a minute: nobody else begins it meanwhile."""
    monkeypatch.setattr(runner, "LEASE_SECONDS", 2.0)
    number = table.request(KIND, actor="root")
    others: list[int] = []

    def meanwhile() -> None:
        work.meanwhile = lambda: None  # whoever takes the job over has no trouble
        ends = time.monotonic() + 4.5
        while time.monotonic() < ends:
            with another(store):
                others.append(step(store, number))
            time.sleep(0.1)

    work.meanwhile = meanwhile
    assert step(store, number) == 1
    assert len(others) > 3
    assert not any(others)
    job = job_of(number)
    assert (job.cursor, job.takeovers) == ("1", 0)


def test_a_lease_that_can_not_be_renewed_costs_the_step_and_no_more(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_SECONDS", 0.3)
    tried = []

    def away(_: Claim) -> None:
        tried.append(1)
        raise OperationalError("UPDATE", {}, Exception("away"))

    monkeypatch.setattr(runner, "_renew", away)
    work.meanwhile = lambda: time.sleep(0.5)
    number = table.request(KIND, actor="root")
    assert step(store, number) == 1
    assert tried


def words(store: Store) -> list[tuple[str, str]]:
    """The events of jobs, with the state that they tell."""
    return [(e.word, e.fields.get("state", "")) for e in store.rows(Event)]


def test_a_job_is_done_step_by_step(store: Store, work: Counting) -> None:
    """Counts are added, the report grows, totals come first, and the end is told."""
    number = table.request(KIND, actor="root")
    assert job_of(number).state == JobState.QUEUED
    assert step(store, number) == 1
    job = job_of(number)
    assert (job.state, job.cursor, job.done_bytes) == (JobState.RUNNING, "1", 100)
    assert (job.total_objects, job.total_bytes) == (LAST, LAST * 100)
    job = finish(store, work, number)
    assert (job.state, job.done_objects, job.done_bytes) == (JobState.DONE, 5, 500)
    assert job.counts == {"numbers": 5}
    assert [row["number"] for row in job.report] == [1, 2, 3, 4, 5]
    assert (job.lease, job.lease_until, job.takeovers) == (None, None, 0)
    assert job.finished_at is not None
    assert work.seen == [None, "1", "2", "3", "4"]
    assert (work.begun, work.finished) == (1, [number])
    assert words(store) == [("job_requested", ""), ("job_ended", "done")]
    assert step(store, number) == 0


def test_the_worker_does_jobs_in_its_rounds(store: Store, work: Counting) -> None:
    table.set_pace(100)
    number = table.request(KIND)
    Worker().run_once()
    assert job_of(number).state == JobState.DONE


def test_nobody_else_works_while_the_lease_lasts(store: Store, work: Counting) -> None:
    number = table.request(KIND)
    step(store, number)
    with another(store) as other:
        assert runner.run(other.array()) == 0
        assert step(store, number) == 0
    work.clock.now += 100
    assert runner.run(store.runtime.array()) == 1
    assert work.seen == [None, "1"]


def test_a_lease_that_ran_out_is_taken_over_at_the_checkpoint(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    step(store, number)
    let_the_lease_run_out(number)
    with another(store) as other:
        assert runner.run(other.array()) == 1
    assert job_of(number).takeovers == 1
    assert work.seen == [None, "1"]
    work.clock.now += 100
    assert step(store, number) == 0, "it is another's now"
    assert number not in store.runtime.leases


def test_a_worker_paused_past_its_lease_writes_nothing(
    store: Store, work: Counting
) -> None:
    """It wakes up in the middle of its step, and the other one has gone on."""
    number = table.request(KIND)
    step(store, number)
    work.clock.now += 100
    real, written = work.step, []

    def asleep(claim: Claim, array: Array) -> Step:
        made = real(claim, array)
        made.also = lambda session: written.append(claim.lease)
        if not written and claim.lease == first:
            let_the_lease_run_out(number)
            with another(store) as other:
                other.rests.clear()
                assert runner.run_step(other.array(), number) == 1
                work.clock.now += 100
                assert runner.run_step(other.array(), number) == 1
        return made

    first = job_of(number).lease
    work.step = asleep  # type: ignore[method-assign]
    assert step(store, number) == 0
    job = job_of(number)
    assert (job.cursor, job.done_objects, job.counts) == ("3", 3, {"numbers": 3})
    assert [row["number"] for row in job.report] == [1, 2, 3]
    assert first not in written and len(written) == 2, "the late one wrote no row"
    assert job.lease not in (None, first)
    assert step(store, number) == 0
    let_the_lease_run_out(number)
    assert finish(store, work, number).counts == {"numbers": 5}


def test_a_late_worker_can_not_end_a_job(store: Store, work: Counting) -> None:
    """Neither as failed nor as put off."""
    for error in (GiveUp("It is over."), BlobUnreachable("It is away.")):
        number = table.request(KIND)

        def late(error: Exception = error, number: int = number) -> None:
            with transaction() as session:
                session.execute(update(Job).values(lease="another"))
            raise error

        work.meanwhile = late
        step(store, number)
        job = job_of(number)
        assert (job.state, job.problem) == (JobState.RUNNING, None)
        work.meanwhile = lambda: None
        table.cancel(number)


def test_killed_before_the_first_checkpoint_it_begins_anew(
    store: Store, work: Counting
) -> None:
    """What there is to do is counted again, or the progress would say nothing."""
    number = table.request(KIND)
    real = work.begin

    def killed(claim: Claim, array: Array) -> tuple[int, int]:
        raise KeyboardInterrupt

    work.begin = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        step(store, number)
    work.begin = real  # type: ignore[method-assign]
    let_the_lease_run_out(number)
    with another(store):
        assert step(store, number) == 1
    assert job_of(number).total_objects == LAST


def test_a_pause_in_the_middle_of_a_step_keeps_what_it_did(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    step(store, number)
    work.clock.now += 100
    work.meanwhile = lambda: table.pause(number, actor="root") and None
    assert step(store, number) == 1
    job = job_of(number)
    assert (job.state, job.cursor, job.done_objects) == (JobState.PAUSED, "2", 2)
    work.meanwhile = lambda: None
    work.clock.now += 100
    assert runner.run(store.runtime.array()) == step(store, number) == 0
    assert not table.pause(number), "it is paused already"
    assert table.resume(number, actor="root")
    assert not table.resume(number)
    assert finish(store, work, number).state == JobState.DONE
    assert work.seen == [None, "1", "2", "3", "4"]
    changed = [state for word, state in words(store) if word == "job_changed"]
    assert changed == ["paused", "queued"]


@pytest.mark.parametrize("how", ["it breaks off", "it has to wait", "it would pause"])
def test_who_paused_a_job_by_hand_finds_it_paused(
    store: Store, work: Counting, how: str
) -> None:
    """What its last step met is no reason to go on by itself a day later."""
    number = table.request(KIND)
    real = work.step

    def paused_meanwhile(claim: Claim, array: Array) -> Step:
        made = real(claim, array)
        assert table.pause(number, actor="root")
        if how == "it breaks off":
            raise RuntimeError
        if how == "it has to wait":
            raise NotNow("A member is away.")
        made.pause = "Too much looks bad."
        return made

    work.step = paused_meanwhile  # type: ignore[method-assign]
    step(store, number)
    job = job_of(number)
    assert (job.state, job.problem) == (JobState.PAUSED, None)
    with transaction() as session:
        assert not table.wake(session, KIND)
    assert table.resume(number)


def test_any_worker_resumes_a_paused_job(store: Store, work: Counting) -> None:
    number = table.request(KIND)
    step(store, number)
    table.pause(number)
    table.resume(number)
    with another(store) as other:
        assert runner.run(other.array()) == 1
    assert work.seen == [None, "1"]
    assert job_of(number).takeovers == 0


def test_a_cancelled_job_is_over_whatever_its_worker_writes(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    step(store, number)
    work.clock.now += 100
    work.meanwhile = lambda: table.cancel(number) and None
    assert step(store, number) == 0
    job = job_of(number)
    assert (job.state, job.cursor, job.lease) == (JobState.CANCELLED, "1", None)
    assert job.finished_at is not None
    assert not any(
        change(number) for change in (table.pause, table.resume, table.cancel)
    )
    assert work.finished == []
    assert table.request(KIND) != number, "a new one may be asked for"


@pytest.mark.sqlite
def test_trouble_puts_a_job_off_and_is_shown_until_it_is_over(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    step(store, number)
    work.clock.now += 100

    def away() -> None:
        raise BlobUnreachable("Member 2 is away.")

    work.meanwhile = away
    assert step(store, number) == 0
    job = job_of(number)
    assert (job.state, job.cursor) == (JobState.RUNNING, "1")
    assert job.problem == "Member 2 is away."
    assert runner.run(store.runtime.array()) == 0, "it rests"
    work.meanwhile = lambda: None
    work.clock.now += 11
    assert runner.run(store.runtime.array()) == 1
    assert job_of(number).problem is None


@pytest.mark.sqlite
def test_a_fault_in_one_job_leaves_the_others_their_turn(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, rested and tried again; the job behind it is done meanwhile."""
    bad = table.request(KIND)
    good = Counting(work.clock)
    monkeypatch.setitem(runner._works, JobKind.RECEIPTS, good)
    table.request(JobKind.RECEIPTS)

    def fault() -> None:
        raise ZeroDivisionError("division by zero")

    work.meanwhile = fault
    assert runner.run(store.runtime.array()) == 1
    assert "ZeroDivisionError" in (job_of(bad).problem or "")
    assert good.seen == [None]


@pytest.mark.sqlite
def test_a_fault_at_the_end_of_a_job_leaves_the_others_their_turn(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not ended: its last step is done again when it has rested."""
    bad = table.request(KIND)
    good = Counting(work.clock)
    monkeypatch.setitem(runner._works, JobKind.RECEIPTS, good)

    def fault(session: maps.AnySession, job: Job) -> None:
        raise ZeroDivisionError("division by zero")

    real = work.finish
    monkeypatch.setattr(work, "finish", fault)
    finish(store, work, bad)
    table.request(JobKind.RECEIPTS)
    work.clock.now += 100
    assert runner.run(store.runtime.array()) == 1
    assert good.seen == [None]
    job = job_of(bad)
    assert (job.state, job.cursor, job.lease) == (JobState.RUNNING, "4", None)
    assert "ZeroDivisionError" in (job.problem or "")
    monkeypatch.setattr(work, "finish", real)
    assert finish(store, work, bad).state == JobState.DONE


@pytest.mark.sqlite
def test_a_job_that_gives_up_has_failed_and_says_why(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)

    def hopeless() -> None:
        raise GiveUp("There is nothing to sweep with.")

    work.meanwhile = hopeless
    assert step(store, number) == 1
    job = job_of(number)
    assert (job.state, job.lease) == (JobState.FAILED, None)
    assert job.problem == "There is nothing to sweep with."
    assert job.finished_at is not None and work.finished == []
    assert ("job_ended", "failed") in words(store)


@pytest.mark.sqlite
@pytest.mark.parametrize("percent", [10, 40, 100])
def test_the_pace_is_the_part_of_the_time_that_it_works(
    store: Store, work: Counting, percent: int
) -> None:
    """A second of work is followed by its share of rest, and both are counted."""
    table.set_pace(percent)
    number = table.request(KIND)
    work.seconds = 2.0
    step(store, number)
    rest = 2.0 * (100 - percent) / percent
    assert store.runtime.rests[number] == pytest.approx(work.clock.now + rest)
    assert job_of(number).seconds == pytest.approx(2.0 + rest)
    array = store.runtime.array()
    if percent < 100:
        work.clock.now += rest - 0.1
        assert runner.run(array) == 0
    work.clock.now += 0.2
    assert runner.run(array) == 1
    until = job_of(number).lease_until
    assert until is not None
    left = (until - utcnow()).total_seconds()
    assert left > runner.LEASE_SECONDS + rest - 1, "the lease outlasts the rest"


@pytest.mark.sqlite
def test_a_job_that_rests_goes_on_when_the_pace_is_raised(
    store: Store, work: Counting
) -> None:
    """After a second of work at a pace of 1 % it would rest for 99 more."""
    table.set_pace(1)
    number = table.request(KIND)
    array = store.runtime.array()
    assert runner.run(array) == 1
    assert runner.run(array) == 0
    table.set_pace(100)
    assert runner.run(array) == 1
    assert job_of(number).cursor == "2"


@pytest.mark.sqlite
def test_the_worker_wakes_when_a_job_has_rested(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not sleep on through the time that the pace gives to jobs."""
    table.set_pace(80)
    number = table.request(KIND)
    one, waits = Worker(), []

    def wait(seconds: float) -> None:
        waits.append(round(seconds, 3))
        work.clock.now += seconds
        if job_of(number).state == JobState.DONE:
            one.stop()

    monkeypatch.setattr(one._stop, "wait", wait)
    one.run()
    assert waits[:4] == [0.05, 0.2, 0.05, 0.2]
    assert number not in store.runtime.rests
    assert runner.seconds_to_next() == float("inf")


@pytest.mark.sqlite
def test_a_step_may_ask_for_a_wait_or_for_a_pause(store: Store, work: Counting) -> None:
    number = table.request(KIND)
    real = work.step

    def waits(claim: Claim, array: Array) -> Step:
        made = real(claim, array)
        made.wait = 30.0
        made.pause = "Too much looks bad." if claim.cursor else None
        return made

    work.step = waits  # type: ignore[method-assign]
    step(store, number)
    assert store.runtime.rests[number] == work.clock.now + 30
    step(store, number)
    job = job_of(number)
    assert (job.state, job.cursor) == (JobState.PAUSED, "2")
    assert job.problem == "Too much looks bad."
    assert ("job_changed", "paused") in words(store)


def test_rows_of_a_step_come_with_its_checkpoint_or_not_at_all(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    real = work.step

    def with_rows(claim: Claim, array: Array) -> Step:
        made = real(claim, array)

        def also(session: maps.AnySession) -> None:
            history.note(session, "array_writable")
            if claim.cursor:
                raise RuntimeError("The database went away.")

        made.also = also
        return made

    work.step = with_rows  # type: ignore[method-assign]
    step(store, number)
    work.clock.now += 100
    step(store, number)
    job = job_of(number)
    assert job.cursor == "1" and "RuntimeError" in (job.problem or "")
    assert [word for word, _ in words(store)].count("array_writable") == 1


def test_there_is_one_of_a_kind_at_a_time(store: Store, work: Counting) -> None:
    """For the array, and for each member."""
    first, second = uuid4(), uuid4()
    number = table.request(KIND)
    assert table.request(KIND, params={"other": 1}) == number
    assert table.request(JobKind.DRILL) != number
    of_first = table.request(JobKind.REBUILD, member=first, slot=1)
    assert table.request(JobKind.REBUILD, member=first, slot=1) == of_first
    assert table.request(JobKind.REBUILD, member=second, slot=2) != of_first
    with transaction() as session:
        assert table.active(session, JobKind.REBUILD)
        assert table.active(session, JobKind.REBUILD, first)
        assert not table.active(session, JobKind.REBUILD, uuid4())
    assert table.last_done(KIND) is None
    finish(store, work, number)
    done = table.last_done(KIND)
    assert done is not None and done.id == number
    assert table.request(KIND) not in (number, of_first)


def test_the_lease_is_given_back_when_a_worker_is_stopped(
    store: Store, work: Counting
) -> None:
    number = table.request(KIND)
    step(store, number)
    one = Worker()
    one.stop()
    one.run()
    assert job_of(number).lease_until is None
    with another(store) as other:
        assert runner.run(other.array()) == 1
    assert job_of(number).takeovers == 0


@pytest.mark.sqlite
def test_the_report_is_bounded(
    store: Store, work: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_REPORT", 2)
    job = finish(store, work, table.request(KIND))
    assert [row["number"] for row in job.report] == [1, 2]
    assert job.counts == {"numbers": 5}


@pytest.mark.sqlite
def test_a_pace_is_from_1_to_100(store: Store) -> None:
    assert table.pace() == 40
    table.set_pace(99)
    assert table.pace() == 99
    for wrong in (0, 101, -5):
        with pytest.raises(ValueError, match="from 1 to 100"):
            table.set_pace(wrong)
    table.set_pace(None)
    assert table.pace() == 40


@pytest.mark.sqlite
def test_without_an_array_there_are_no_jobs(make_store: Any) -> None:
    make_store(members=False)
    with pytest.raises(NoArray):
        table.request(KIND)
