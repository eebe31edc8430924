"""The recovery drill proves by doing it that files survive the loss of members."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from storage import reshaping
from storage.db import db, release, transaction
from storage.jobs import drill, runner, table
from storage.models import Blob, Event, Job, JobKind, JobState
from support.faulty import flip
from support.store import KIB, MIB, Store


def run(store: Store, **params: int) -> Job:
    """A drill from beginning to end."""
    table.set_pace(100)
    number = table.request(JobKind.DRILL, params=params)
    for _ in range(100):
        store.runtime.forget_map()
        runner.run_step(store.runtime.array(), number)
        job = db.session.get(Job, number, populate_existing=True)
        release()
        assert job is not None
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            break
    return job


def test_every_file_is_read_without_each_member(store: Store) -> None:
    """Four members, one of which may go: four readings of each file."""
    sizes = (1000, 300 * KIB, 2 * MIB)
    for size in sizes:
        store.put(size, sha256=True if size == 2 * MIB else None)
    job = run(store)
    assert (job.state, job.problem, job.report) == (JobState.DONE, None, [])
    assert job.counts["files"] == 3
    assert job.counts["readings"] == 12
    assert job.done_bytes == 4 * sum(sizes)
    assert drill.is_well(job)
    last = table.last_done(JobKind.DRILL)
    assert last is not None and last.id == job.id


def test_it_draws_so_many_files_and_no_more(store: Store) -> None:
    for _ in range(30):
        store.put(10)
    assert run(store, files=5).counts["files"] == 5
    assert run(store).counts["files"] == drill.FILES


@pytest.mark.sqlite
def test_an_array_without_files_is_well(store: Store) -> None:
    job = run(store)
    assert (job.state, job.counts) == (JobState.DONE, {})


@pytest.mark.sqlite
@pytest.mark.parametrize("level", ["raid6", "raid10"])
def test_every_set_of_members_is_left_out(
    make_store: Callable[..., Store], level: str
) -> None:
    """RAID-6 over five survives any two: ten readings."""
    width, sets = {"raid6": (5, 10), "raid10": (4, 4)}[level]
    store = make_store(width, ARRAY_LEVEL=level)
    for size in (1000, 300 * KIB):
        store.put(size)
    job = run(store)
    assert job.counts["readings"] == 2 * sets
    assert drill.is_well(job)


@pytest.mark.sqlite
def test_a_file_that_would_not_survive_is_named(store: Store) -> None:
    """One shard is bad: without any of the others the file is lost."""
    blob = store.put(300 * KIB)
    store.put(300 * KIB)
    path = store.paths(1, blob.uuid)[0]
    path.write_bytes(flip(path.read_bytes(), 8 * 5000))
    job = run(store)
    assert job.counts["failures"] == 3
    assert {row["blob"] for row in job.report} == {str(blob.uuid)}
    assert {row["without"] for row in job.report} == {"0", "2", "3"}
    assert not drill.is_well(job)
    assert "drill_failed" in [event.word for event in store.rows(Event)]
    store.settle()
    assert drill.is_well(run(store)), "what a drill meets is repaired like all damage"


@pytest.mark.sqlite
def test_a_receipt_that_says_otherwise_is_a_failure(store: Store) -> None:
    blob = store.put(1000, sha256=True)
    with transaction() as session:
        session.execute(update(Blob).values(sha256=bytes(32)))
    job = run(store)
    assert job.counts["failures"] == 1
    assert job.report[0]["blob"] == str(blob.uuid)


@pytest.mark.sqlite
def test_a_member_away_counts_among_those_left_out(store: Store) -> None:
    """One set of four can be tried; what the others would prove is not proved."""
    store.put(300 * KIB)
    store.lose(2)
    store.runtime.check_members()
    job = run(store)
    assert (job.counts["readings"], job.counts["unproved"]) == (1, 3)
    assert job.counts["failures"] == 0
    assert job.problem is not None and job.problem.startswith("3 readings")
    assert not drill.is_well(job)


@pytest.mark.sqlite
def test_more_away_than_may_be_proves_nothing(store: Store) -> None:
    store.put(300 * KIB)
    for slot in (0, 1):
        store.lose(slot)
    store.runtime.check_members()
    job = run(store)
    assert job.counts.get("readings", 0) == 0
    assert job.counts["unproved"] == 4


@pytest.mark.sqlite
def test_a_large_file_is_read_in_random_segments(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most so much is read, whatever the size of the files."""
    store.put(4 * MIB)
    monkeypatch.setattr(drill, "MOST_BYTES", 4 * MIB)
    job = run(store, files=1)
    assert job.counts["readings"] == 4
    assert 3 * MIB < job.done_bytes <= 4 * MIB
    assert drill.is_well(job)


@pytest.mark.sqlite
def test_a_file_that_is_removed_meanwhile_is_no_failure(store: Store) -> None:
    blob = store.put(300 * KIB)
    table.set_pace(100)
    number = table.request(JobKind.DRILL)
    runner.run_step(store.runtime.array(), number)
    for slot in range(4):
        for path in store.paths(slot, blob.uuid):
            path.unlink()
    store.let_go(blob.uuid)
    job = run(store)
    assert job.id == number
    assert (job.counts.get("files", 0), job.report) == (0, [])


@pytest.mark.sqlite
def test_a_file_that_waits_for_its_reshape_fails_nothing(store: Store) -> None:
    """It survives one member until it is written anew for two."""
    store.put(2 * MIB)
    table.pause(reshaping.convert("raid6"))
    job = run(store)
    assert (job.state, job.report) == (JobState.DONE, [])
    assert job.counts["unproved"] == 6
    assert "survive fewer" in (job.problem or "")
    assert not drill.is_well(job)
