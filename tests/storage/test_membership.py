"""Fail, take back, replace, retire, spares and read-only: what it does and refuses."""

from storage import membership
from storage.models import MemberRow
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)


def test_a_lost_member_is_replaced_and_rebuilt(store: Store) -> None:
    for size in SIZES:
        store.put(size)
    before = {name for name in store.objects(1) if "/o/" in name}
    kept = {name: (store.folder / name).read_bytes() for name in before}
    store.lose(1)
    store.runtime.check_members()
    membership.replace(1, "file:members/1", actor="root")
    assert store.states()[1] == "rebuilding"
    store.settle()
    assert store.states() == ["in_sync"] * 4
    assert {name for name in store.objects(1) if "/o/" in name} == before
    assert {n: (store.folder / n).read_bytes() for n in before} == kept
    store.lose(2)
    store.check()


def test_a_planned_replacement_copies_and_swaps(store: Store) -> None:
    for size in SIZES:
        store.put(size)
    kept = {n[2:]: (store.folder / n).read_bytes() for n in store.objects(1)}
    membership.replace(1, "file:members/new", actor="root")
    assert store.states() == ["in_sync"] * 4
    store.settle()
    new = store.folder / "new"
    found = {str(p.relative_to(new)) for p in (new / "o").rglob("*") if p.is_file()}
    assert found == set(kept)
    assert all((new / name).read_bytes() == data for name, data in kept.items())
    assert store.states() == ["in_sync"] * 4
    rows = {row.url: row for row in store.rows(MemberRow)}
    assert rows["file:members/new"].slot == 1
    assert (rows["file:members/1"].slot, rows["file:members/1"].state) == (
        None,
        "retired",
    )
    store.check()
    store.lose(2)
    store.check()
