"""Shard headers and segment tables."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid.errors import DamagedObject, UnknownVersion
from raid.format import (
    ENTRY_LENGTH,
    HEADER_LENGTH,
    SegmentTable,
    ShardHeader,
    object_length,
    payload_offset,
    table_length,
)
from raid.geometry import Code, Shape, payload_length, row_count
from raid.tags import digest
from support import structures
from support.structures import RAID5, SHAPES, TABLE_LENGTH, headers


@given(headers())
@settings(max_examples=200, deadline=None)
def test_headers_are_parsed_back(header):
    packed = header.pack()
    assert len(packed) == HEADER_LENGTH
    assert ShardHeader.unpack(packed) == header
    assert ShardHeader.unpack(memoryview(packed + b"table and units")) == header


@given(headers())
def test_a_header_knows_where_everything_lies(header):
    shape, length = header.shape, header.data_length
    assert header.payload_offset == payload_offset(
        length, shape, header.manifest_length
    )
    assert header.payload_offset == 192 + header.table_length + header.manifest_length
    assert header.object_length == object_length(length, shape, header.manifest_length)
    assert header.object_length == header.payload_offset + payload_length(
        length, shape.k
    )


@given(SHAPES.filter(lambda shape: shape.width < 9), st.integers(1, 9 * 262144))
@settings(max_examples=60, deadline=None)
def test_tables_are_parsed_back(shape, length):
    table = structures.table(shape, length)
    assert len(table.pack()) == table_length(length, shape)
    parsed = SegmentTable.unpack(table.pack(), length, shape, digest(table.pack()))
    assert parsed == table
    assert parsed.rows == row_count(length, shape.k)
    for row in range(parsed.rows):
        for column in range(shape.columns):
            assert parsed.tag(row, column) == bytes([column, row]) * 16


def test_tables_go_row_after_row():
    table = structures.table()
    entry = table.pack()[ENTRY_LENGTH : 2 * ENTRY_LENGTH]
    assert entry == bytes([1, 0]) * 16 + bytes(32)
    assert table.rows == 2


def test_copies_share_one_column_of_tags():
    shape = Shape(1, 2, Code.COPIES)
    assert table_length(300_000, shape) == 2 * ENTRY_LENGTH


def test_columns_of_different_lengths_are_no_table():
    with pytest.raises(ValueError, match="zip"):
        SegmentTable.from_columns([[bytes(32)], []])


def test_a_table_that_is_not_the_one_expected_is_refused():
    packed = structures.table().pack()
    with pytest.raises(DamagedObject, match="differs from its digest"):
        SegmentTable.unpack(packed, TABLE_LENGTH, RAID5, bytes(32))
    with pytest.raises(DamagedObject, match="bytes"):
        SegmentTable.unpack(packed[:-1], TABLE_LENGTH, RAID5, digest(packed))


def test_every_flipped_bit_of_a_table_is_found():
    packed = structures.table().pack()
    right = digest(packed)
    for bit in range(len(packed) * 8):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedObject):
            SegmentTable.unpack(flipped, TABLE_LENGTH, RAID5, right)


def test_flags_of_a_unit_need_a_newer_release():
    packed = bytearray(structures.table().pack())
    packed[ENTRY_LENGTH + 32] = 1
    with pytest.raises(UnknownVersion, match="newer release"):
        SegmentTable.unpack(packed, TABLE_LENGTH, RAID5, digest(packed))


def test_room_for_encryption_is_ignored():
    packed = bytearray(structures.table().pack())
    packed[36:64] = b"n" * 28
    table = SegmentTable.unpack(packed, TABLE_LENGTH, RAID5, digest(packed))
    assert table.pack() == packed


def test_a_header_has_no_time_host_or_member():
    assert structures.header().pack() == structures.header().pack()
    other = replace(structures.header(), role=1)
    assert other.pack() != structures.header().pack()


HEADER = structures.STRUCTURES[0]


@pytest.mark.parametrize(
    ("at", "layout", "value", "error"),
    [
        (64, "B", 3, DamagedObject),  # two parities with m=1
        (64, "B", 4, UnknownVersion),
        (65, "B", 0, DamagedObject),
        (65, "B", 64, DamagedObject),
        (66, "B", 0, DamagedObject),
        (66, "B", 2, DamagedObject),
        (67, "B", 4, DamagedObject),
        (68, "B", 2, UnknownVersion),
        (69, "B", 1, UnknownVersion),
        (72, "I", 4096, DamagedObject),
        (76, "I", 32, DamagedObject),
        (80, "Q", 0, DamagedObject),
        (80, "Q", 2**64 - 1, DamagedObject),
        (80, "Q", TABLE_LENGTH + 100, DamagedObject),
        (88, "Q", 2**64 - 1, DamagedObject),
        (96, "Q", 2**64 - 1, DamagedObject),
        (104, "Q", 500, DamagedObject),
    ],
)
def test_a_sealed_header_that_makes_no_sense_is_refused(at, layout, value, error):
    with pytest.raises(error):
        ShardHeader.unpack(HEADER.forged(at, layout, value))


def test_a_combined_object_holds_the_first_segment_only():
    header = replace(structures.header(), manifest_length=300)
    with pytest.raises(DamagedObject, match="not first"):
        ShardHeader.unpack(header.pack())
