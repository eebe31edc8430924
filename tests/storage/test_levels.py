"""RAID-6 and RAID-10 from the settings to the members: lost, narrow, back, paid."""

from collections.abc import Callable
from itertools import combinations

import pytest

from raid.errors import ArrayFailed
from raid.geometry import Code
from storage import membership
from storage.models import Blob, DebtKind
from support.jobs import finish
from support.store import MIB, Store

SIZES = (1000, 300_000, MIB + 1)
LOSSES = [
    ("raid6", 4, (0, 2)),
    ("raid6", 5, (1, 4)),
    ("raid10", 4, (3,)),
    ("raid10", 5, (2,)),
]


def shapes(store: Store) -> set[tuple[int, int, int]]:
    """Return k, m and code of the blobs that know them."""
    known = [blob.layout for blob in store.rows(Blob) if blob.layout]
    return {(one["k"], one["m"], one["code"]) for one in known}


@pytest.mark.parametrize(("level", "width", "lost"), LOSSES)
def test_members_are_lost_written_past_return_and_are_paid(
    make_store: Callable[..., Store], level: str, width: int, lost: tuple[int, ...]
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    for size in SIZES:
        store.put(size)
    whole = shapes(store)
    for slot in lost:
        store.lose(slot)
    store.check()
    for size in SIZES:
        store.put(size)
    store.check()
    # Two of four left cannot hold three copies: the third is owed until one returns.
    short = width - len(lost) <= len(lost)
    assert any(blob.at_risk for blob in store.rows(Blob)) == short
    owed = {DebtKind.MANIFEST, DebtKind.SHARD} if short else {DebtKind.MANIFEST}
    assert {debt.kind for debt in store.debts()} == owed
    assert store.status().state == "degraded"
    narrowed = shapes(store) - whole
    assert {m for _, m, _ in whole | narrowed} == {len(lost)}
    assert bool(narrowed) == (level == "raid6")
    for slot in lost:
        store.bring_back(slot)
    store.settle()
    assert store.debts() == [] and set(store.states()) == {"in_sync"}
    assert not any(blob.at_risk for blob in store.rows(Blob))
    for gone in combinations(range(width), len(lost)):
        for slot in gone:
            store.lose(slot)
        store.check()
        for slot in gone:
            store.bring_back(slot)


@pytest.mark.sqlite
@pytest.mark.parametrize("lost", list(combinations(range(4), 2)))
def test_raid10_lives_as_long_as_each_pair_keeps_one(
    make_store: Callable[..., Store], lost: tuple[int, ...]
) -> None:
    """Two of four away: of different pairs every file reads and new ones are safe."""
    store = make_store(4, ARRAY_LEVEL="raid10")
    for size in (*SIZES, 17 * MIB):  # the last has a segment on each pair
        store.put(size)
    for slot in lost:
        store.lose(slot)
    if lost in [(0, 1), (2, 3)]:
        assert store.status().state == "failed"
        assert "until one of them returns" in store.banner()
        with pytest.raises(ArrayFailed, match="Too many members are away"):
            store.put(300_000)
    else:
        assert store.status().state == "degraded"
        assert store.banner() == (
            "Two of four storage members are away. All files are readable and new "
            "ones are safe on the other two."
        )
        for size in SIZES:
            store.put(size)
        assert not any(blob.at_risk for blob in store.rows(Blob))
        store.check()
    for slot in lost:
        store.bring_back(slot)
    store.settle()
    assert store.status().state == "clean"
    store.check()


@pytest.mark.sqlite
def test_with_more_pairs_away_the_banner_does_not_count(
    make_store: Callable[..., Store],
) -> None:
    """Who has to return depends on the pairs, so no number would be right."""
    store = make_store(4, ARRAY_LEVEL="raid10")
    store.put(300_000)
    for slot in (0, 1, 2):
        store.lose(slot)
    assert "until enough of them return" in store.banner()


@pytest.mark.sqlite
def test_one_of_a_pair_is_rebuilt_while_one_of_another_is_away(
    make_store: Callable[..., Store],
) -> None:
    store = make_store(4, ARRAY_LEVEL="raid10")
    for size in (*SIZES, 17 * MIB):
        store.put(size)
    store.lose(0)
    store.lose(2)
    store.runtime.check_members()
    membership.replace(0, "file:members/new")
    finish(store)
    assert store.states()[0] == "in_sync"
    assert store.status().state == "degraded"
    store.check()


@pytest.mark.sqlite
@pytest.mark.parametrize(("level", "width", "lost"), LOSSES)
def test_more_losses_than_promised_refuse_new_files(
    make_store: Callable[..., Store], level: str, width: int, lost: tuple[int, ...]
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    small = store.put(1000)
    another = lost[0] ^ 1  # the other of a pair, or any with raid6
    for slot in (*lost, another):
        store.lose(slot)
    assert store.status().state == "failed"
    with pytest.raises(ArrayFailed, match="Too many members are away"):
        store.put(300_000)
    assert store.get(small.uuid) == store.contents[small.uuid]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("level", "width", "shape", "survives"),
    [
        ("raid6", 5, (3, 2, Code.PQ), "two of these five"),
        ("raid10", 6, (1, 1, Code.COPIES), "one of these six"),
    ],
)
def test_the_shapes_are_those_of_the_levels(
    make_store: Callable[..., Store],
    level: str,
    width: int,
    shape: tuple[int, int, Code],
    survives: str,
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    store.put(300_000)
    assert shapes(store) == {shape}
    told = store.status()
    assert (told.level, told.width, told.k, told.m) == (level, width, *shape[:2])
    assert f"loss of any {survives} members" in told.sentence
    store.restart()  # superblocks are read, and agree with the rows
    assert store.status().state == "clean"
    store.check()
