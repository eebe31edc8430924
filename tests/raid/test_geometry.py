"""Geometry: every byte has one place, every role has its own slot."""

from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid.geometry import (
    MAX_PAYLOAD,
    MAX_ROLES,
    SEGMENT_GOAL,
    SHARD_GOAL,
    UNIT,
    Code,
    Level,
    Shape,
    last_unit,
    narrow,
    pad,
    padded_length,
    payload_length,
    pieces,
    placement,
    role_views,
    row_count,
    segment_capacity,
    shape_of,
    survives,
    unit_span,
    unit_views,
    units_of,
)

KS = st.integers(1, 8)
BLOBS = st.uuids()


def near(limit: int) -> st.SearchStrategy[int]:
    """Lengths around the boundaries of rows and units, and any others."""
    edges = st.builds(
        lambda units, off: max(1, units * UNIT + off),
        st.integers(0, limit // UNIT),
        st.integers(-20, 20),
    )
    return edges | st.integers(1, limit)


LENGTHS = near(24 * UNIT)


@given(KS, LENGTHS, st.data())
@settings(max_examples=300, deadline=None)
def test_pieces_cover_a_range_exactly_once_in_order(k, length, data):
    start = data.draw(st.integers(0, length))
    stop = data.draw(st.integers(start, length))
    at = start
    for piece in pieces(length, k, start, stop):
        begin, end = unit_span(length, k, piece.row, piece.column)
        assert begin + piece.start == at
        assert piece.start < piece.stop <= end - begin
        at += piece.stop - piece.start
    assert at == stop


def test_pieces_stop_at_the_end_of_the_data():
    cut = list(pieces(10, 3, 0, 10**12))
    assert sum(piece.stop - piece.start for piece in cut) == 10
    assert not list(pieces(10, 3, 10, 20))
    assert not list(pieces(10, 3, 4, 4))


@given(KS, LENGTHS)
@settings(max_examples=300, deadline=None)
def test_units_of_a_role_add_up_to_its_payload(k, length):
    units = units_of(length, k)
    assert sum(units) == payload_length(length, k)
    assert len(units) == row_count(length, k)
    assert all(0 < unit <= UNIT and unit % 8 == 0 for unit in units)
    assert set(units[:-1]) <= {UNIT}
    assert length <= padded_length(length, k) < length + 8 * k + k


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("rows", range(3))
def test_every_size_around_a_row(k, rows):
    row = k * UNIT
    for length in [rows * row + off for off in range(-2 * 8 * k, 2 * 8 * k + 1)]:
        if length < 1:
            continue
        cut = list(pieces(length, k, 0, length))
        assert sum(piece.stop - piece.start for piece in cut) == length
        assert units_of(length, k)[-1] == (last_unit(length, k) or UNIT)
        assert last_unit(length, k) * k >= length % row


def test_a_file_of_300_kib_costs_100_kib_on_each_of_four_members():
    assert units_of(300 * 1024, 3) == [100 * 1024]


@given(st.integers(1, 4), near(5 * UNIT))
@settings(max_examples=60, deadline=None)
def test_role_views_are_the_buffer_in_file_order(k, length):
    buffer = memoryview(bytearray(padded_length(length, k) + 100))
    buffer[:length] = (b"\x01\x02\x03\x05\x07\x0b\x0d" * (length // 7 + 1))[:length]
    buffer[length:] = b"\xff" * (len(buffer) - length)
    content = bytes(buffer[:length])
    padded = pad(buffer, length, k)
    assert len(padded) == padded_length(length, k)
    assert bytes(padded[length:]) == bytes(len(padded) - length)
    columns = [role_views(buffer, length, k, j) for j in range(k)]
    rows = zip(*columns, strict=True)
    assert b"".join(view for row in rows for view in row)[:length] == content
    assert all([len(u) for u in units] == units_of(length, k) for units in columns)
    assert all(view.obj is buffer.obj for units in columns for view in units)


def test_role_views_copy_nothing():
    buffer = memoryview(bytearray(padded_length(100, 3)))
    (view,) = role_views(buffer, 100, 3, 1)
    buffer[40] = 9
    assert view[0] == 9


def test_unit_views_cut_a_payload_into_its_units():
    length = 2 * (3 * UNIT) + 50
    payload = memoryview(bytearray(payload_length(length, 3) + 999))
    assert [len(unit) for unit in unit_views(payload, length, 3)] == units_of(length, 3)


# Shapes -----------------------------------------------------------------------


@pytest.mark.parametrize("width", range(3, 12))
def test_raid5_has_one_parity(width):
    shape = shape_of(Level.RAID5, width)
    assert shape == Shape(width - 1, 1, Code.XOR)
    assert shape.columns == width
    assert shape.roles[-1] == "p" and shape.roles[0] == "d0"
    assert [shape.role_byte(r) for r in range(width)] == [*range(width - 1), 0xF0]


@pytest.mark.parametrize("width", range(2, 6))
def test_raid1_is_copies_that_share_a_column(width):
    shape = shape_of(Level.RAID1, width)
    assert shape == Shape(1, width - 1, Code.COPIES)
    assert shape.columns == 1
    assert shape.roles == tuple(f"c{i}" for i in range(width))
    assert {shape.role_byte(r) for r in range(width)} == {0xC0}
    assert {shape.column(r) for r in range(width)} == {0}


@pytest.mark.parametrize("width", range(4, 12))
def test_raid6_has_two_parities(width):
    shape = shape_of(Level.RAID6, width)
    assert shape == Shape(width - 2, 2, Code.PQ)
    assert shape.columns == width
    assert shape.roles[-2:] == ("p", "q") and shape.roles[0] == "d0"
    assert [shape.role_byte(r) for r in (0, width - 2, width - 1)] == [0, 0xF0, 0xF1]


@pytest.mark.parametrize("width", range(4, 12))
def test_raid10_has_two_copies_however_wide_it_is(width):
    assert shape_of(Level.RAID10, width) == Shape(1, 1, Code.COPIES)


def test_raid0_is_refused_with_a_sentence_that_says_why():
    with pytest.raises(ValueError, match="raid0 is refused: it keeps every byte once"):
        Level("raid0")
    with pytest.raises(
        ValueError, match=r"no level raid7.*raid1, raid5, raid6, raid10"
    ):
        Level("raid7")
    assert [Level(f"raid{number}").number for number in (1, 5, 6, 10)] == [1, 5, 6, 10]


@pytest.mark.parametrize(
    ("level", "width", "sentence"),
    [
        (Level.RAID1, 1, "raid1 needs at least 2 members and got 1."),
        (Level.RAID5, 2, "raid5 needs at least 3 members and got 2; take raid1 for"),
        (Level.RAID5, 65, "raid5 takes at most 64 members and got 65."),
        (Level.RAID6, 3, "raid6 needs at least 4 members and got 3; take raid5 for"),
        (Level.RAID6, 65, "raid6 takes at most 64 members and got 65."),
        (Level.RAID10, 3, "raid10 needs at least 4 members and got 3; take raid1 for"),
        (Level.RAID10, 65, "raid10 takes at most 64 members and got 65."),
    ],
)
def test_a_wrong_width_is_refused_with_a_sentence(level, width, sentence):
    with pytest.raises(ValueError, match=sentence):
        level.check(width)


@pytest.mark.parametrize(
    ("k", "m", "code"),
    [
        *((0, 1, Code.XOR), (2, 1, Code.COPIES), (2, 2, Code.XOR), (64, 1, Code.XOR)),
        *((1, 2, Code.PQ), (2, 1, Code.PQ), (2, 3, Code.PQ), (63, 2, Code.PQ)),
    ],
)
def test_impossible_shapes_do_not_exist(k, m, code):
    with pytest.raises(ValueError, match=r"\."):
        Shape(k, m, code)


@given(st.integers(3, MAX_ROLES), st.integers(0, MAX_ROLES))
def test_narrow_keeps_the_redundancy(width, healthy):
    shape = shape_of(Level.RAID5, width)
    narrowed = narrow(shape, healthy)
    assert narrowed.m == shape.m
    if healthy >= width:
        assert narrowed is shape
    elif healthy > 2:
        assert narrowed == Shape(healthy - 1, 1, Code.XOR)
    else:
        assert narrowed == Shape(1, 1, Code.COPIES)


@given(st.integers(4, MAX_ROLES), st.integers(0, MAX_ROLES))
def test_narrow_keeps_both_parities(width, healthy):
    narrowed = narrow(shape_of(Level.RAID6, width), healthy)
    assert narrowed.m == 2
    if healthy > 3:
        assert narrowed == Shape(min(healthy, width) - 2, 2, Code.PQ)
    else:
        assert narrowed == Shape(1, 2, Code.COPIES)


@given(st.integers(2, 6), st.integers(0, 6))
def test_copies_stay_as_they_are(width, healthy):
    shape = shape_of(Level.RAID1, width)
    assert narrow(shape, healthy) == shape


@given(st.integers(3, MAX_ROLES))
def test_a_segment_is_whole_rows_within_the_goals(width):
    shape = shape_of(Level.RAID5, width)
    capacity = segment_capacity(shape)
    assert capacity > 0 and capacity % (shape.k * UNIT) == 0
    assert capacity <= SEGMENT_GOAL
    assert payload_length(capacity, shape.k) <= SHARD_GOAL
    assert payload_length(capacity, 1) <= MAX_PAYLOAD


def test_four_members_take_24_mib_at_once():
    assert segment_capacity(shape_of(Level.RAID5, 4)) == 24 * 1024 * 1024
    assert segment_capacity(shape_of(Level.RAID1, 2)) == 8 * 1024 * 1024


# Placement --------------------------------------------------------------------


@given(BLOBS, st.integers(0, 2**63), st.integers(3, 9), st.data())
def test_placement_gives_each_role_its_own_slot(blob, number, width, data):
    slots = sorted(
        data.draw(st.sets(st.integers(0, 40), min_size=width, max_size=width + 3))
    )
    shape = shape_of(Level.RAID5, width)
    where = placement(blob, number, slots, shape)
    assert len(where) == len(set(where)) == shape.width
    assert set(where) <= set(slots)
    assert where == placement(blob, number + len(slots), slots, shape)


@pytest.mark.parametrize("n", range(3, 9))
def test_placement_is_left_symmetric_as_md(n):
    """drivers/md/raid5.c, ALGORITHM_LEFT_SYMMETRIC: pd and dd of each stripe."""
    blob, shape = UUID(int=0), shape_of(Level.RAID5, n)
    for stripe in range(3 * n):
        pd = n - 1 - stripe % n
        dd = [(pd + 1 + i) % n for i in range(n - 1)]
        assert placement(blob, stripe, range(n), shape) == (*dd, pd)


@given(BLOBS)
def test_parity_visits_every_slot_in_turn(blob):
    shape = shape_of(Level.RAID5, 4)
    parity = [placement(blob, i, range(4), shape)[-1] for i in range(4)]
    assert sorted(parity) == [0, 1, 2, 3]


def test_short_files_spread_over_the_slots_by_their_uuid():
    shape = shape_of(Level.RAID5, 4)
    blobs = [UUID(int=base) for base in (0, 1 << 24, 2 << 24, 3 << 24)]
    parity = {placement(blob, 0, range(4), shape)[-1] for blob in blobs}
    assert parity == {0, 1, 2, 3}


def test_copies_go_round():
    shape = shape_of(Level.RAID1, 3)
    assert placement(UUID(int=0), 4, [2, 5, 7], shape) == (5, 7, 2)


def test_too_few_slots_are_refused():
    with pytest.raises(ValueError, match="4 roles do not fit on 3 slots"):
        placement(UUID(int=0), 0, [0, 1, 2], shape_of(Level.RAID5, 4))


@pytest.mark.parametrize("n", range(4, 9))
def test_two_parities_are_left_symmetric_as_md(n):
    """drivers/md/raid5.c, ALGORITHM_LEFT_SYMMETRIC: pd, qd and dd of each stripe."""
    blob, shape = UUID(int=0), shape_of(Level.RAID6, n)
    for stripe in range(3 * n):
        pd = n - 1 - stripe % n
        qd = (pd + 1) % n
        dd = [(pd + 2 + i) % n for i in range(n - 2)]
        assert placement(blob, stripe, range(n), shape) == (*dd, pd, qd)


@given(BLOBS, st.integers(0, 2**63), st.integers(2, 32))
def test_raid10_over_an_even_number_of_slots_has_fixed_pairs(blob, number, pairs):
    shape = shape_of(Level.RAID10, 4)
    first, second = placement(blob, number, range(2 * pairs), shape)
    assert first ^ 1 == second


@given(BLOBS, st.integers(2, 32))
def test_raid10_over_an_odd_number_takes_the_next_two_as_md_does(blob, half):
    """drivers/md/raid10.c, near=2: chunk i lies on devices 2i and 2i+1 mod n."""
    n = 2 * half + 1
    where = [placement(blob, i, range(n), Shape(1, 1, Code.COPIES)) for i in range(n)]
    assert all(second == (first + 1) % n for first, second in where)
    after = [*where[1:], where[0]]
    assert all(b[0] == (a[1] + 1) % n for a, b in zip(where, after, strict=True))


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("n", [4, 5, 6])
def test_what_an_array_survives_is_what_no_placement_loses(level, n):
    shape, slots = shape_of(level, n), [slot + 3 for slot in range(n)]
    where = [placement(UUID(int=0), number, slots, shape) for number in range(n)]
    for count in range(n + 1):
        for gone in combinations(slots, count):
            kept = [len(set(roles) - set(gone)) for roles in where]
            assert survives(shape, slots, gone) == (min(kept) >= shape.k)


@pytest.mark.parametrize("n", range(2, 10))
def test_raid10_gives_every_slot_as_many_first_and_second_copies(n):
    where = [
        placement(UUID(int=0), i, range(n), Shape(1, 1, Code.COPIES)) for i in range(n)
    ]
    assert sorted(first for first, _ in where) == list(range(n))
    assert sorted(second for _, second in where) == list(range(n))
