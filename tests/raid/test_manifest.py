"""Manifests: round trips, pages that are read alone, and contradictions."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid.errors import DamagedObject, UnknownVersion
from raid.format import ShardHeader
from raid.geometry import Code, Shape
from raid.manifest import (
    Description,
    Form,
    Manifest,
    SegmentRow,
    content_root,
    head_length_of,
    unpack_head,
    unpack_page,
)
from raid.rows import MAX_METADATA, row_size
from raid.tags import digest
from support import structures
from support.structures import ARRAY, BLOB, DESCRIPTION, DESCRIPTIONS, manifests


@given(manifests())
@settings(max_examples=150, deadline=None)
def test_manifests_are_parsed_back(manifest):
    packed = manifest.pack()
    parsed = Manifest.unpack(packed, manifest.digest)
    assert parsed == manifest
    assert parsed.pack() == packed and parsed.digest == manifest.digest
    assert parsed.length == len(packed)
    assert not parsed.newer
    assert digest(packed[: parsed.head_length - 32]) == parsed.digest


@given(manifests())
@settings(max_examples=50, deadline=None)
def test_a_head_says_how_long_it_and_the_whole_are(manifest):
    packed = manifest.pack()
    length = head_length_of(packed[:160])
    head = unpack_head(packed[:length], manifest.digest)
    assert head.length == length == manifest.head_length
    assert head.total_length == len(packed)
    assert head.description == manifest.description
    assert (head.size, head.form, head.root) == (
        manifest.size,
        manifest.form,
        manifest.root,
    )


@given(DESCRIPTIONS)
def test_descriptions_are_parsed_back(description):
    packed = description.pack()
    assert len(packed) % 8 == 0
    assert Description.unpack(packed, description.uploaded_us) == description


def test_a_manifest_inside_a_combined_object_is_whole_words():
    assert structures.manifest(1, combined=True).length % 8 == 0


def test_forms_follow_from_the_content():
    assert structures.manifest(0).form is Form.EMPTY
    assert structures.manifest(0, inline=b"x").form is Form.INLINE
    assert structures.manifest(1, combined=True).form is Form.COMBINED
    assert structures.manifest(1).form is Form.SEGMENTED
    assert structures.manifest(0).root == digest(b"")
    assert structures.manifest(0, inline=b"x").root == digest(b"x")
    two = structures.manifest(2)
    assert two.root == digest(two.segments[0].digest + two.segments[1].digest)
    assert two.root == content_root(two.segments)


def test_a_metadata_monster_is_refused():
    long = replace(DESCRIPTION, folder="/" + "x" * MAX_METADATA)
    with pytest.raises(ValueError, match="longer than"):
        Manifest.build(ARRAY, BLOB, 1, long).pack()


# Pages ------------------------------------------------------------------------

MANY = structures.manifest(4096 * 2 + 1)


@pytest.mark.parametrize("count", [4095, 4096, 4097])
def test_every_count_of_rows_around_a_page(count):
    manifest = structures.manifest(count)
    assert Manifest.unpack(manifest.pack(), manifest.digest) == manifest
    assert len(unpack_head(manifest.pack()).pages) == -(-count // 4096)


def test_one_page_is_read_and_verified_alone():
    packed = MANY.pack()
    head = unpack_head(packed[: MANY.head_length], MANY.digest)
    assert [page.offset for page in head.pages] == list(MANY.offsets[:-1:4096])
    for number in range(3):
        start, length = head.page_range(number)
        rows = unpack_page(head, number, packed[start : start + length])
        assert rows == MANY.segments[number * 4096 : (number + 1) * 4096]
    assert start + length == len(packed)


@pytest.mark.parametrize("segment", [0, 4095, 4096, 8191, 8192])
def test_the_page_of_an_offset_is_found(segment):
    head = unpack_head(MANY.pack())
    assert head.page_at(MANY.offsets[segment]) == segment // 4096
    assert head.page_at(MANY.offsets[segment + 1] - 1) == segment // 4096


def test_pages_cannot_be_swapped():
    packed = MANY.pack()
    head = unpack_head(packed)
    start, length = head.page_range(1)
    with pytest.raises(DamagedObject, match="Page 0"):
        unpack_page(head, 0, packed[start : start + length])


# Ranges -----------------------------------------------------------------------


@given(st.data())
def test_spans_cover_a_range_exactly_once(data):
    manifest = structures.manifest(5)
    start = data.draw(st.integers(0, manifest.size))
    stop = data.draw(st.integers(start, manifest.size + 50))
    at = start
    for span in manifest.spans(start, stop):
        assert manifest.offsets[span.number] + span.start == at
        assert span.row is manifest.segments[span.number]
        assert span.start < span.stop <= span.row.length
        at += span.stop - span.start
    assert at == min(stop, manifest.size)


def test_a_blob_without_segments_has_no_spans():
    assert not list(structures.manifest(0).spans(0, 10))
    assert not list(structures.manifest(0, inline=b"abc").spans(0, 3))


# Rows -------------------------------------------------------------------------


def test_a_row_makes_the_header_of_each_of_its_shards():
    row = structures.row()
    header = row.header(ARRAY, BLOB, 7, 3)
    assert header.shape.roles[header.role] == "p"
    assert ShardHeader.unpack(header.pack()) == header
    assert (header.segment, header.attempt, header.data_length) == (7, 3, row.length)


@pytest.mark.parametrize("slots", [(0, 1, 2), (0, 1, 2, 2), (0, 1, 2, 40000)])
def test_rows_with_wrong_slots_are_not_written(slots):
    with pytest.raises(ValueError, match=r"slot|Slots"):
        replace(structures.row(), slots=slots).pack(64)


def test_rows_have_room_for_the_widest_segment():
    mirror = SegmentRow(9, Shape(1, 1, Code.COPIES), 3, bytes(32), (5, 4))
    wide = SegmentRow(9, Shape(19, 1, Code.XOR), 3, bytes(32), tuple(range(20)))
    manifest = Manifest.build(ARRAY, BLOB, 3, DESCRIPTION, segments=[mirror, wide])
    assert unpack_head(manifest.pack()).row_size == row_size(20) == 96
    assert Manifest.unpack(manifest.pack()) == manifest


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (8, 9, UnknownVersion),  # code
        (9, 0, DamagedObject),  # k
        (10, 2, DamagedObject),  # m
        (11, 3, DamagedObject),  # roles
        (11, 255, DamagedObject),
        (12, 2, UnknownVersion),  # algorithm
        (13, 1, UnknownVersion),  # flags
        (0, 0, DamagedObject),  # with the next seven: a length of zero
        (7, 255, DamagedObject),
        (56, 0, DamagedObject),  # the slot of the second role
        (57, 0x80, DamagedObject),
        (63, 0xFF, DamagedObject),
    ],
)
def test_rows_that_make_no_sense_are_refused(at, value, error):
    packed = bytearray(replace(structures.row(), length=1).pack(64))
    packed[at] = value
    with pytest.raises(error):
        SegmentRow.unpack(packed)


# Contradictions with a hash that fits -----------------------------------------

SEGMENTED, INLINE, COMBINED, EMPTY = structures.STRUCTURES[1:5]


@pytest.mark.parametrize(
    ("structure", "at", "layout", "value", "error"),
    [
        (SEGMENTED, 56, "Q", 1, DamagedObject),
        (SEGMENTED, 64, "B", 4, UnknownVersion),
        (SEGMENTED, 64, "B", 0, DamagedObject),
        (SEGMENTED, 64, "B", 1, DamagedObject),
        (SEGMENTED, 64, "B", 2, DamagedObject),
        (SEGMENTED, 65, "B", 2, UnknownVersion),
        (SEGMENTED, 66, "H", 0, DamagedObject),
        (SEGMENTED, 66, "H", 65528, DamagedObject),
        (SEGMENTED, 66, "H", 65, DamagedObject),
        (SEGMENTED, 66, "H", 72, DamagedObject),
        (SEGMENTED, 68, "I", 4096, DamagedObject),
        (SEGMENTED, 72, "B", 255, DamagedObject),
        (SEGMENTED, 144, "I", 2**32 - 1, DamagedObject),
        (SEGMENTED, 144, "I", 3, DamagedObject),
        (SEGMENTED, 152, "I", 2**32 - 1, DamagedObject),
        (SEGMENTED, 160, "I", 2**32 - 1, DamagedObject),
        (SEGMENTED, 164, "B", 0xFF, DamagedObject),
        (INLINE, 56, "Q", 2**64 - 1, DamagedObject),
        (INLINE, 56, "Q", 0, DamagedObject),
        (INLINE, 66, "H", 64, DamagedObject),
        (INLINE, 72, "B", 255, DamagedObject),
        (COMBINED, 48, "Q", 4, DamagedObject),
        (EMPTY, 56, "Q", 1, DamagedObject),
        (EMPTY, 64, "B", 3, DamagedObject),
        (EMPTY, 72, "B", 1, DamagedObject),
    ],
)
def test_sealed_manifests_that_make_no_sense_are_refused(
    structure, at, layout, value, error
):
    with pytest.raises(error):
        Manifest.unpack(structure.forged(at, layout, value))


@pytest.mark.parametrize("length", [0, 191, 2**32 - 1])
def test_a_wrong_length_of_the_head_is_refused(length):
    packed = bytearray(SEGMENTED.packed)
    packed[148:152] = length.to_bytes(4, "little")
    with pytest.raises(DamagedObject):
        Manifest.unpack(packed)


def test_bytes_after_the_end_are_refused():
    with pytest.raises(DamagedObject, match="says"):
        Manifest.unpack(SEGMENTED.packed + b"\0")
