"""Receipts: every file is read back once, and its SHA-256 and the time are noted."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from storage.db import transaction, utcnow
from storage.jobs import receipts, runner, table
from storage.members.local import LocalMember
from storage.models import Blob, BlobState, Event, Job, JobKind, JobState
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB)


@pytest.fixture(autouse=True)
def _fresh_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without a blob that another test left half read."""
    monkeypatch.setitem(runner._works, JobKind.RECEIPTS, receipts.Receipts())


def run(store: Store, steps: int = 200) -> Job:
    """Do a job of receipts to its end."""
    number = table.request(JobKind.RECEIPTS)
    store.runtime.check_members()
    store.runtime.forget_map()
    for _ in range(steps):
        if not runner.run_step(store.runtime.array(), number):
            break
    return next(job for job in store.rows(Job) if job.id == number)


def noted(store: Store) -> dict[UUID, Blob]:
    return {blob.uuid: blob for blob in store.rows(Blob)}


def grow_old(store: Store, minutes: float = 10) -> None:
    with transaction() as session:
        for model in (Blob, Job):
            for row in session.query(model):
                row.created_at -= timedelta(minutes=minutes)


def test_every_form_gets_its_receipt(store: Store) -> None:
    """The digest is that of the bytes, and the time is now."""
    for size in SIZES:
        store.put(size)
    before = utcnow()
    job = run(store)
    assert job.state == JobState.DONE
    assert job.counts == {"verified": len(SIZES)}
    assert (job.done_objects, job.done_bytes) == (len(SIZES), sum(SIZES))
    assert (job.total_objects, job.total_bytes) == (len(SIZES), sum(SIZES))
    for uuid, blob in noted(store).items():
        assert blob.sha256 == hashlib.sha256(store.contents[uuid]).digest()
        assert blob.verified_at is not None
        assert before <= blob.verified_at <= utcnow()
    assert run(store).counts == {}


def test_the_oldest_come_first_and_a_kill_loses_little(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One blob a step; who takes the job over goes on behind the last checkpoint."""
    uuids = [store.put(1000).uuid for _ in range(4)]
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    number = table.request(JobKind.RECEIPTS)
    order = []
    for _ in range(4):
        assert runner.run_step(store.runtime.array(), number)
        order += [
            u for u, b in noted(store).items() if b.verified_at and u not in order
        ]
        store.restart()
        with transaction() as session:
            session.execute(update(Job).values(lease_until=utcnow()))
    assert order == uuids
    [job] = store.rows(Job)
    assert job.takeovers == 3


@pytest.mark.sqlite
def test_a_big_one_takes_several_steps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where it was, and every byte is read once."""
    blob = store.put(4 * MIB)
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    job = run(store, steps=3)
    assert job.state == JobState.RUNNING
    assert 0 < job.done_bytes < blob.size
    assert noted(store)[blob.uuid].verified_at is None
    job = run(store)
    assert job.state == JobState.DONE
    assert job.done_bytes == blob.size
    digest = hashlib.sha256(store.contents[blob.uuid]).digest()
    assert noted(store)[blob.uuid].sha256 == digest


@pytest.mark.sqlite
def test_another_worker_begins_a_big_one_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a hash of somebody else is worth nothing."""
    blob = store.put(4 * MIB)
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    run(store, steps=2)
    store.restart()
    with transaction() as session:
        session.execute(update(Job).values(lease_until=utcnow()))
    job = run(store)
    assert job.state == JobState.DONE
    assert job.done_bytes > blob.size
    digest = hashlib.sha256(store.contents[blob.uuid]).digest()
    assert noted(store)[blob.uuid].sha256 == digest


def test_a_digest_that_differs_is_told_and_replaces_nothing(store: Store) -> None:
    """The blob is marked, and an event warns."""
    blob = store.put(1000)
    with transaction() as session:
        session.execute(update(Blob).values(sha256=bytes(32)))
    job = run(store)
    assert job.counts == {"differing": 1}
    row = noted(store)[blob.uuid]
    assert row.damaged
    assert row.sha256 == bytes(32)
    assert row.verified_at is None
    [event] = [e for e in store.rows(Event) if e.word == "receipt_differs"]
    assert event.fields == {"blob": str(blob.uuid)}


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_rot_beyond_repair_gets_none(store: Store, size: int) -> None:
    """Two copies of something are bad: marked, reported, and the others go on."""
    bad = store.put(size)
    good = store.put(size)
    for slot in range(4):
        for path in store.paths(slot, bad.uuid):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
    store.restart()
    job = run(store)
    assert job.counts == {"unread": 1, "verified": 1}
    assert [row["blob"] for row in job.report] == [str(bad.uuid)]
    rows = noted(store)
    assert rows[bad.uuid].damaged
    assert rows[bad.uuid].verified_at is None
    assert rows[good.uuid].verified_at
    assert job.state == JobState.DONE


@pytest.mark.sqlite
def test_an_inline_blob_is_read_from_a_member_and_not_from_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process remembers proves nothing."""
    store.put(1000)
    store.check()
    reads: list[str] = []
    real = LocalMember.read

    def read(self: LocalMember, key: str, *arguments: Any) -> bytes:
        reads.append(key)
        return real(self, key, *arguments)

    monkeypatch.setattr(LocalMember, "read", read)
    assert run(store).counts == {"verified": 1}
    assert any(key.startswith("o/") for key in reads)


@pytest.mark.sqlite
def test_it_goes_on_with_a_member_away_and_waits_with_two(store: Store) -> None:
    """Rebuilt bytes are verified bytes."""
    blob = store.put(2 * MIB)
    store.lose(1)
    store.lose(2)
    job = run(store)
    assert job.state == JobState.RUNNING
    assert "away" in (job.problem or "")
    store.bring_back(2)
    assert run(store).counts == {"verified": 1}
    assert noted(store)[blob.uuid].verified_at


def test_what_is_let_go_of_meanwhile_is_no_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Purged while it was read, or before the receipt was written."""
    blob = store.put(1000)
    real, fired = receipts._note, []

    def note(reading: Any) -> str:
        fired.append(1)
        with transaction() as session:
            session.get_one(Blob, blob.uuid).state = BlobState.TOMBSTONED
        return real(reading)

    monkeypatch.setattr(receipts, "_note", note)
    assert run(store).counts == {"gone": 1}
    assert fired
    assert noted(store)[blob.uuid].verified_at is None


@pytest.mark.sqlite
def test_one_job_while_there_is_work(store: Store) -> None:
    """Not for what came just now, not twice, and soon again for what came later."""
    store.put(1000)
    assert receipts.request() == 0
    grow_old(store)
    assert receipts.request() == 1
    assert receipts.request() == 1
    assert len(store.rows(Job)) == 1
    assert run(store).counts == {"verified": 1}
    assert receipts.request() == 0
    store.put(1000)
    grow_old(store)
    with transaction() as session:
        session.execute(update(Job).values(created_at=utcnow() - timedelta(hours=1)))
    assert receipts.request() == 1


@pytest.mark.sqlite
def test_what_cannot_be_read_does_not_make_a_job_a_minute(store: Store) -> None:
    """It is tried again after some hours."""
    blob = store.put(1000)
    grow_old(store)
    for slot in range(4):
        for path in store.paths(slot, blob.uuid):
            path.write_bytes(b"rot")
    store.restart()
    assert receipts.request() == 1
    assert run(store).counts == {"unread": 1}
    assert receipts.request() == 0
    with transaction() as session:
        session.execute(update(Job).values(finished_at=utcnow() - timedelta(hours=7)))
    assert receipts.request() == 1


@pytest.mark.sqlite
def test_old_jobs_go_and_routine_ones_are_not_told(store: Store) -> None:
    """A day of rows stays; the log of events has better things to say."""
    for _ in range(3):
        store.put(10)
        run(store)
    with transaction() as session:
        session.execute(
            update(Job).where(Job.id < 3).values(finished_at=utcnow() - timedelta(2))
        )
    store.put(10)
    run(store)
    assert [job.id for job in store.rows(Job)] == [3, 4]
    assert store.rows(Event) == []
    with transaction() as session:
        session.execute(update(Blob).values(verified_at=None))
    for path in store.folder.glob("*/o/*/*"):
        path.write_bytes(b"rot")
    store.restart()
    run(store)
    assert [event.word for event in store.rows(Event)] == ["job_ended"]


@pytest.mark.sqlite
def test_the_worker_does_it_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the chore to the receipt."""
    monkeypatch.setattr(runner, "pace", lambda: 100)
    blob = store.put(1000)
    grow_old(store)
    store.settle()
    assert noted(store)[blob.uuid].verified_at


def test_a_commit_says_where_the_bytes_lie(store: Store) -> None:
    """The columns that answer what a loss would mean."""
    empty, inline, combined, segments = (store.put(size) for size in SIZES)
    for blob in (empty, inline):
        assert (blob.slots, blob.redundancy, blob.share) == ("", None, 0)
    for blob in (combined, segments):
        assert (blob.slots, blob.redundancy) == ("0 1 2 3", 1)
        sizes = {
            sum(p.stat().st_size for p in store.paths(slot, blob.uuid))
            for slot in range(4)
        }
        assert 0 < blob.share <= max(sizes)
    store.lose(3)
    store.runtime.check_members()
    narrow = store.put(2 * MIB)
    assert noted(store)[narrow.uuid].slots == "0 1 2"
