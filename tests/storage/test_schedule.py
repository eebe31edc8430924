"""Scrub, drill and sweep come by themselves, once, when their time has come."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from storage.db import release, transaction, utcnow
from storage.jobs import runner, schedule, table
from storage.models import ArrayRow, Event, Job, JobKind, JobState, MemberRow
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


# -- what is forgotten


def test_the_worker_forgets_what_happened_long_ago(store: Store) -> None:
    """Events and reports of more than a year; what is younger stays."""
    with transaction() as session:
        for days in (401, 399):
            session.add(Event(word="member_back", slot=days, at=utcnow() - days * DAY))
    ended(JobKind.SWEEP, 401)
    ended(JobKind.SWEEP, 399)
    store.worker._do_chores()
    events = [row.slot for row in store.rows(Event) if row.word == "member_back"]
    assert events == [399]
    assert jobs_left(store) == [("sweep", 399)]


def test_what_the_last_jobs_said_is_not_forgotten(store: Store) -> None:
    """When the next ones are due, and what a rebuild has not come to, hangs on them."""
    partial: dict[str, Any] = {"counts": {"unreachable": 1}}
    ended(JobKind.DRILL, 600)
    ended(JobKind.DRILL, 500)
    ended(JobKind.DRILL, 450, state=JobState.FAILED)
    ended(JobKind.SCRUB, 600)
    ended(JobKind.SCRUB, 500)
    ended(JobKind.SCRUB, 420, **partial)
    ended(JobKind.SCRUB, 410, **partial)
    members = [row.uuid for row in store.rows(MemberRow)]
    for member in members:
        ended(JobKind.REBUILD, 430, state=JobState.CANCELLED, member_uuid=member)
    paused(700, "It waits.")
    assert schedule.forget_old() == 3
    assert jobs_left(store) == [
        ("drill", 500),
        ("drill", 450),
        ("scrub", 500),
        ("scrub", 410),
        *[("rebuild", 430)] * len(members),
    ]
    assert len(store.rows(Job)) == 5 + len(members)
    assert schedule.forget_old() == 0


def jobs_left(store: Store) -> list[tuple[str, int]]:
    """Return the jobs that ended, by kind and how many days ago."""
    return [
        (job.kind, round((utcnow() - job.finished_at) / DAY))
        for job in sorted(store.rows(Job), key=lambda job: job.id)
        if job.finished_at is not None
    ]
