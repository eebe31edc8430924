"""What a parser makes of bytes that nobody should have written.

Only `DamagedObject` and `UnknownVersion` may come out, in little memory; a flipped bit
is always damage, in a version field too.
"""

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid.errors import DamagedObject, UnknownVersion
from raid.format import SegmentTable, ShardHeader
from raid.geometry import Code, Shape
from raid.journal import Entry
from raid.manifest import Description, Manifest, SegmentRow, unpack_head
from raid.superblock import Superblock, Tombstone
from support.structures import STRUCTURES, Structure

every = pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.name)
XOR = Shape(3, 1, Code.XOR)
PARSERS = [
    ShardHeader.unpack,
    Manifest.unpack,
    unpack_head,
    Superblock.unpack,
    Tombstone.unpack,
    Entry.unpack,
    lambda data: SegmentTable.unpack(data, 100, XOR, bytes(32)),
]


@every
def test_every_flipped_bit_is_damage(structure: Structure):
    for bit in range(len(structure.packed) * 8):
        flipped = bytearray(structure.packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedObject):
            structure.unpack(bytes(flipped))


@every
def test_every_truncation_is_damage(structure: Structure):
    for length in range(len(structure.packed)):
        with pytest.raises(DamagedObject):
            structure.unpack(structure.packed[:length])


@every
def test_zeros_in_place_of_the_bytes_are_damage(structure: Structure):
    with pytest.raises(DamagedObject):
        structure.unpack(bytes(len(structure.packed)))


@every
def test_one_structure_is_never_taken_for_another(structure: Structure):
    for other in STRUCTURES:
        if other.name.split()[0] != structure.name.split()[0]:
            with pytest.raises(DamagedObject, match=r"start like|cut short|head says"):
                structure.unpack(other.packed)


@given(st.sampled_from(PARSERS), st.binary(max_size=600))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_damage(parse, data):
    with pytest.raises(DamagedObject):
        parse(data)


@given(st.binary(min_size=64, max_size=200))
def test_random_rows_and_descriptions_raise_nothing_else(data):
    for parse in (SegmentRow.unpack, lambda data: Description.unpack(data, 0)):
        try:
            parse(data)
        except (DamagedObject, UnknownVersion):
            continue


@given(st.sampled_from(STRUCTURES), st.data())
@settings(max_examples=600, deadline=None)
def test_forged_bytes_with_a_hash_that_fits_raise_nothing_else(structure, data):
    changed = bytearray(structure.packed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(12, structure.sealed - 33))
        new = data.draw(st.sampled_from([0, 1, 127, 255]) | st.integers(0, 255))
        changed[at] = new
    try:
        structure.unpack(structure.resealed(changed))
    except (DamagedObject, UnknownVersion):
        return


@every
def test_huge_numbers_cost_no_memory(structure: Structure):
    tracemalloc.start()
    try:
        for at in range(16, structure.sealed - 36, 4):
            try:
                structure.unpack(structure.forged(at, "I", 2**32 - 1))
            except (DamagedObject, UnknownVersion):
                continue
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


# Versions ---------------------------------------------------------------------


@every
def test_a_newer_read_version_is_refused_with_advice(structure: Structure):
    with pytest.raises(UnknownVersion, match="newer release"):
        structure.unpack(structure.forged(12, "HH", 2, 2))


@every
def test_a_newer_write_version_is_read_and_never_rewritten(structure: Structure):
    data = structure.forged(12, "HH", 1, 2)
    parsed = structure.unpack(data)
    assert parsed.newer
    assert not structure.unpack(structure.packed).newer
    if isinstance(parsed, Manifest):
        assert parsed.pack() == data
    else:
        with pytest.raises(UnknownVersion, match="only reads"):
            parsed.pack()


@every
@pytest.mark.parametrize("versions", [(0, 0), (0, 1), (1, 0)])
def test_impossible_versions_are_damage(structure: Structure, versions):
    with pytest.raises(DamagedObject, match="impossible"):
        structure.unpack(structure.forged(12, "HH", *versions))


def grown(structure: Structure, at: int, extra: bytes, *lengths: int) -> bytes:
    """Insert bytes as a newer write version may, and let the lengths say so."""
    changed = bytearray(structure.packed)
    struct.pack_into("<HH", changed, 12, 1, 2)
    for place in lengths:
        (old,) = struct.unpack_from("<I", changed, place)
        struct.pack_into("<I", changed, place, old + len(extra))
    changed[at:at] = extra
    longer = Structure(
        "", bytes(changed), structure.unpack, structure.sealed + len(extra)
    )
    return longer.resealed(changed)


def test_a_newer_write_version_may_add_to_the_head_of_a_manifest():
    plain = STRUCTURES[1]
    old = Manifest.unpack(plain.packed)
    data = grown(plain, plain.sealed - 32, b"more....", 148)
    parsed = Manifest.unpack(data)
    assert (parsed.segments, parsed.description) == (old.segments, old.description)
    metadata = struct.unpack_from("<I", plain.packed, 152)[0]
    data = grown(plain, 160 + metadata, b"fifth...", 148, 152)
    assert Manifest.unpack(data).description == old.description


def test_a_newer_write_version_may_add_to_superblock_tombstone_and_journal():
    plain, stone, entry, _ = STRUCTURES[5:]
    data = grown(plain, plain.sealed - 32, b"more", 76)
    assert Superblock.unpack(data).members == Superblock.unpack(plain.packed).members
    data = grown(stone, stone.sealed - 32, b"more")
    assert Tombstone.unpack(data).blob == Tombstone.unpack(stone.packed).blob
    data = grown(entry, entry.sealed - 32, b"more")
    assert Entry.unpack(data).body == Entry.unpack(entry.packed).body


def test_the_same_additions_in_this_version_are_damage():
    same_version = ((STRUCTURES[1], [148]), (STRUCTURES[5], [76]), (STRUCTURES[7], []))
    for structure, lengths in same_version:
        data = bytearray(grown(structure, structure.sealed - 32, b"more....", *lengths))
        struct.pack_into("<HH", data, 12, 1, 1)
        end = structure.sealed + 8
        same = Structure("", bytes(data), structure.unpack, end)
        with pytest.raises(DamagedObject, match=r"contradict|followed"):
            structure.unpack(same.resealed(data))
