"""More members gone than the level survives: the honest list, and all of it back."""

import shutil
from collections.abc import Callable

import pytest

from raid.errors import BlobDamaged, BlobUnreachable
from storage import membership
from storage.blobref import manifest_of
from storage.errors import Refused
from storage.models import Blob, JobKind
from storage.supply import live
from support.jobs import debts_end, finish, jobs
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)
LAYOUTS = (("raid1", 2, 1), ("raid5", 4, 1), ("raid6", 5, 2), ("raid10", 4, 1))


@pytest.mark.sqlite
@pytest.mark.parametrize(("level", "width", "m"), LAYOUTS)
def test_one_returns_and_all_heals(
    make_store: Callable[..., Store], level: str, width: int, m: int
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    for size in SIZES * 2:
        store.put(size)
    lost = list(range(m + 1))
    expected = {uuid for uuid in store.contents if not _has_enough(store, uuid, lost)}
    for slot in lost:
        store.lose(slot)
    store.restart()
    store.runtime.check_members()
    unreadable = set()
    for uuid, data in store.contents.items():
        try:
            assert store.get(uuid) == data
        except BlobUnreachable:
            unreadable.add(uuid)
    assert unreadable == expected
    objects = {slot: store.objects(slot) for slot in range(m + 1, width)}
    store.settle()
    assert {slot: store.objects(slot) for slot in objects} == objects
    assert all(blob.state == "live" for blob in store.rows(Blob))
    assert not any(blob.damaged for blob in store.rows(Blob))
    assert store.status().state == "failed"
    store.bring_back(0)
    store.check()
    for slot in lost[1:]:
        store.bring_back(slot)
    finish(store)
    assert store.status().state == "clean"
    store.check()


def _has_enough(store: Store, uuid: object, lost: list[int]) -> bool:
    """Tell from the manifest whether a blob can be read without some slots."""
    ref = live([uuid])[uuid]  # type: ignore[list-item, index]
    manifest = manifest_of(store.runtime, store.runtime.array(), ref)
    if not manifest.segments:
        return len(lost) < store.width
    return all(
        len(set(row.slots) - set(lost)) >= row.shape.k for row in manifest.segments
    )


def test_two_are_lost_for_good_in_raid5(store: Store) -> None:
    """Both are replaced: the report is exactly what is lost; the rest is whole."""
    for size in SIZES * 2:
        store.put(size)
    store.lose(0)
    store.runtime.check_members()
    narrow = [store.put(size).uuid for size in SIZES]
    finish(store)
    store.lose(1)
    store.runtime.check_members()
    with pytest.raises(Refused, match="is needed"):
        membership.retire(1)
    for slot in (0, 1):
        with pytest.raises(Refused, match="is needed"):
            membership.replace(slot, f"file:members/new{slot}")
    assert not (store.folder / "new0").exists()
    membership.replace(0, "file:members/new0", force=True)
    membership.replace(1, "file:members/new1", force=True)
    finish(store)
    rebuilds = jobs(store, JobKind.REBUILD)
    assert len(rebuilds) == 2
    reported = {row["blob"] for job in rebuilds for row in job.report}
    lost = {uuid for uuid in store.contents if _is_lost(store, uuid)}
    assert lost and reported == {uuid.hex for uuid in lost}
    marked = {blob.uuid for blob in store.rows(Blob) if blob.damaged}
    assert marked == lost
    assert lost.isdisjoint(narrow)
    assert all(blob.state == "live" for blob in store.rows(Blob))
    for uuid in set(store.contents) - lost:
        assert store.get(uuid) == store.contents[uuid]
    # Nothing of what is left was emptied, so the old disks, found again, would help.
    _put_back(store, 0)
    debts_end(store)
    finish(store)
    assert not any(blob.damaged for blob in store.rows(Blob))
    assert store.states() == ["in_sync"] * 4
    store.check()


def _is_lost(store: Store, uuid: object) -> bool:
    try:
        assert store.get(uuid) == store.contents[uuid]  # type: ignore[arg-type, index]
    except BlobDamaged:
        return True
    return False


def _put_back(store: Store, slot: int) -> None:
    """Copy the objects of the old disk by hand to where they lack."""
    old, new = store.folder / f"{slot}.away", store.folder / f"new{slot}"
    for path in (old / "o").rglob("*.*"):
        target = new / path.relative_to(old)
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)


@pytest.mark.sqlite
def test_a_retired_member_is_never_waited_for(store: Store) -> None:
    """With one retired and one replaced, the rebuild goes on past what is lost."""
    inline, wide = store.put(1000), store.put(2 * MIB)
    store.lose(1)
    store.runtime.check_members()
    membership.replace(1, "file:members/new")
    with pytest.raises(Refused, match="is needed"):
        membership.retire(2)
    membership.fail(2, force=True)
    finished = jobs(store, JobKind.REBUILD)[0]
    assert finished.state == "queued"
    store.tick()
    assert "away" in jobs(store, JobKind.REBUILD)[0].problem
    membership.readd(2)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert store.get(inline.uuid) and store.get(wide.uuid)
