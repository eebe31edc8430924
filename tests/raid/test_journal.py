"""Entries of the catalogue journal."""

import zlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings

from raid.errors import DamagedObject, UnknownVersion
from raid.journal import MAX_BODY, MAX_LENGTH, NO_HASH, Entry, EntryFlag, hash_of
from support import structures

STORED, COMPRESSED = structures.STRUCTURES[7:9]
SAMPLE = Entry.unpack(STORED.packed)


@given(structures.entries())
@settings(max_examples=100, deadline=None)
def test_entries_are_parsed_back(entry):
    assert Entry.unpack(entry.pack()) == entry


def test_an_entry_is_chained_by_the_hash_that_seals_it():
    packed = SAMPLE.pack()
    following = replace(SAMPLE, number=8, previous=hash_of(packed))
    assert following.pack()[56:88] == packed[-32:]


def test_bits_of_flags_never_change():
    assert [(flag.value, flag.name) for flag in EntryFlag] == [
        (1, "SNAPSHOT"),
        (2, "FIRST"),
        (4, "LAST"),
        (8, "CONTINUES"),
    ]


def test_long_bodies_are_compressed_and_short_ones_are_not():
    assert len(COMPRESSED.packed) < 200
    assert SAMPLE.body in STORED.packed


def test_the_longest_body_fits_and_a_longer_one_is_not_written():
    noise = b"".join(zlib.crc32(b"%d" % i).to_bytes(4) for i in range(MAX_BODY // 4))
    longest = replace(SAMPLE, body=noise).pack()
    assert len(longest) <= MAX_LENGTH
    assert Entry.unpack(longest).body == noise
    with pytest.raises(ValueError, match="cannot have"):
        replace(SAMPLE, body=bytes(MAX_BODY + 1)).pack()
    with pytest.raises(DamagedObject, match="cannot have"):
        Entry.unpack(bytes(MAX_LENGTH + 1))


@pytest.mark.parametrize(
    "impossible",
    [
        replace(SAMPLE, number=0),
        replace(SAMPLE, number=1),
        replace(SAMPLE, previous=b""),
        replace(SAMPLE, flags=EntryFlag.FIRST),
        replace(SAMPLE, flags=EntryFlag.LAST),
        replace(SAMPLE, flags=EntryFlag.SNAPSHOT | EntryFlag.CONTINUES),
    ],
)
def test_impossible_entries_are_not_written(impossible):
    with pytest.raises(ValueError, match=r"cannot have|before it|contradict"):
        impossible.pack()


@pytest.mark.parametrize(
    ("at", "layout", "value", "error"),
    [
        (40, "Q", 0, DamagedObject),
        (40, "Q", 1, DamagedObject),
        (88, "B", 2, DamagedObject),
        (88, "B", 4, DamagedObject),
        (88, "B", 9, DamagedObject),
        (88, "B", 16, UnknownVersion),
        (89, "B", 2, UnknownVersion),
        (89, "B", 1, DamagedObject),
        (96, "Q", 0, DamagedObject),
        (96, "Q", 2**63, DamagedObject),
        (104, "Q", 0, DamagedObject),
        (104, "Q", MAX_BODY, DamagedObject),
        (104, "Q", MAX_BODY + 1, DamagedObject),
    ],
)
def test_sealed_entries_that_make_no_sense_are_refused(at, layout, value, error):
    with pytest.raises(error):
        Entry.unpack(STORED.forged(at, layout, value))


@pytest.mark.parametrize("length", [0, 599, 601, MAX_BODY])
def test_a_body_never_expands_to_another_length(length):
    with pytest.raises(DamagedObject):
        Entry.unpack(COMPRESSED.forged(104, "Q", length))


def packed_with(body: bytes, length: int) -> bytes:
    """Pack an entry over a compressed body that no writer makes."""
    changed = bytearray(STORED.packed[:112] + body + bytes(32))
    changed[89] = 1
    changed[96:112] = len(body).to_bytes(8, "little") + length.to_bytes(8, "little")
    longer = structures.Structure("", bytes(changed), Entry.unpack, len(changed))
    return longer.resealed(changed)


def test_a_bomb_is_stopped_at_the_length_that_it_claims():
    bomb = zlib.compress(bytes(8 * MAX_BODY))
    with pytest.raises(DamagedObject, match="cut or goes on"):
        Entry.unpack(packed_with(bomb, MAX_BODY))


def test_a_compressed_body_is_whole_and_ends_where_it_says():
    whole = zlib.compress(b"y" * 600)
    assert Entry.unpack(packed_with(whole, 600)).body == b"y" * 600
    for wrong in (whole[:-1], whole + b"more", b"", b"noise"):
        with pytest.raises(DamagedObject):
            Entry.unpack(packed_with(wrong, 600))


def test_the_first_entry_names_none_before_it():
    first = Entry(UUID(int=1), 1, 1, 0, NO_HASH, EntryFlag.NONE, b"")
    assert Entry.unpack(first.pack()) == first
