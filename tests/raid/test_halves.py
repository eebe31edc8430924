"""The memory of an upload: about one size whatever the level, and room for parity."""

import pytest

from raid.buffers import BufferPool
from raid.geometry import UNIT, Code, Level, narrow, payload_length, shape_of
from raid.halves import HALF, capacity_for, lend_halves

MIB = 1024 * 1024
WIDTHS = [
    *((Level.RAID1, width) for width in (2, 3, 6)),
    *((Level.RAID5, width) for width in (3, 4, 5, 8)),
    *((Level.RAID6, width) for width in (4, 5, 6, 8, 12)),
    *((Level.RAID10, width) for width in (4, 5, 6)),
]


@pytest.mark.parametrize(("level", "width"), WIDTHS)
def test_an_upload_takes_about_24_mib_in_all(level: Level, width: int) -> None:
    pool = BufferPool(1 << 30)
    shape = shape_of(level, width)
    with lend_halves(pool, shape, None) as (first, second, capacity):
        assert pool.used <= (28 if (level, width) == (Level.RAID5, 3) else 25) * MIB
        for half in (first, second):
            half.length = capacity
            assert half.parity_for(shape) is half.parity  # nothing is mapped for it


@pytest.mark.parametrize("size", [1, 70_000, 300 * 1024, 3 * MIB, 100 * MIB])
@pytest.mark.parametrize("width", [4, 5, 7])
def test_there_is_room_for_both_parities_of_every_size(width: int, size: int) -> None:
    shape = shape_of(Level.RAID6, width)
    with lend_halves(BufferPool(1 << 30), shape, size) as (first, _, capacity):
        for length in {1, min(size, capacity), max(1, capacity - 1), capacity}:
            first.length = length
            assert first.parity_for(shape) is first.parity
            assert len(first.parity) >= 2 * payload_length(length, shape.k)


def test_two_parities_make_segments_shorter() -> None:
    whole = [capacity_for(shape_of(Level.RAID6, n), None) for n in (4, 5, 6, 8, 12)]
    assert whole == [6 * MIB, 6.75 * MIB, 8 * MIB, 9 * MIB, 7.5 * MIB]
    assert capacity_for(shape_of(Level.RAID10, 6), None) == HALF


def test_a_narrow_segment_gets_room_of_its_own() -> None:
    shape = shape_of(Level.RAID6, 6)
    with lend_halves(BufferPool(1 << 30), shape, None) as (first, _, capacity):
        first.length = capacity
        narrowed = narrow(shape, 5)
        assert narrowed.code is Code.PQ
        room = first.parity_for(narrowed)
        assert room is not first.parity
        assert len(room) >= 2 * payload_length(capacity, narrowed.k) > 2 * UNIT
        assert first.parity_for(narrow(shape, 3)) is first.parity
