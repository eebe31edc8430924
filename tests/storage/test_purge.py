"""Purging: after the grace, tombstone first, and for ever."""

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from raid import repair
from raid.errors import BlobDamaged, MemberDenied, MemberFull, MemberSlow
from raid.member import RESERVE
from storage import blobs, debts, events, kept, purge
from storage.db import db, release, transaction, utcnow
from storage.errors import BlobGone
from storage.members.calls import SystemCalls
from storage.members.disk import Disk
from storage.members.local import LocalMember
from storage.models import Blob, BlobState, Debt, DebtKind, MemberRow
from support.arrays import Body
from support.soak import steps, times
from support.store import KIB, MIB, Store, wanted

SIZES = (0, 1000, 300 * KIB, 2 * MIB)


@pytest.fixture
def quick(make_store: Callable[..., Store]) -> Store:
    """A storage whose purges are due at once."""
    return make_store(PURGE_GRACE_SECONDS="0")


def test_a_released_blob_stays_for_the_grace(store: Store) -> None:
    """A running download ends well; a day later the bytes go."""
    blob = store.put(300 * KIB)
    data = store.contents[blob.uuid]
    store.let_go(blob.uuid)
    store.settle()
    assert store.get(blob.uuid) == data
    row = store.rows(Blob)[0]
    assert row.state == BlobState.TOMBSTONED
    assert timedelta(hours=23) < row.due_at - utcnow() < timedelta(hours=25)
    with transaction() as session:
        session.get_one(Blob, blob.uuid).due_at = utcnow()
    store.settle()
    assert store.rows(Blob) == []
    assert store.objects() == set()


def test_everything_goes_and_nothing_else(quick: Store) -> None:
    """Every form; the others stay whole."""
    gone = [quick.put(size).uuid for size in SIZES]
    kept = [quick.put(size).uuid for size in SIZES]
    for uuid in gone:
        quick.let_go(uuid)
    quick.settle()
    assert {blob.uuid for blob in quick.rows(Blob)} == set(kept)
    assert quick.leftovers() == set()
    assert quick.debts() == []
    quick.check()
    quick.settle()
    assert {blob.uuid for blob in quick.rows(Blob)} == set(kept)


def test_many_at_once_by_a_select(quick: Store) -> None:
    """As a purge of a whole folder does it; more than one batch of them."""
    for _ in range(70):
        quick.put(10)
    with transaction() as session:
        blobs.release(session, select(Blob.uuid))
    quick.settle()
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


def test_deleted_stays_deleted_when_a_member_returns(quick: Store) -> None:
    """It was away during the purge, and must not bring anything back."""
    uuids = [quick.put(size).uuid for size in SIZES]
    quick.lose(1)
    for uuid in uuids:
        quick.let_go(uuid)
    quick.settle()
    assert {blob.state for blob in quick.rows(Blob)} == {BlobState.PURGING}
    owed = quick.debts()
    assert {debt.kind for debt in owed} == {DebtKind.TOMBSTONE}
    assert len({debt.member_uuid for debt in owed}) == 1
    for slot in (0, 2, 3):
        assert {name.split("/")[1] for name in quick.objects(slot)} == {"t"}
    quick.bring_back(1)
    assert any("/o/" in name for name in quick.objects(1))
    quick.settle()
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


def test_missed_writes_and_a_purge_at_once(quick: Store) -> None:
    """What a member is owed of a purged blob is a tombstone and nothing else."""
    quick.lose(2)
    kept, gone = quick.put(300 * KIB), quick.put(300 * KIB)
    quick.let_go(gone.uuid)
    quick.settle()
    quick.bring_back(2)
    quick.settle()
    assert [blob.uuid for blob in quick.rows(Blob)] == [kept.uuid]
    assert quick.leftovers() == set()
    assert set(quick.states()) == {"in_sync"}
    quick.check()


def test_no_object_goes_before_m_plus_one_tombstones(quick: Store) -> None:
    """With three of four away nothing is erased; it waits."""
    blob = quick.put(2 * MIB)
    for slot in (0, 1, 2):
        quick.lose(slot)
    quick.let_go(blob.uuid)
    quick.settle()
    assert quick.paths(3, blob.uuid)
    assert len(quick.debts()) == 4
    for slot in (0, 1, 2):
        quick.bring_back(slot)
    quick.settle()
    assert quick.rows(Blob) == []
    assert quick.objects() == set()


def test_a_full_member_takes_tombstones(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve is there for them."""
    blob = quick.put(300 * KIB)
    real, refused = LocalMember.put, []

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        if not named.get("essential"):
            refused.append(key)
            raise MemberFull(self.label, "It is full.")
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    with pytest.raises(Exception, match="room"):
        quick.put(300 * KIB)
    assert refused
    quick.let_go(blob.uuid)
    quick.settle()
    assert quick.rows(Blob) == []
    assert quick.objects() == set()


@pytest.mark.sqlite
def test_a_member_below_its_reserve_is_emptied_in_one_round(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Purges are what makes room there, so its check must not be in their way."""
    _release(quick, 20)
    real, below = SystemCalls.statvfs, []

    def statvfs(self, path):  # type: ignore[no-untyped-def]
        found = list(real(self, path))
        if path.endswith("/2"):
            below.append(path)
            found[1], found[4] = 1, RESERVE - 1
        return os.statvfs_result(found)

    monkeypatch.setattr(SystemCalls, "statvfs", statvfs)
    quick.restart()
    assert quick.status().members[2].observed == "full"
    quick.tick()
    assert below
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.sqlite
@pytest.mark.parametrize("call", ["put", "delete", "list"])
def test_killed_at_every_call_of_a_member(quick: Store, call: str) -> None:
    """Whoever comes next ends the purge; a live blob is never touched."""
    quick.put(300 * KIB)
    for at in steps(40):
        blob = quick.put(300 * KIB)
        quick.let_go(blob.uuid)
        with pytest.MonkeyPatch.context() as patch:
            fired = _kill_at(patch, call, at)
            try:
                quick.tick()
            except Killed:
                assert fired
        quick.restart()
        quick.settle()
        assert len(quick.rows(Blob)) == 1
        assert quick.leftovers() == set()
        assert quick.debts() == []
        if not fired:
            break
    assert at > 4
    quick.check()


def _kill_at(patch: pytest.MonkeyPatch, call: str, at: int) -> list[int]:
    real, left, fired = getattr(LocalMember, call), [at], []

    def step(self, *arguments, **named):  # type: ignore[no-untyped-def]
        left[0] -= 1
        if left[0] == 0:
            fired.append(at)
            raise Killed
        return real(self, *arguments, **named)

    patch.setattr(LocalMember, call, step)
    return fired


@pytest.mark.parametrize("step", ["begin_due", "_tell", "_acknowledge", "_finish"])
def test_killed_between_the_steps(quick: Store, step: str) -> None:
    """Rows and members agree again after the next round."""
    blob = quick.put(2 * MIB)
    quick.let_go(blob.uuid)
    for after in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            real = getattr(purge, step)
            fired = []

            def kill(*arguments):  # type: ignore[no-untyped-def]
                fired.append(step)  # noqa: B023
                if after:  # noqa: B023
                    real(*arguments)  # noqa: B023
                raise Killed

            patch.setattr(purge, step, kill)
            with pytest.raises(Killed):
                quick.tick()
            assert fired
    quick.settle()
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


def test_a_download_that_meets_the_purge_is_cut(quick: Store) -> None:
    """It was let go of meanwhile: gone, and no damage is noted against anybody."""
    blob = quick.put(2 * MIB)
    chunks = blobs.open_blob(blob).chunks()
    next(chunks)
    quick.let_go(blob.uuid)
    quick.settle()
    with pytest.raises(BlobGone):
        list(chunks)
    quick.settle()
    assert quick.debts() == []


def test_opening_what_is_being_purged(quick: Store) -> None:
    """It is gone for readers as soon as its purge begins."""
    blob = quick.put(10)
    quick.let_go(blob.uuid)
    for slot in (0, 1, 2):
        quick.lose(slot)
    quick.settle()
    row = db.session.get_one(Blob, blob.uuid, populate_existing=True)
    release()
    with pytest.raises(BlobGone):
        blobs.open_blob(row)
    assert not isinstance(BlobGone(), BlobDamaged)


def test_releasing_twice_is_once(quick: Store) -> None:
    """The life of a blob only moves forward."""
    blob = quick.put(10)
    quick.let_go(blob.uuid)
    first = quick.rows(Blob)[0].tombstoned_at
    quick.let_go(blob.uuid)
    assert quick.rows(Blob)[0].tombstoned_at == first


def test_an_undone_sealed_upload_is_a_purge(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that has its manifest and is away is owed the tombstone."""
    data = b"x" * 300 * KIB
    with (
        pytest.raises(OSError),
        blobs.receive(wanted(data), Body(data), lambda _: None),
    ):
        store.lose(0)
        raise OSError("the client went away")
    [row] = store.rows(Blob)
    assert row.state == BlobState.PURGING
    assert [debt.kind for debt in store.rows(Debt)] == [DebtKind.TOMBSTONE]
    assert store.status().blobs == 0
    store.bring_back(0)
    assert store.objects(0)
    store.settle()
    assert store.rows(Blob) == []
    assert store.objects() == set()


def _release(store: Store, count: int) -> None:
    """Store so many small blobs, and let go of all at once."""
    for _ in range(count):
        store.put(10)
    with transaction() as session:
        blobs.release(session, select(Blob.uuid))
    store.contents.clear()


@pytest.mark.sqlite
def test_a_member_without_a_free_byte_gives_its_objects_up(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a tombstone fits; m+1 others hold it, so its objects make room."""
    _release(quick, purge.BATCH + 10)
    real, refused = SystemCalls.open, []

    def full(self, path, flags):  # type: ignore[no-untyped-def]
        if "/2/tmp/" in path and flags & os.O_CREAT:
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, path, flags)

    monkeypatch.setattr(SystemCalls, "open", full)
    quick.restart()
    quick.settle()
    assert len(refused) >= purge.BATCH
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


@pytest.mark.sqlite
def test_nothing_goes_where_too_few_have_room_for_tombstones(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four are without a byte: one tombstone is not m+1."""
    _release(quick, 3)
    real, refused = repair.put_tombstone, []

    def put(array, slot, *arguments):  # type: ignore[no-untyped-def]
        if slot:
            refused.append(slot)
            raise MemberFull("m", "It is full.")
        real(array, slot, *arguments)

    monkeypatch.setattr(repair, "put_tombstone", put)
    quick.settle()
    assert set(refused) == {1, 2, 3}
    assert len(quick.rows(Blob)) == 3
    assert sum("/o/" in name for name in quick.objects()) == 12
    monkeypatch.undo()
    quick.settle()
    assert quick.objects() == set()


def test_a_sick_member_does_not_hold_up_what_is_behind(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at every tombstone, and the others let go of more than a batch."""
    count = purge.BATCH + 10
    _release(quick, count)
    real, failed = repair.put_tombstone, []

    def put(array, slot, *arguments):  # type: ignore[no-untyped-def]
        if slot == 2:
            failed.append(arguments[0])
            raise MemberSlow("m", "It is slow.")
        real(array, slot, *arguments)

    monkeypatch.setattr(repair, "put_tombstone", put)
    monkeypatch.setattr(debts, "FIRST_WAIT", 60.0)  # however slow this machine is
    quick.tick()
    assert len(failed) == 1
    assert {debt.member_uuid for debt in quick.debts()} == {_member(quick, 2)}
    assert not any("/o/" in name for name in quick.objects() if name[0] != "2")
    quick.tick()
    # Next time it begins behind the one at which it failed.
    assert len(set(failed)) == len(failed)
    monkeypatch.undo()
    quick.make_due()
    quick.settle()
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


@pytest.mark.sqlite
def test_a_tombstone_that_cannot_go_holds_up_no_other_purge(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have let go of everything; one member fails at the end of the first."""
    _release(quick, 20)
    stuck = min(row.uuid for row in quick.rows(Blob))
    real, failed = repair.drop_tombstone, []

    def drop(array, slot, uuid):  # type: ignore[no-untyped-def]
        if (slot, uuid) == (2, stuck):
            failed.append(uuid)
            raise MemberDenied("m", "It may not be removed.")
        real(array, slot, uuid)

    monkeypatch.setattr(repair, "drop_tombstone", drop)
    array = quick.runtime.array()
    for _ in range(3):
        purge.run(array)
    assert [row.uuid for row in quick.rows(Blob)] == [stuck]
    assert {debt.member_uuid for debt in quick.debts()} == {_member(quick, 2)}
    assert len(failed) == 1
    # Nor does it keep its member from counting as whole: it lacks nothing.
    assert not events._owes(_member(quick, 2), db.session())
    release()
    monkeypatch.setattr(repair, "drop_tombstone", real)
    quick.make_due()
    assert purge.run(array) == 1
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


def _member(store: Store, slot: int) -> UUID:
    return next(row.uuid for row in store.rows(MemberRow) if row.slot == slot)


@pytest.mark.sqlite
def test_one_that_is_absent_through_very_many_purges(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row and a debt for each, in bounded batches, and no work while it is away."""
    count = times(80)
    quick.put(10)
    quick.lose(1)
    quick.tick()
    _release(quick, count)
    quick.make_due()
    real, batches = purge._advance, []

    def advance(array, uuids, *arguments):  # type: ignore[no-untyped-def]
        batches.append(set(uuids))
        return real(array, uuids, *arguments)

    monkeypatch.setattr(purge, "_advance", advance)
    quick.settle()
    assert max(map(len, batches)) <= purge.BATCH
    # On a slow machine the first of them are due again before the last were.
    assert len(set().union(*batches)) == count + 1
    assert len(quick.rows(Blob)) == len(quick.debts()) == count + 1
    assert {name.split("/")[1] for name in quick.objects(0)} == {"t"}
    batches.clear()
    quick.tick()
    assert batches == []
    quick.bring_back(1)
    quick.settle()
    assert quick.rows(Blob) == quick.debts() == []
    assert quick.objects() == set()


@pytest.mark.sqlite
def test_one_that_goes_before_the_last_step_holds_up_nothing(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every member has acknowledged more than a batch; the ends of these wait."""
    real = purge._finish
    _release(quick, purge.BATCH)
    ended = []

    def not_yet(array, candidates, failed):  # type: ignore[no-untyped-def]
        ended.append(len(candidates))
        return 0

    monkeypatch.setattr(purge, "_finish", not_yet)
    quick.settle()
    assert purge.BATCH in ended
    assert quick.debts() == []
    monkeypatch.setattr(purge, "_finish", real)
    quick.lose(3)
    later = quick.put(10)
    quick.let_go(later.uuid)
    quick.settle()
    assert quick.paths(0, later.uuid) == []
    quick.bring_back(3)
    quick.settle()
    assert quick.rows(Blob) == []
    assert quick.objects() == set()


@pytest.mark.sqlite
def test_what_a_killed_worker_removed_is_made_durable(
    quick: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are gone and nobody synced that; the next one finds nothing there."""
    blob = quick.put(1000).uuid
    array, real, synced = quick.runtime.array(), Disk.sync_directory, []
    (path,) = (Path(path) for path in quick.paths(0, blob))
    path.unlink()

    def sync(self, folder):  # type: ignore[no-untyped-def]
        synced.append(Path(folder))
        real(self, folder)

    monkeypatch.setattr(Disk, "sync_directory", sync)
    assert kept.erase(array, 0, blob)
    assert path.parent in synced
