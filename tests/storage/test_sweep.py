"""The sweep: what no row accounts for goes, under four conditions, and nothing else."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import delete, update

from raid.errors import MemberReadOnly
from raid.keys import manifest_key, shard_key, tombstone_key
from storage import agreement, blobs, known, quarantine
from storage.db import transaction, utcnow
from storage.jobs import runner, sweep, table
from storage.members.local import LocalMember
from storage.models import (
    ArrayRow,
    Blob,
    BlobState,
    Event,
    Job,
    JobKind,
    JobState,
    JournalEntry,
    MemberRow,
    Orphan,
    Upload,
)
from support.arrays import Body
from support.clock import Clock
from support.store import KIB, MIB, Store, wanted

DAY = 24 * 3600
SIZES = (0, 1000, 300 * KIB, 2 * MIB)


class Broom:
    """What the tests do with the sweep of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def orphan(self, slot: int = 0, key: str = "", days: float = 2) -> Path:
        """Put an object that nobody knows on a member, some days old."""
        path = self.store.member(slot) / (key or manifest_key(low(), 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left over")
        moment = time.time() - days * DAY
        os.utime(path, (moment, moment))
        return path

    def run(self, **params: Any) -> Job:
        """Sweep from the first byte to the last, and return the job."""
        number = table.request(JobKind.SWEEP, params={"delete": True, **params})
        self.store.runtime.check_members()
        self.store.runtime.forget_map()
        array = self.store.runtime.array()
        for _ in range(1000):
            if not runner.run_step(array, number):
                break
        return self.job(number)

    def job(self, number: int) -> Job:
        return next(job for job in self.store.rows(Job) if job.id == number)

    def let_pass(self, days: float) -> None:
        """Let time pass between two scans."""
        with transaction() as session:
            for row in session.query(Orphan):
                row.first_seen_at -= timedelta(days=days)

    def aside(self, slot: int = 0) -> list[str]:
        return os.listdir(self.store.member(slot) / "quarantine")

    def seen(self) -> set[str]:
        return {row.key for row in self.store.rows(Orphan)}


@pytest.fixture
def broom(store: Store, monkeypatch: pytest.MonkeyPatch) -> Broom:
    """A sweep of few first bytes, which everything here begins with."""
    monkeypatch.setattr(sweep, "PREFIXES", 2)
    monkeypatch.setattr(sweep, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("storage.uploads.uuid4", low)
    return Broom(store)


def low() -> UUID:
    """Return a uuid whose first byte is 0 or 1."""
    return UUID(int=uuid4().int & ((1 << 121) - 1))


@pytest.fixture
def whole(store: Store) -> Broom:
    """A sweep as it is."""
    return Broom(store)


@pytest.mark.sqlite
def test_all_first_bytes_are_swept(whole: Broom) -> None:
    """From 00 to ff, in steps that end."""
    ends = [UUID(int=1), UUID(int=(1 << 128) - 1), *(uuid4() for _ in range(8))]
    paths = [whole.orphan(key=manifest_key(uuid, 1)) for uuid in ends]
    first = whole.run(apart_seconds=0)
    assert first.done_objects == first.total_objects == 256
    assert whole.run(apart_seconds=0).counts["removed"] == len(ends)
    assert not any(path.exists() for path in paths)


def test_an_orphan_goes_at_the_second_scan_a_day_later(broom: Broom) -> None:
    """It goes to quarantine, and the job, the log of events and the rows agree."""
    kept = [broom.store.put(size) for size in SIZES]
    left = [broom.orphan(slot) for slot in range(4)]
    left.append(broom.orphan(1, tombstone_key(low())))
    left.append(broom.orphan(2, shard_key(low(), 3, 1, "p")))
    first = broom.run()
    assert first.state == JobState.DONE
    assert all(path.exists() for path in left)
    assert first.counts["orphans"] == len(broom.store.rows(Orphan)) == 6
    assert {row["what"] for row in first.report} == {"young"}
    broom.let_pass(1.1)
    second = broom.run()
    assert not any(path.exists() for path in left)
    assert second.counts["removed"] == 6
    assert second.counts["removed_bytes"] == 6 * len(b"left over")
    assert {row["what"] for row in second.report} == {"removed"}
    assert [len(broom.aside(slot)) for slot in range(4)] == [1, 2, 2, 1]
    assert broom.store.rows(Orphan) == []
    assert "orphans_swept" in {event.word for event in broom.store.rows(Event)}
    assert {blob.uuid for blob in kept} == set(broom.store.contents)
    broom.store.restart()
    broom.store.check()
    assert broom.run().counts.get("orphans", 0) == 0


@pytest.mark.sqlite
def test_without_delete_it_only_tells_and_remembers(broom: Broom) -> None:
    """The first of the two scans may be one that removes nothing."""
    path = broom.orphan()
    broom.run(delete=False)
    broom.let_pass(1.1)
    job = broom.run(delete=False)
    assert path.exists()
    [row] = job.report
    assert (row["what"], row["slot"], row["size"]) == ("kept", 0, 9)
    assert row["key"] in broom.seen()
    broom.run()
    assert not path.exists()


def test_a_second_scan_too_soon_keeps_it(broom: Broom) -> None:
    """Condition a."""
    path = broom.orphan()
    broom.run()
    broom.let_pass(0.9)
    assert broom.run().counts == {"listed": 1, "orphans": 1, "orphan_bytes": 9}
    assert path.exists()
    broom.let_pass(0.2)
    broom.run()
    assert not path.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("seen_before", [False, True])
def test_a_clock_set_forward_makes_no_orphan_ripe(
    broom: Broom, monkeypatch: pytest.MonkeyPatch, seen_before: bool
) -> None:
    """Neither the time between two scans (a) nor the age by the store's clock (b)."""
    wall = Clock(monkeypatch)
    path = broom.orphan(days=0.1 if seen_before else 5)
    broom.run()
    if seen_before:
        broom.let_pass(3)
    wall.jump(days=2)
    assert broom.run().counts == {"listed": 1, "orphans": 1, "orphan_bytes": 9}
    assert wall.asked > 0 and path.exists()


@pytest.mark.sqlite
def test_what_was_seen_first_by_a_clock_that_was_behind_waits_as_long(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Clock(monkeypatch)
    path = broom.orphan(days=5)
    wall.jump(days=-2)
    broom.run()
    wall.right()
    broom.run()
    assert path.exists()


@pytest.mark.sqlite
def test_what_was_seen_by_a_clock_far_ahead_begins_anew(broom: Broom) -> None:
    """Nobody waits for the day that it named."""
    path = broom.orphan()
    broom.run()
    broom.let_pass(-400)
    broom.run()
    broom.let_pass(1.1)
    broom.run()
    assert not path.exists()


@pytest.mark.sqlite
def test_a_clock_set_forward_empties_no_quarantine(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    broom.orphan(1)
    broom.run(apart_seconds=0)
    broom.run(apart_seconds=0)
    assert len(broom.aside(1)) == 1
    Clock(monkeypatch).jump(days=40)
    assert quarantine.daily() == 0
    assert len(broom.aside(1)) == 1


@pytest.mark.sqlite
def test_what_was_known_in_between_begins_anew(broom: Broom) -> None:
    """Condition a: two scans in a row."""
    path = broom.orphan()
    blob = path.name.partition(".")[0]
    broom.run()
    broom.let_pass(2)
    with transaction() as session:
        session.add(Upload(blob=UUID(blob)))
    broom.run()
    assert broom.seen() == set()
    with transaction() as session:
        session.delete(session.get_one(Upload, UUID(blob)))
    broom.run()
    assert path.exists()
    assert len(broom.seen()) == 1


@pytest.mark.sqlite
@pytest.mark.parametrize("days", [0.5, -3], ids=["young", "from the future"])
def test_what_is_young_by_the_stores_clock_stays(broom: Broom, days: float) -> None:
    """Condition b."""
    path = broom.orphan(days=days)
    broom.run()
    broom.let_pass(2)
    broom.run()
    assert path.exists()
    assert broom.run(age_seconds=days * DAY - 60).counts["removed"] == 1


@pytest.mark.sqlite
def test_what_was_written_anew_begins_anew(broom: Broom) -> None:
    """Condition b: a paused instance woke up and wrote it again, with an old clock."""
    path = broom.orphan(days=9)
    broom.run()
    broom.let_pass(2)
    moment = time.time() - 8 * DAY
    os.utime(path, (moment, moment))
    broom.run()
    assert path.exists()
    broom.let_pass(2)
    broom.run()
    assert not path.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("scan", [1, 2])
def test_a_member_that_is_away_in_either_scan_keeps_it(broom: Broom, scan: int) -> None:
    """Condition c: it says at once why it does nothing, and names the member."""
    path = broom.orphan()
    if scan == 2:
        broom.run()
        broom.let_pass(2)
    broom.store.lose(3)
    job = broom.run()
    assert job.state == JobState.FAILED
    assert "slot 3" in (job.problem or "")
    assert path.exists()
    assert len(broom.seen()) == scan - 1
    broom.store.bring_back(3)
    broom.run()
    assert path.exists() is (scan == 1)


@pytest.mark.sqlite
def test_a_member_that_is_faulty_is_away(broom: Broom) -> None:
    """Condition c: what it holds is not used, so nothing is known to be unneeded."""
    path = broom.orphan()
    broom.run()
    broom.let_pass(2)
    with transaction() as session:
        session.execute(
            update(MemberRow).where(MemberRow.slot == 2).values(state="faulty")
        )
        session.execute(update(ArrayRow).values(event=ArrayRow.event + 1))
    assert broom.run().state == JobState.FAILED
    assert path.exists()


@pytest.mark.sqlite
def test_a_member_that_goes_in_the_middle_makes_it_wait(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Condition c: the step writes nothing down, and is done again later."""
    path = broom.orphan(key=manifest_key(UUID(int=1 << 120), 1))
    broom.run()
    broom.let_pass(2)
    real, lists = LocalMember.list, []

    def failing(self: LocalMember, prefix: str) -> Any:
        if prefix.startswith("o/") and self.path.name == "1":
            lists.append(prefix)
            if len(lists) == 2:
                broom.store.lose(1)
        return real(self, prefix)

    monkeypatch.setattr(LocalMember, "list", failing)
    job = broom.run()
    assert lists
    assert job.state == JobState.RUNNING
    assert job.problem
    assert path.exists()
    monkeypatch.undo()
    broom.store.bring_back(1)
    assert broom.run().state == JobState.DONE
    assert not path.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("scan", [1, 2])
@pytest.mark.parametrize("more", [1, -1], ids=["members late", "members ahead"])
def test_heads_that_differ_keep_it(broom: Broom, scan: int, more: int) -> None:
    """Condition d."""
    with transaction() as session:
        session.execute(update(ArrayRow).values(event=5))
    broom.store.tick()
    path = broom.orphan()
    if scan == 2:
        broom.run()
        broom.let_pass(2)
    with transaction() as session:
        session.execute(update(ArrayRow).values(event=5 + more))
    job = broom.run()
    assert job.state == JobState.FAILED
    assert "differ" in (job.problem or "")
    assert path.exists()
    assert len(broom.seen()) == scan - 1
    with transaction() as session:
        session.execute(update(ArrayRow).values(event=5))
    broom.run()
    assert path.exists() is (scan == 1)


@pytest.mark.sqlite
@pytest.mark.parametrize("more", [1, -1], ids=["members late", "members ahead"])
def test_journal_heads_that_differ_keep_it(broom: Broom, more: int) -> None:
    """Condition d: an older database, or a member that was rolled back."""
    broom.store.put(10)
    broom.store.settle()
    head = broom.store.array_row().journal_number
    assert head > 1
    path = broom.orphan()
    broom.run()
    broom.let_pass(2)
    with transaction() as session:
        session.execute(update(ArrayRow).values(journal_number=head + more))
        session.execute(delete(JournalEntry).where(JournalEntry.number > head + more))
        held = min(head, head + more)
        session.execute(update(MemberRow).values(journal_number=held))
    job = broom.run()
    assert job.state == JobState.FAILED
    assert "journal" in (job.problem or "")
    assert path.exists()


@pytest.mark.sqlite
def test_a_head_that_is_late_for_a_moment_is_waited_for(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change is late until the worker has written it."""
    monkeypatch.setattr(sweep, "PATIENCE_SECONDS", 60.0)
    path = broom.orphan()
    broom.run()
    broom.let_pass(2)
    with transaction() as session:
        session.execute(update(ArrayRow).values(event=ArrayRow.event + 1))
    job = broom.run()
    assert job.state == JobState.RUNNING
    assert "differ" in (job.problem or "")
    broom.store.tick()
    assert broom.run().state == JobState.DONE
    assert not path.exists()


@pytest.mark.sqlite
def test_a_superblock_that_is_gone_is_no_agreement(broom: Broom) -> None:
    """Whoever can't tell its event agrees with nobody."""
    array = broom.store.runtime.array()
    assert agreement.disagreement(array) is None
    for path in broom.store.member(2).glob("superblock.*"):
        path.write_bytes(path.read_bytes()[:-1])
    broom.store.restart()
    broom.store.runtime.check_members()
    assert sweep._why_not(broom.store.runtime.array())


def test_every_state_of_a_blob_accounts_for_its_objects(broom: Broom) -> None:
    """Live, in its grace and being purged, with a member that is owed its tombstone."""
    store = broom.store
    for state in (BlobState.LIVE, BlobState.TOMBSTONED, BlobState.PURGING):
        for size in SIZES:
            blob = store.put(size)
            store.contents.pop(blob.uuid)
            with transaction() as session:
                session.get_one(Blob, blob.uuid).state = state
            if state == BlobState.PURGING:
                broom.orphan(1, tombstone_key(blob.uuid))
    before = store.objects()
    _age(store)
    assert broom.run(apart_seconds=0).counts.get("orphans", 0) == 0
    assert broom.run(apart_seconds=0).counts.get("orphans", 0) == 0
    assert store.objects() == before
    assert broom.seen() == set()


def _age(store: Store) -> None:
    moment = time.time() - 5 * DAY
    for name in store.objects():
        slot, _, key = name.partition("/")
        os.utime(store.member(int(slot)) / key, (moment, moment))


def test_what_another_attempt_left_of_a_live_blob_goes(broom: Broom) -> None:
    """Manifest, combined object and shard of an encoding that was given up."""
    store = broom.store
    kept = [store.put(size) for size in SIZES]
    store.lose(3)
    narrow = store.put(2 * MIB)  # its segments have another attempt than the first
    store.bring_back(3)
    store.settle()
    before = store.objects()
    left = []
    for blob in (*kept, narrow):
        left.append(broom.orphan(0, manifest_key(blob.uuid, 77)))
        left.append(broom.orphan(1, shard_key(blob.uuid, 0, 99, "d0")))
    # A copy of a shard on a member that the manifest does not name for it.
    own = next(path for path in store.paths(0, kept[3].uuid) if ".s0." in path.name)
    left.append(broom.orphan(1, f"o/{own.parent.name}/{own.name}"))
    _age(store)
    broom.run()
    broom.let_pass(2)
    assert broom.run().counts["removed"] == len(left)
    assert store.objects() == before
    store.restart()
    store.check()


@pytest.mark.sqlite
def test_a_blob_whose_manifest_cannot_be_read_keeps_everything(broom: Broom) -> None:
    """Nobody can say what belongs to it."""
    store = broom.store
    blob = store.put(2 * MIB)
    for slot in range(4):
        (path,) = [p for p in store.paths(slot, blob.uuid) if ".m" in p.name]
        path.write_bytes(b"rot")
    store.restart()
    before = store.objects()
    _age(store)
    broom.run()
    broom.let_pass(2)
    job = broom.run()
    assert job.counts["unread"] == 1
    assert store.objects() == before


@pytest.mark.sqlite
def test_names_that_are_not_ours_are_counted_and_left(broom: Broom) -> None:
    """Whoever put them there may want them."""
    path = broom.orphan(0, "o/01/notes.txt")
    broom.run()
    broom.let_pass(2)
    job = broom.run()
    assert job.counts["strangers"] == 1
    assert path.exists()


@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_an_upload_in_flight_is_never_swept(
    broom: Broom, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """At each of its steps a whole sweep with no delays goes by; nothing is unknown."""
    store, swept = broom.store, []
    real = LocalMember.put

    def put(self: LocalMember, key: str, *arguments: Any, **named: Any) -> None:
        real(self, key, *arguments, **named)
        if self.path.name == "0" and not key.startswith("superblock"):
            with store.app.app_context():
                swept.append(_sweep_byte(store, int(key[2:4], 16)))

    monkeypatch.setattr(LocalMember, "put", put)
    with blobs.receive(wanted(b"", size=size), Body(os.urandom(size)), _ok) as incoming:
        swept.append(_sweep_byte(store, incoming.blob.bytes[0]))
        with transaction() as session:
            blob = incoming.commit(session)
    swept.append(_sweep_byte(store, blob.uuid.bytes[0]))
    assert len(swept) >= 3
    assert not any(swept)


def _ok(_size: int) -> None:
    return


def _sweep_byte(store: Store, first: int) -> int:
    """Look at one first byte as a sweep does; returns how much was unknown."""
    claim = runner.Claim(
        0, "sweep", "", None, None, {"apart_seconds": 0}, None, {}, False, 0
    )
    step = runner.Step()
    sweep._scan(claim, store.runtime.array(), first, step)
    assert step.counts["listed"]
    return step.counts.get("orphans", 0)


def test_a_commit_between_the_list_and_the_rows(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload's row goes and the blob's comes at once; the snapshot has one."""
    real, found = sweep._list, []

    def listed(array: Any, byte: str) -> Any:
        result = real(array, byte)
        with transaction() as session:
            incoming.commit(session)
        return result

    data = os.urandom(2 * MIB)
    with blobs.receive(wanted(data), Body(data), _ok) as incoming:
        monkeypatch.setattr(sweep, "_list", listed)
        found.append(_sweep_byte(broom.store, incoming.blob.bytes[0]))
    assert found == [0]
    assert len(broom.store.rows(Blob)) == 1


def test_a_commit_in_the_middle_of_the_rows(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads and blobs are read as they were at one moment."""
    real, seen = known.rows_of, []

    def rows_of(connection: Any, first: int) -> known.Rows:
        seen.append(real(connection, first))
        with transaction() as session:
            incoming.commit(session)
        seen.append(real(connection, first))
        return seen[-1]

    monkeypatch.setattr(sweep, "rows_of", rows_of)
    data = os.urandom(2 * MIB)
    with blobs.receive(wanted(data), Body(data), _ok) as incoming:
        assert _sweep_byte(broom.store, incoming.blob.bytes[0]) == 0
    before, after = seen
    assert before == after
    assert incoming.blob in after.uploads


@pytest.mark.sqlite
def test_a_whole_upload_at_any_moment_of_the_scan(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after the list, before and after the rows."""
    store, puts = broom.store, []
    monkeypatch.setattr(
        "storage.uploads.uuid4", lambda: UUID(int=uuid4().int & ((1 << 120) - 1))
    )
    for name in ("_list", "rows_of"):
        real = getattr(sweep, name)

        def around(*arguments: Any, real: Any = real) -> Any:
            puts.append(store.put(1000))
            result = real(*arguments)
            puts.append(store.put(300 * KIB))
            return result

        monkeypatch.setattr(sweep, name, around)
    assert _sweep_byte(store, 0) == 0
    assert len(puts) == 4


def test_a_paused_instance_that_wakes_up(broom: Broom) -> None:
    """Its upload was undone; what it writes then is an orphan, and goes in time."""
    store = broom.store
    with pytest.raises(OSError):
        data = os.urandom(MIB)
        with blobs.receive(wanted(data), Body(data), _ok) as incoming:
            blob = incoming.blob
            paths = {p: p.read_bytes() for s in range(4) for p in store.paths(s, blob)}
            raise OSError("the client went away")
    store.settle()
    assert store.objects() == set()
    assert len(paths) >= 4
    for path, data in paths.items():
        path.write_bytes(data)
    _age(store)
    broom.run()
    broom.let_pass(2)
    broom.run()
    assert store.objects() == set()
    assert store.rows(Orphan) == []


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.sqlite
def test_nothing_is_left_of_uploads_killed_at_every_call(broom: Broom) -> None:
    """I-6: recovery and sweep leave no file, no row and no object behind."""
    store = broom.store
    kept = store.put(300 * KIB)
    fired = 0
    for at in range(1, 30):
        with pytest.MonkeyPatch.context() as patch:
            hits = _kill_at(patch, at)
            try:
                blob = store.put(800 * KIB)
                store.contents.pop(blob.uuid)
                store.let_go(blob.uuid)
            except Killed:
                fired += 1
        if not hits:
            break
        store.age_uploads()
        store.restart()
    assert fired > 8
    with transaction() as session:
        session.execute(
            update(Blob).where(Blob.uuid != kept.uuid).values(due_at=utcnow())
        )
    for slot in range(4):
        broom.orphan(slot)
    store.settle()
    broom.run()
    broom.let_pass(2)
    broom.run()
    assert [blob.uuid for blob in store.rows(Blob)] == [kept.uuid]
    assert store.rows(Upload) == store.debts() == store.rows(Orphan) == []
    assert store.leftovers() == set()
    assert [os.listdir(store.member(slot) / "tmp") for slot in range(4)] == [[]] * 4
    store.check()


def _kill_at(patch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Kill at the n-th call of a member, and before the error could be undone."""
    real, left, hits = LocalMember.put, [at], []

    def put(self: LocalMember, key: str, *arguments: Any, **named: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            hits.append(key)
            patch.setattr(blobs, "_undo", lambda *_: None)
            raise Killed
        real(self, key, *arguments, **named)

    patch.setattr(LocalMember, "put", put)
    return hits


@pytest.mark.sqlite
def test_a_member_that_will_not_move_it_does_not_stop_the_others(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as an orphan that stays, and the next sweep tries again."""
    paths = [broom.orphan(slot) for slot in range(4)]
    broom.run()
    broom.let_pass(2)
    real, fired = LocalMember.set_aside, []

    def refuse(self: LocalMember, key: str) -> None:
        if self.path.name == "2":
            fired.append(key)
            raise MemberReadOnly(self.label, "It is read-only.")
        real(self, key)

    monkeypatch.setattr(LocalMember, "set_aside", refuse)
    job = broom.run()
    assert fired
    assert job.state == JobState.DONE
    assert job.counts["removed"] == 3
    assert [path.exists() for path in paths] == [False, False, True, False]
    assert len(broom.seen()) == 1


@pytest.mark.sqlite
def test_a_killed_sweep_goes_on_where_it_was(
    broom: Broom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doing a step twice is harmless."""
    paths = [broom.orphan(slot) for slot in (0, 1, 2, 3)]
    broom.run()
    broom.let_pass(2)
    real, fired = sweep._forget, []

    def forget(session: Any, gone: Any) -> None:
        gone = list(gone)
        if gone and not fired:
            fired.append(gone)
            raise Killed
        real(session, gone)

    monkeypatch.setattr(sweep, "_forget", forget)
    with pytest.raises(Killed):
        broom.run()
    broom.store.restart()
    with transaction() as session:
        session.execute(update(Job).values(lease_until=utcnow()))
    job = broom.run()
    assert fired
    assert job.state == JobState.DONE
    assert not any(path.exists() for path in paths)
    assert broom.store.rows(Orphan) == []


@pytest.mark.sqlite
def test_what_was_seen_on_a_member_that_left_is_forgotten(broom: Broom) -> None:
    """Rows of orphans do not gather for ever."""
    with transaction() as session:
        session.add(
            Orphan(member_uuid=uuid4(), key="o/00/x", size=1, modified_at=utcnow())
        )
    broom.run()
    assert broom.store.rows(Orphan) == []


@pytest.mark.sqlite
def test_quarantine_is_counted_and_goes_after_a_month(broom: Broom, app: Flask) -> None:
    """By the time at which things were moved there, not by their own."""
    store = broom.store
    broom.orphan(1, days=300)
    broom.run()
    broom.let_pass(2)
    broom.run()
    array = store.runtime.array()
    assert quarantine.held(array) == {0: (0, 0), 1: (1, 9), 2: (0, 0), 3: (0, 0)}
    output = app.test_cli_runner().invoke(args=["array", "quarantine"]).output
    assert "slot 1: 1 objects, 9 bytes" in output
    assert quarantine.daily() == 0
    assert quarantine.drop_old(array, older_than=-1) == 1
    assert broom.aside(1) == []


@pytest.mark.sqlite
def test_the_sweep_of_the_day_removes(broom: Broom) -> None:
    """It comes by itself, and nobody has to say that it may."""
    path = broom.orphan()
    for days in (2, 1):
        with transaction() as session:
            earlier = utcnow() - timedelta(days=days)
            session.execute(update(ArrayRow).values(created_at=earlier))
            session.execute(update(Job).values(finished_at=earlier))
        broom.store.settle()
        broom.let_pass(1.1)
    assert [job.kind for job in broom.store.rows(Job)].count(JobKind.SWEEP) == 2
    assert not path.exists()


@pytest.mark.sqlite
def test_the_command_waits_and_says_what_came(broom: Broom, app: Flask) -> None:
    """It ends well when something was found, and badly when it could not look."""
    path = broom.orphan()
    run: Callable[..., Any] = app.test_cli_runner().invoke
    assert run(args=["array", "sweep"]).exit_code == 0
    early = run(args=["array", "sweep", "--delete"])
    assert early.exit_code == 1
    assert "only looks" in early.output
    assert run(args=["array", "sweep", "--wait"]).exit_code == 0
    asked = run(args=["array", "sweep", "--delete"])
    assert asked.exit_code == 0
    result = run(args=["array", "sweep", "--delete", "--wait"])
    assert result.exit_code == 0, result.output
    assert "1 orphans" in result.output
    assert path.name in result.output
    assert path.exists()
    broom.store.lose(0)
    result = run(args=["array", "sweep", "--wait"])
    assert result.exit_code == 1
    assert "needs every member" in result.output
