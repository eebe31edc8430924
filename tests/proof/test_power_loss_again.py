"""R4: what a killed process left is made durable by whoever finds it there.

A repair is killed at any call, and its successor sees in the page cache what no disk
has yet. When that one says that the object is there the power may go.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raid import repair
from raid.array import Array
from raid.buffers import BufferPool
from raid.geometry import Level
from raid.holdings import holdings
from raid.keys import tombstone_key
from raid.manifest import Manifest
from raid.rebuild import Filler
from storage.members.local import LocalMember
from support.arrays import array_over, put_blob
from support.bodies import body
from support.powerloss import PowerCut, PowerLoss

SLOT = 1
SIZES = {"inline": 5_000, "combined": 300_000, "segmented": 10_000_000}
MOST_CALLS = 60
Give = Callable[[Array, Manifest], None]


class _First(random.Random):
    """A disk that keeps nothing but what it was told to keep."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


def by_debts(array: Array, manifest: Manifest) -> None:
    """Give the objects one by one, as debts are paid."""
    for holding in holdings(manifest, SLOT):
        if holding.segment is None or holding.role is None:
            repair.put_manifest(array, SLOT, manifest)
        else:
            repair.put_shard(array, SLOT, manifest, holding.segment, holding.role)


def by_rebuild(array: Array, manifest: Manifest) -> None:
    """Give what is lacking, as a rebuild does that goes on."""
    pool = BufferPool(64 << 20)
    with Filler(array, array, SLOT, pool, lambda _: None) as filler:
        filler.give_all(manifest)


def _members(folder: Path, calls: PowerLoss | None) -> list[LocalMember]:
    folder.mkdir(exist_ok=True)
    own = {} if calls is None else {SLOT: calls}
    return [LocalMember(folder / f"m{slot}", own.get(slot)) for slot in range(2)]


def _again(array: Array, members: list[LocalMember]) -> Array:
    """The same array as another process sees it."""
    for slot, member in enumerate(members):
        member.admit(array.map.array, array.uuid_of(slot))
    return Array(array.map, dict(enumerate(members)), array.health, array.executor)


def _lose(array: Array, manifest: Manifest) -> None:
    for holding in holdings(manifest, SLOT):
        array.members[SLOT].delete(holding.key)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("give", [by_debts, by_rebuild])
def test_what_is_there_already_is_durable_when_it_is_acknowledged(
    tmp_path: Path, give: Give, size: int
) -> None:
    killed = 0
    for number in range(1, MOST_CALLS):
        folder, calls = tmp_path / str(number), PowerLoss(number)
        array = array_over(Level.RAID1, _members(folder, calls))
        manifest = put_blob(array, body(size)).manifest
        _lose(array, manifest)
        calls.die_at = calls.changes + number
        try:
            give(array, manifest)
        except PowerCut:
            killed += 1
        calls.die_at, calls.dead = None, False
        give(_again(array, _members(folder, calls)), manifest)
        calls.dice = _First()
        calls.crash()
        left = _again(array, _members(folder, None))
        for holding in holdings(manifest, SLOT):
            if holding.segment is None or holding.role is None:
                repair.check_manifest(left, SLOT, manifest)
            else:
                where = (manifest, holding.segment, holding.role)
                repair.check_shard(left, SLOT, *where)
        if killed < number:
            break
    assert 4 < killed < MOST_CALLS - 1


def test_a_tombstone_of_another_time_is_durable_when_it_is_taken_for_ours(
    tmp_path: Path,
) -> None:
    killed = 0
    for number in range(1, MOST_CALLS):
        folder, calls = tmp_path / str(number), PowerLoss(number)
        array = array_over(Level.RAID1, _members(folder, calls))
        blob = put_blob(array, b"").manifest.blob
        calls.die_at = calls.changes + number
        try:
            repair.put_tombstone(array, SLOT, blob, 1, 1)
        except PowerCut:
            killed += 1
        calls.die_at, calls.dead = None, False
        again = _again(array, _members(folder, calls))
        repair.put_tombstone(again, SLOT, blob, 1, 2)
        calls.dice = _First()
        calls.crash()
        left = _again(array, _members(folder, None))
        assert left.members[SLOT].read(tombstone_key(blob))
        if killed < number:
            break
    assert 4 < killed < MOST_CALLS - 1
