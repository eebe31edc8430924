"""Superblocks and tombstones."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings

from raid.errors import DamagedObject, UnknownVersion
from raid.superblock import (
    MAX_LENGTH,
    MemberEntry,
    StoredState,
    Superblock,
    Tombstone,
)
from support import structures
from support.structures import TOMBSTONES, superblocks

SAMPLE = structures.superblock()
STRUCTURE = structures.STRUCTURES[5]


@given(superblocks())
@settings(max_examples=100, deadline=None)
def test_superblocks_are_parsed_back(superblock):
    parsed = Superblock.unpack(superblock.pack())
    assert parsed == superblock
    assert parsed.pack() == superblock.pack()


@given(TOMBSTONES)
def test_tombstones_are_parsed_back(tombstone):
    packed = tombstone.pack()
    assert len(packed) == 96
    assert Tombstone.unpack(packed) == tombstone


def test_the_highest_incarnation_wins_before_the_event():
    old, new = replace(SAMPLE, event=9), replace(SAMPLE, incarnation=2, event=1)
    assert old.order < new.order


def test_codes_of_states_never_change():
    assert [(state.code, state.value) for state in StoredState] == [
        (1, "in_sync"),
        (2, "stale"),
        (3, "rebuilding"),
        (4, "faulty"),
        (5, "spare"),
        (6, "retired"),
    ]


OTHER = MemberEntry(UUID(int=77), 0, StoredState.IN_SYNC, "")


@pytest.mark.parametrize(
    "ambiguous",
    [
        replace(SAMPLE, members=(*SAMPLE.members, SAMPLE.members[0])),
        replace(SAMPLE, members=(*SAMPLE.members, OTHER)),
        replace(SAMPLE, slot=1),
        replace(SAMPLE, slot=None),
        replace(SAMPLE, member=UUID(int=99)),
        replace(SAMPLE, members=()),
    ],
)
def test_ambiguous_maps_are_not_written(ambiguous):
    with pytest.raises(ValueError, match=r"twice|contradicts"):
        ambiguous.pack()


@pytest.mark.parametrize(
    ("at", "layout", "value", "error"),
    [
        (32, "B", 8, DamagedObject),  # another member's uuid
        (64, "h", 1, DamagedObject),  # another slot than in its own map
        (64, "h", -2, DamagedObject),
        (66, "B", 7, UnknownVersion),
        (66, "B", 6, DamagedObject),  # raid6 with the k and m of raid5
        (66, "B", 10, DamagedObject),
        (67, "B", 1, DamagedObject),
        (67, "B", 255, DamagedObject),
        (68, "B", 2, DamagedObject),
        (69, "B", 2, UnknownVersion),
        (70, "H", 0, DamagedObject),
        (70, "H", 65535, DamagedObject),
        (72, "I", 4096, DamagedObject),
        (76, "I", 2**32 - 1, DamagedObject),
        (96 + 16, "h", 1, DamagedObject),  # a slot twice
        (96 + 18, "B", 7, UnknownVersion),
        (96 + 19, "B", 1, UnknownVersion),
        (96 + 20, "H", 65535, DamagedObject),
        (96 + 22, "B", 0xFF, DamagedObject),
    ],
)
def test_sealed_superblocks_that_make_no_sense_are_refused(at, layout, value, error):
    with pytest.raises(error):
        Superblock.unpack(STRUCTURE.forged(at, layout, value))


def test_a_superblock_is_never_longer_than_a_reader_fetches():
    members = tuple(
        MemberEntry(UUID(int=i + 1), i, StoredState.IN_SYNC, "x" * 65535)
        for i in range(17)
    )
    with pytest.raises(ValueError, match="longer than"):
        replace(SAMPLE, members=members).pack()
    with pytest.raises(DamagedObject, match="cannot have"):
        Superblock.unpack(bytes(MAX_LENGTH + 1))
