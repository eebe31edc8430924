"""The memory of one upload: two halves, each with room for a segment's parities.

one buffer of the pool
| data of A ............ | p, q of A | data of B ............ | p, q of B |
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from raid.buffers import BufferPool
from raid.geometry import UNIT, Code, Shape, payload_length

HALF = 9 * 1024 * 1024
"""The most data of one segment, which leaves a third as much for its parities."""

_LEAST_HALF = 128 * 1024
_PADDING = 4096
"""Room for the zeros after the data, in any shape."""


@dataclass
class Half:
    """Room for the data and the parity of one segment."""

    data: memoryview
    parity: memoryview
    length: int = 0

    def parity_for(self, shape: Shape) -> memoryview:
        """Return room for the parity of the data in a shape.

        A narrow segment has longer shards. It is met when a member fails in the
        middle, so its room is made then instead of being kept for every upload.
        """
        needed = 0
        if shape.code is not Code.COPIES:
            needed = shape.m * payload_length(self.length, shape.k)
        if needed <= len(self.parity):
            return self.parity
        return memoryview(mmap.mmap(-1, needed))


@contextmanager
def lend_halves(
    pool: BufferPool, shape: Shape, size: int | None
) -> Iterator[tuple[Half, Half, int]]:
    """Lend both halves out of one buffer, so that nobody waits holding another."""
    capacity = capacity_for(shape, size)
    parities = 0 if shape.code is Code.COPIES else shape.m
    parity = _whole_pages(parities * (capacity // shape.k)) if parities else 0
    each = capacity + _PADDING + parity
    with pool.take(2 * each) as area:
        first, second = (
            Half(
                area[at : at + capacity + _PADDING],
                area[at + capacity + _PADDING : at + each],
            )
            for at in (0, each)
        )
        yield first, second, capacity


def _whole_pages(length: int) -> int:
    """Return room for a length and its padding that keeps what follows aligned."""
    return (length // _PADDING + 2) * _PADDING


def capacity_for(shape: Shape, size: int | None) -> int:
    """Return how much data of a segment is received at once: whole rows, at most.

    With two parities it is less, so that every upload's buffer has about one size.

    >>> from raid.geometry import Level, shape_of
    >>> capacity_for(shape_of(Level.RAID5, 4), None) / (3 * UNIT)
    12.0
    """
    row = shape.k * UNIT
    room = HALF
    if shape.code is Code.PQ:
        room = min(HALF, HALF * 4 // 3 * shape.k // shape.width)
    most = max(row, room // row * row)
    if size is None or size >= most:
        return most
    return min(most, -(-(size + 1) // _LEAST_HALF) * _LEAST_HALF)
