"""Which slots hold a blob, how much of it may go, and how much one role weighs."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from raid.geometry import Level
from storage.shares import shares_of
from support.arrays import memory_array, put_blob
from support.bodies import body
from support.store import KIB, MIB


@pytest.mark.parametrize("size", [0, 1000])
def test_what_every_member_holds_has_no_roles(size: int) -> None:
    stored = put_blob(memory_array(Level.RAID5, 4), body(size))
    assert shares_of(stored.manifest) == ("", None, 0)


@pytest.mark.parametrize("size", [300 * KIB, 20 * MIB])
def test_the_share_is_what_one_member_stores(size: int, tmp_path: Path) -> None:
    array = memory_array(Level.RAID5, 4)
    stored = put_blob(array, body(size))
    shares = shares_of(stored.manifest)
    assert (shares.slots, shares.redundancy) == ("0 1 2 3", 1)
    objects = array.members[0].objects  # type: ignore[attr-defined]
    held = sum(len(data) for key, data in objects.items() if f"{stored.blob}" in key)
    assert shares.share == held - stored.manifest_length


def test_segments_on_different_slots_are_told_apart() -> None:
    array = memory_array(Level.RAID10, 6)
    stored = put_blob(array, body(25 * MIB))
    assert shares_of(stored.manifest)[:2] == ("0 1 | 2 3 | 4 5", 1)
    one = put_blob(array, body(300 * KIB))
    assert shares_of(one.manifest).slots in ("0 1", "2 3", "4 5")


def test_of_very_many_slots_only_all_together_are_kept() -> None:
    """An index holds them, and an index has no room for everything."""
    stored = put_blob(memory_array(Level.RAID10, 4), body(9 * MIB))
    row = stored.manifest.segments[0]
    rows = [replace(row, slots=pair) for pair in combinations(range(30), 2)]
    slots = shares_of(replace(stored.manifest, segments=tuple(rows))).slots
    assert slots == " ".join(map(str, range(30)))


def test_a_narrow_blob_lies_on_fewer_slots() -> None:
    array = memory_array(Level.RAID5, 4)
    stored = put_blob(array.without([1]), body(300 * KIB))
    assert shares_of(stored.manifest)[:2] == ("0 2 3", 1)
