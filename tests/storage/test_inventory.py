"""A member that returns: paid, looked at as a whole, and only then in sync."""

import shutil
import threading

import pytest
from sqlalchemy import update

from raid.array import Array
from raid.superblock import StoredState
from storage import debts, maps, membership
from storage.db import transaction, utcnow
from storage.jobs import runner, table
from storage.jobs.runner import Claim, Step
from storage.members.local import LocalMember
from storage.models import (
    Blob,
    BlobState,
    DebtKind,
    Event,
    JobKind,
    JobState,
    MemberRow,
)
from support.jobs import finish, jobs, tick
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)


def files(store: Store, slot: int) -> dict[str, bytes]:
    """Every object of a member and what it holds."""
    top = store.member(slot)
    found = (path for path in (top / "o").rglob("*") if path.is_file())
    return {str(path.relative_to(top)): path.read_bytes() for path in found}


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that are stored on member 1 from now on."""
    real, found, lock = LocalMember.put, [], threading.Lock()

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        if self.path.name == "1" and key.startswith(("o/", "t/")):
            with lock:
                found.append(key)
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    return found


@pytest.mark.sqlite
def test_only_what_changed_is_copied(store: Store, puts: list[str]) -> None:
    for size in SIZES * 2:
        store.put(size)
    store.lose(1)
    store.runtime.check_members()
    missed = [store.put(size).uuid for size in SIZES]
    puts.clear()
    store.bring_back(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert sorted(key.split("/")[-1][:36] for key in puts) == sorted(map(str, missed))
    (job,) = jobs(store, JobKind.INVENTORY)
    assert (job.state, job.counts) == (JobState.DONE, {})
    assert job.done_objects == len(store.contents)
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_what_it_finds_is_durable_before_it_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gave it to the member may have been killed before a disk had it."""
    real, synced = LocalMember.sync, set()

    def sync(self: LocalMember, prefix: str) -> None:
        real(self, prefix)
        if self.path.name == "1":
            synced.add(prefix)

    monkeypatch.setattr(LocalMember, "sync", sync)
    for size in SIZES * 2:
        store.put(size)
    store.lose(1)
    store.runtime.check_members()
    store.put(1000)
    store.bring_back(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert synced >= {name.rpartition("/")[0] + "/" for name in files(store, 1)}


def test_what_a_member_lost_while_it_was_away_is_found(
    store: Store, puts: list[str]
) -> None:
    """Objects that are gone or cut short: absence and length, not only debts."""
    for size in SIZES * 2:
        store.put(size)
    whole = files(store, 1)
    store.lose(1)
    store.runtime.check_members()
    store.put(1000)
    away = store.folder / "1.away"
    gone = sorted(whole)[::3]
    for key in gone[::2]:
        (away / key).unlink()
    for key in gone[1::2]:
        (away / key).write_bytes(whole[key][:-1])
    puts.clear()
    store.bring_back(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert store.debts() == []
    found = files(store, 1)
    assert {key: found[key] for key in whole} == whole
    assert len(set(puts)) == len(gone) + 1
    assert jobs(store, JobKind.INVENTORY)[-1].counts == {"lacking": len(gone)}


@pytest.mark.sqlite
def test_it_is_not_in_sync_before_it_was_looked_at(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    monkeypatch.setattr("storage.jobs.inventory.BATCH", 2)
    for _ in range(7):
        store.put(1000)
    store.lose(1)
    store.runtime.check_members()
    store.put(1000)
    assert store.states()[1] == "stale"
    store.bring_back(1)
    for _ in range(3):
        tick(store)
        assert store.states()[1] == "rebuilding"
        assert store.debts() == []
    finish(store)
    assert store.states()[1] == "in_sync"
    (job,) = jobs(store, JobKind.INVENTORY)
    assert job.done_objects == 8


@pytest.mark.sqlite
def test_a_member_that_leaves_again_is_looked_at_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at before it left again proves nothing."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    monkeypatch.setattr("storage.jobs.inventory.BATCH", 2)
    for _ in range(7):
        store.put(1000)
    store.lose(1)
    store.runtime.check_members()
    store.put(1000)
    store.bring_back(1)
    for _ in range(4):
        tick(store)
    membership.fail(1)
    early = sorted(files(store, 1))[0]
    (store.member(1) / early).unlink()
    membership.readd(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert early in files(store, 1)
    states = [job.state for job in jobs(store, JobKind.INVENTORY)]
    assert states == [JobState.CANCELLED, JobState.DONE]


def test_deleted_while_it_was_away_stays_deleted(store: Store) -> None:
    """Tombstones come first; a member that was away brings nothing back."""
    blobs = [store.put(size) for size in SIZES * 2]
    store.lose(1)
    store.runtime.check_members()
    for blob in blobs[::2]:
        store.let_go(blob.uuid)
    with transaction() as session:
        session.execute(
            update(Blob)
            .where(Blob.state == BlobState.TOMBSTONED)
            .values(due_at=utcnow())
        )
    store.put(1000)
    finish(store)
    purging = [b for b in store.rows(Blob) if b.state == BlobState.PURGING]
    assert len(purging) == len(blobs[::2])
    store.bring_back(1)
    finish(store)
    finish(store)
    left = {str(blob.uuid) for blob in store.rows(Blob)}
    assert left == {str(uuid) for uuid in store.contents}
    assert {key.split("/")[-1][:36] for key in files(store, 1)} <= left
    assert not [name for name in store.objects() if "/t/" in name]
    assert store.states() == ["in_sync"] * 4
    store.check()


@pytest.mark.sqlite
def test_what_came_back_of_a_purge_that_is_on_its_way_goes(store: Store) -> None:
    """The member had acknowledged the tombstone, and then its disk was restored."""
    blob = store.put(300 * KIB)
    old = store.folder / "old"
    shutil.copytree(store.member(1), old)
    store.lose(3)
    store.runtime.check_members()
    store.let_go(blob.uuid)
    with transaction() as session:
        session.execute(update(Blob).values(due_at=utcnow()))
    finish(store)
    assert store.paths(1, blob.uuid) == []
    owed = {(debt.kind, debt.member_uuid) for debt in store.debts()}
    assert {kind for kind, _ in owed} == {DebtKind.TOMBSTONE} and len(owed) == 1
    for path in (old / "o").rglob("*.*"):
        target = store.member(1) / path.relative_to(old)
        shutil.copy(path, target)
    membership.fail(1, force=True)
    membership.readd(1)
    finish(store)
    assert store.paths(1, blob.uuid) == []
    assert store.states()[1] == "in_sync"
    store.bring_back(3)
    finish(store)
    assert store.rows(Blob) == []
    assert store.objects() == set()


def test_a_member_that_was_set_back_is_noticed(store: Store, puts: list[str]) -> None:
    """Its disk was restored from a snapshot: older than what it had acknowledged."""
    store.put(300 * KIB)
    snapshot = store.folder / "snapshot"
    shutil.copytree(store.member(1), snapshot)
    # An event makes new superblocks, and a blob comes after the snapshot.
    membership.fail(3)
    membership.readd(3)
    finish(store)
    blob = store.put(300 * KIB)
    assert store.states() == ["in_sync"] * 4
    shutil.rmtree(store.member(1))
    snapshot.rename(store.member(1))
    puts.clear()
    store.restart()
    finish(store)
    assert "member_older" in {event.word for event in store.rows(Event)}
    assert [key.split("/")[-1][:36] for key in puts] == [str(blob.uuid)]
    assert store.states() == ["in_sync"] * 4
    store.restart()
    tick(store)
    assert store.states() == ["in_sync"] * 4, "it is told, and found in order"
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_what_is_merely_unknown_stays(store: Store) -> None:
    """It may be an upload on its way, or what only a recovery knows."""
    store.put(1000)
    source = sorted(files(store, 1))[0]
    stranger = "o/00/00000000-0000-4000-8000-000000000000.m1"
    path = store.member(1) / stranger
    path.parent.mkdir(exist_ok=True)
    shutil.copy(store.member(1) / source, path)
    membership.fail(1)
    membership.readd(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert path.exists()


@pytest.mark.sqlite
def test_what_m_plus_one_tombstones_bury_goes(store: Store) -> None:
    from uuid import UUID

    from raid import repair

    buried = UUID("00000000-0000-4000-8000-000000000000")
    path = store.member(1) / f"o/00/{buried}.m1"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"old")
    repair.put_tombstone(store.runtime.array(), 0, buried, 1, 0)
    membership.fail(1)
    membership.readd(1)
    finish(store)
    assert path.exists(), "one tombstone of two could be half a purge"
    repair.put_tombstone(store.runtime.array(), 2, buried, 1, 0)
    membership.fail(1)
    membership.readd(1)
    finish(store)
    assert not path.exists()
    assert jobs(store, JobKind.INVENTORY)[-1].counts == {"purged": 1}


@pytest.mark.sqlite
def test_it_waits_for_what_is_still_being_filled(store: Store) -> None:
    """A rebuild goes on first, so that its objects do not all become debts."""
    for _ in range(4):
        store.put(1000)
    store.lose(1)
    store.runtime.check_members()
    membership.replace(1, "file:members/1")
    (rebuild,) = jobs(store, JobKind.REBUILD)
    table.pause(rebuild.id)
    membership.fail(1)
    membership.readd(1)
    for _ in range(3):
        tick(store)
    assert store.states()[1] == "rebuilding"
    assert store.debts() == []
    table.resume(rebuild.id)
    finish(store)
    assert store.states()[1] == "in_sync"
    assert not any(row.inventory_due for row in store.rows(MemberRow))
    (inventory,) = jobs(store, JobKind.INVENTORY)
    assert inventory.counts == {}
    assert debts.TAKES_WRITES


@pytest.mark.sqlite
def test_what_went_away_in_its_last_step_is_looked_at_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That step can't have seen what the member lost after it."""
    blob = store.put(2 * MIB).uuid
    membership.fail(1)
    membership.readd(1)
    work = runner._works[JobKind.INVENTORY]
    real, went = work.step, []

    def goes_away(claim: Claim, array: Array) -> Step:
        step = real(claim, array)
        if step.done and not went:
            went.append(claim.id)
            with transaction() as session:
                locked = maps.lock(session)
                locked.set_state(locked.by_slot()[1], StoredState.STALE)
            for path in (store.member(1) / "o").rglob(f"{blob}.*"):
                path.unlink()
        return step

    monkeypatch.setattr(work, "step", goes_away)
    finish(store)
    assert went
    assert len(jobs(store, JobKind.INVENTORY)) == 2
    assert store.states()[1] == "in_sync"
    store.check()
