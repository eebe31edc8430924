"""Build arrays over members in memory or in folders, quickly."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from raid.array import Array, ArrayMap, DegradedWrite, SlotEntry
from raid.assemble import format_member
from raid.buffers import BufferPool
from raid.geometry import Level, shape_of
from raid.health import Health
from raid.manifest import Description, Form, SegmentRow
from raid.member import Member
from raid.memory import MemoryMember
from raid.reader import BlobRef, Damage, read
from raid.superblock import MemberEntry, StoredState, Superblock
from raid.writer import Stored, write
from storage.members.local import LocalMember

EXECUTOR = ThreadPoolExecutor(8, thread_name_prefix="members")
LAYOUTS = (
    (Level.RAID1, 2),
    (Level.RAID1, 3),
    (Level.RAID5, 3),
    (Level.RAID5, 4),
    (Level.RAID5, 5),
    (Level.RAID6, 4),
    (Level.RAID10, 4),
)
WIDE = (
    (Level.RAID6, 5),
    (Level.RAID6, 6),
    (Level.RAID10, 5),
    (Level.RAID10, 6),
)
"""Layouts for what is quick, and for a soak."""
DESCRIPTION = Description("a.txt", "/", "alice", "text/plain", 1_700_000_000_000_000)


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Body:
    """A source of known bytes that comes in pieces, and may be cut."""

    def __init__(
        self, data: bytes, piece: int = 1 << 20, cut: Exception | None = None
    ) -> None:
        self._data = memoryview(data)
        self._piece = piece
        self._cut = cut

    def readinto(self, view: memoryview) -> int:
        count = min(len(view), self._piece, len(self._data))
        if count == 0 and self._cut is not None:
            raise self._cut
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


@dataclass
class Log:
    """An upload log in memory; ``refuse`` is raised at sealing."""

    rows: list[tuple[int, int, SegmentRow, tuple[UUID | None, ...]]] = field(
        default_factory=list
    )
    sealed: list[tuple[int, bytes | None]] = field(default_factory=list)
    refuse: Exception | None = None

    def segment(
        self,
        number: int,
        offset: int,
        row: SegmentRow,
        members: tuple[UUID | None, ...],
    ) -> None:
        self.rows.append((number, offset, row, members))

    def sealing(self, size: int, sha256: bytes | None) -> None:
        self.sealed.append((size, sha256))
        if self.refuse is not None:
            raise self.refuse


def attempts(first: int = 1) -> Callable[[], int]:
    """Return what gives 1, 2, 3 …, as the database does."""
    return itertools.count(first).__next__


def map_of(
    level: Level,
    urls: Sequence[str],
    event: int = 1,
    *,
    uuids: Callable[[], UUID] = uuid4,
) -> ArrayMap:
    """Return a map of new members that are all in sync."""
    slots = tuple(
        SlotEntry(slot, uuids(), StoredState.IN_SYNC, url)
        for slot, url in enumerate(urls)
    )
    return ArrayMap(uuids(), level, shape_of(level, len(urls)), 1, event, slots)


def superblock_of(array_map: ArrayMap, slot: int) -> Superblock:
    """Return the superblock that the member of a slot has under a map."""
    entry = array_map.slots[slot]
    return Superblock(
        array=array_map.array,
        member=entry.member,
        slot=slot,
        level=array_map.level,
        shape=array_map.shape,
        incarnation=array_map.incarnation,
        event=array_map.event,
        event_us=0,
        members=tuple(
            MemberEntry(e.member, e.slot, e.state, e.url) for e in array_map.slots
        ),
    )


def array_over(
    level: Level,
    members: Iterable[Member],
    *,
    wrap: Callable[[int, Member], Member] = lambda _, member: member,
    clock: Callable[[], float] = time.monotonic,
    degraded_write: DegradedWrite = "accept",
    uuids: Callable[[], UUID] = uuid4,
) -> Array:
    """Format blank members and make an array of them; ``wrap`` puts faults around."""
    blank = list(members)
    urls = [f"file:{member.label}" for member in blank]
    array_map = map_of(level, urls, uuids=uuids)
    for slot, member in enumerate(blank):
        format_member(member, superblock_of(array_map, slot))
    wrapped = {slot: wrap(slot, member) for slot, member in enumerate(blank)}
    return Array(array_map, wrapped, Health(clock), EXECUTOR, degraded_write)


def memory_array(level: Level, width: int, **options: object) -> Array:
    """Return an array over members in memory."""
    members = [MemoryMember(f"m{slot}") for slot in range(width)]
    return array_over(level, members, **options)  # type: ignore[arg-type]


def local_array(level: Level, width: int, folder: Path, **options: object) -> Array:
    """Return an array over folders below one."""
    members = [LocalMember(folder / f"m{slot}") for slot in range(width)]
    return array_over(level, members, **options)  # type: ignore[arg-type]


def put_blob(
    array: Array,
    data: bytes,
    *,
    blob: UUID | None = None,
    log: Log | None = None,
    pool: BufferPool | None = None,
    want_sha256: bool = False,
) -> Stored:
    """Write a blob out of bytes."""
    return write(
        array,
        blob or uuid4(),
        attempts(),
        DESCRIPTION,
        Body(data),
        log or Log(),
        pool or BufferPool(1 << 30),
        want_sha256=want_sha256,
        size=len(data),
    )


def ref_of(stored: Stored) -> BlobRef:
    """Return what the database would keep of a stored blob."""
    plain = (stored.blob, stored.attempt, stored.size, stored.form)
    if stored.form is not Form.COMBINED:
        return BlobRef(*plain, stored.manifest_digest)
    row = stored.rows[0]
    shape = row.shape
    return BlobRef(
        *plain, stored.manifest_digest, row.slots, shape.k, shape.m, shape.code
    )


def get_blob(
    array: Array,
    stored: Stored | BlobRef,
    start: int = 0,
    stop: int | None = None,
    damage: list[Damage] | None = None,
) -> bytes:
    """Read a blob, or a range of it, into bytes."""
    ref = stored if isinstance(stored, BlobRef) else ref_of(stored)
    stop = ref.size if stop is None else stop
    found: list[Damage] = [] if damage is None else damage
    return b"".join(read(array, ref, start, stop, on_damage=found.append))
