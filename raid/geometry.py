"""Where bytes lie: shapes, units, rows, columns and slots. Values in, values out.

A segment of a file is cut into rows of k units, row after row; column j of a row goes
to role d_j. The last row is re-divided so that all its units have the same length:

            d0        d1        d2        p
    row 0   0..U      U..2U     2U..3U    xor
    row 1   3U..4U    4U..5U    5U..6U    xor
    last    c bytes   c bytes   c bytes   xor      c = ceil(rest / k), up to 8

The bytes between the end of the data and the end of the last row are zero. With two
parities there is a column q after p.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import NoReturn
from uuid import UUID

UNIT = 256 * 1024
WORD = 8
"""Units are whole machine words, so that parity never meets half of one."""

MAX_ROLES = 64
MAX_PAYLOAD = 64 * 1024 * 1024
"""The longest payload of one shard that the format allows."""

SHARD_GOAL = 8 * 1024 * 1024
SEGMENT_GOAL = 24 * 1024 * 1024


class Code(IntEnum):
    """How the roles of a segment depend on each other."""

    COPIES = 1
    XOR = 2
    PQ = 3


@dataclass(frozen=True)
class Shape:
    """k data roles and m redundant ones; copies have k=1 and m more copies.

    It is the shape of a segment, not of the array: copies may lie on a few of many
    slots, as raid10 has them.
    """

    k: int
    m: int
    code: Code

    def __post_init__(self) -> None:
        if self.k < 1 or self.m < 0 or self.k + self.m > MAX_ROLES:
            raise ValueError(f"No shape has k={self.k} and m={self.m}.")
        if self.code is Code.COPIES and self.k != 1:
            raise ValueError("Copies have k=1.")
        if self.code is Code.XOR and self.m != 1:
            raise ValueError("XOR parity has m=1.")
        if self.code is Code.PQ and (self.k < 2 or self.m != 2):
            raise ValueError("Two parities have m=2 over k=2 or more.")

    @property
    def width(self) -> int:
        """Return the number of roles."""
        return self.k + self.m

    @property
    def columns(self) -> int:
        """Return the number of columns in the segment table: copies share one."""
        return 1 if self.code is Code.COPIES else self.width

    def column(self, role: int) -> int:
        """Return the column of the segment table that holds a role's tags."""
        return 0 if self.code is Code.COPIES else role

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """Return the words of the roles in their order: d0, d1, p or c0, c1."""
        if self.code is Code.COPIES:
            return tuple(f"c{i}" for i in range(self.width))
        return (*(f"d{i}" for i in range(self.k)), *("p", "q")[: self.m])

    def role_byte(self, role: int) -> int:
        """Return the byte that stands for a role in its key."""
        if self.code is Code.COPIES:
            return 0xC0
        return role if role < self.k else 0xF0 + role - self.k


NO_RAID0 = (
    "raid0 is refused: it keeps every byte once, so one lost member is the loss of "
    "every file. Take raid5, which gives up the room of one member for that."
)


class Level(StrEnum):
    """What an operator chooses when the array is made."""

    RAID1 = "raid1"
    RAID5 = "raid5"
    RAID6 = "raid6"
    RAID10 = "raid10"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        if value == "raid0":
            raise ValueError(NO_RAID0)
        known = ", ".join(cls)
        raise ValueError(f"There is no level {value}; take one of {known}.")

    @property
    def number(self) -> int:
        """Return the level as stored in a superblock."""
        return int(self.value.removeprefix("raid"))

    @property
    def least(self) -> int:
        """Return the least number of members."""
        return _LEAST[self][0]

    def check(self, width: int) -> None:
        """Raise ValueError with a sentence unless the level works with this width."""
        least, other = _LEAST[self]
        if width < least:
            raise ValueError(
                f"{self} needs at least {least} members and got {width}{other}."
            )
        if width > MAX_ROLES:
            raise ValueError(
                f"{self} takes at most {MAX_ROLES} members and got {width}."
            )


_LEAST = {
    Level.RAID1: (2, ""),
    Level.RAID5: (3, "; take raid1 for two"),
    Level.RAID6: (4, "; take raid5 for three"),
    Level.RAID10: (4, "; take raid1 for two or three"),
}


def shape_of(level: Level, width: int) -> Shape:
    """Return the shape of a whole segment on an array of this level and width."""
    level.check(width)
    if level is Level.RAID1:
        return Shape(1, width - 1, Code.COPIES)
    if level is Level.RAID10:
        return Shape(1, 1, Code.COPIES)
    if level is Level.RAID6:
        return Shape(width - 2, 2, Code.PQ)
    return Shape(width - 1, 1, Code.XOR)


def narrow(shape: Shape, healthy: int) -> Shape:
    """Return the shape for new data when only some members are healthy.

    The redundancy m stays: fewer members mean fewer columns, down to m+1 copies. With
    m members or fewer the copies are still m+1, and those without a member are owed.
    """
    if shape.code is Code.COPIES or healthy >= shape.width:
        return shape
    k = healthy - shape.m
    if k <= 1:
        return Shape(1, shape.m, Code.COPIES)
    return Shape(k, shape.m, shape.code)


def segment_capacity(shape: Shape) -> int:
    """Return how many bytes of a file a full segment of this shape holds."""
    shard = min(SHARD_GOAL, SEGMENT_GOAL // shape.k // UNIT * UNIT)
    return shape.k * shard


def last_unit(data_length: int, k: int) -> int:
    """Return the length of the re-divided last unit, 0 when all rows are full.

    >>> last_unit(300 * 1024, 3)
    102400
    """
    rest = data_length % (k * UNIT)
    return -(-rest // (k * WORD)) * WORD


def row_count(data_length: int, k: int) -> int:
    """Return the number of rows, which is the number of units of each role."""
    return -(-data_length // (k * UNIT))


def units_of(data_length: int, k: int) -> list[int]:
    """Return the lengths of the units of one role; all roles are alike."""
    full = [UNIT] * (data_length // (k * UNIT))
    last = last_unit(data_length, k)
    return [*full, last] if last else full


def payload_length(data_length: int, k: int) -> int:
    """Return the length of the payload of one role."""
    return data_length // (k * UNIT) * UNIT + last_unit(data_length, k)


def padded_length(data_length: int, k: int) -> int:
    """Return the length of a segment buffer with the zeros of its last row."""
    return k * payload_length(data_length, k)


def unit_span(data_length: int, k: int, row: int, column: int) -> tuple[int, int]:
    """Return where a unit of data starts and ends in the padded segment buffer."""
    start = row * k * UNIT
    full = row < data_length // (k * UNIT)
    length = UNIT if full else last_unit(data_length, k)
    return start + column * length, start + (column + 1) * length


def role_views(
    buffer: memoryview, data_length: int, k: int, column: int
) -> list[memoryview]:
    """Return the units of one data role as views of a segment buffer in file order.

    The buffer holds `padded_length` bytes at least, zero from `data_length` on (see
    `pad`). Copies are column 0 of k=1. Nothing is copied.
    """
    spans = (
        unit_span(data_length, k, row, column)
        for row in range(row_count(data_length, k))
    )
    return [buffer[start:stop] for start, stop in spans]


def unit_views(payload: memoryview, data_length: int, k: int) -> list[memoryview]:
    """Return the units of one role as views of its contiguous payload."""
    length = payload_length(data_length, k)
    return [payload[at : min(at + UNIT, length)] for at in range(0, length, UNIT)]


def pad(buffer: memoryview, data_length: int, k: int) -> memoryview:
    """Write the zeros after the data and return the padded part of the buffer."""
    end = padded_length(data_length, k)
    buffer[data_length:end] = bytes(end - data_length)
    return buffer[:end]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes start..stop of the data unit in a row and a column."""

    row: int
    column: int
    start: int
    stop: int


def pieces(data_length: int, k: int, start: int, stop: int) -> Iterator[Piece]:
    """Yield which parts of which units hold bytes start..stop of a segment, in order.

    >>> list(pieces(2 * UNIT + 10, 2, UNIT - 1, UNIT + 1))
    [Piece(row=0, column=0, start=262143, stop=262144),
     Piece(row=0, column=1, start=0, stop=1)]
    """
    stop = min(stop, data_length)
    full = data_length // (k * UNIT)
    last = last_unit(data_length, k)
    while start < stop:
        row = start // (k * UNIT)
        length = UNIT if row < full else last
        column, begin = divmod(start - row * k * UNIT, length)
        end = min(length, begin + stop - start)
        yield Piece(row, column, begin, end)
        start += end - begin


def placement(
    blob: UUID, number: int, slots: Sequence[int], shape: Shape
) -> tuple[int, ...]:
    """Return the slot of every role of a segment, in the order of the roles.

    Left-symmetric as md: parity moves down by one slot with every segment and the data
    follows it, from a base drawn from the blob so that short files spread too.
    """
    n = len(slots)
    if n < shape.width:
        raise ValueError(f"{shape.width} roles do not fit on {n} slots.")
    turn = number + int.from_bytes(blob.bytes[12:16], "little") % n
    if shape.code is Code.COPIES:
        return tuple(slots[at] for at in _copies(turn, n, shape.width))
    parity = n - 1 - turn % n
    data = (slots[(parity + shape.m + j) % n] for j in range(shape.k))
    return (*data, *(slots[(parity + i) % n] for i in range(shape.m)))


def survives(shape: Shape, slots: Sequence[int], gone: Collection[int]) -> bool:
    """Tell whether whole segments that lie on these slots outlive some of them.

    Where copies lie on a few of many slots, it matters which ones go: each group has to
    keep one.
    """
    n, lost = len(slots), set(gone).intersection(slots)
    if shape.code is not Code.COPIES:
        return len(lost) <= shape.m
    groups = ({slots[at] for at in _copies(turn, n, shape.width)} for turn in range(n))
    return not any(group <= lost for group in groups)


def _copies(turn: int, n: int, width: int) -> Iterator[int]:
    """Yield where the copies of a segment lie among n slots.

    In fixed groups when the slots can be divided so: then two lost members seldom
    are of one group. Otherwise they follow each other, as in md's near layout.
    """
    groups, rest = divmod(n, width)
    if rest:
        yield from ((turn * width + i) % n for i in range(width))
        return
    first = turn % groups * width
    yield from (first + (turn // groups + i) % width for i in range(width))
