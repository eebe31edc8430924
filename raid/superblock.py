"""What array and slot a member is, and the tombstone of a purged blob."""

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from raid import format as fmt
from raid.errors import DamagedObject, UnknownVersion
from raid.geometry import UNIT, Level, Shape, shape_of
from raid.member import Buffer

FIXED = 96
MAX_LENGTH = 1024 * 1024
"""The longest superblock; a reader never needs to fetch more."""
_FIXED = struct.Struct("<16s16s16sQQhBBBBHIIq8x")
_ENTRY = struct.Struct("<16shBBH")
_TOMBSTONE = struct.Struct("<16s16s16sQq")
_READ_ONLY = 1
_NO_SLOT = -1


class StoredState(StrEnum):
    """What the array holds a member for; the codes are stored."""

    IN_SYNC = "in_sync"
    STALE = "stale"
    REBUILDING = "rebuilding"
    FAULTY = "faulty"
    SPARE = "spare"
    RETIRED = "retired"

    @property
    def code(self) -> int:
        """Return the number that is stored."""
        return list(StoredState).index(self) + 1


_STATES = {state.code: state for state in StoredState}
_LEVELS = {level.number: level for level in Level}


@dataclass(frozen=True)
class MemberEntry:
    """One member in the map; a spare and a retired member have no slot."""

    member: UUID
    slot: int | None
    state: StoredState
    url: str

    def pack(self) -> bytes:
        """Return the entry with its URL."""
        url = self.url.encode()
        slot = _NO_SLOT if self.slot is None else self.slot
        fixed = _ENTRY.pack(self.member.bytes, slot, self.state.code, 0, len(url))
        return fixed + url


@dataclass(frozen=True)
class Superblock:
    """The map of an array as one member knew it at one event."""

    array: UUID
    member: UUID
    slot: int | None
    level: Level
    shape: Shape
    incarnation: int
    event: int
    event_us: int
    members: tuple[MemberEntry, ...]
    readonly: bool = False
    write_version: int = fmt.WRITE_VERSION

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this: open the array read-only."""
        return self.write_version > fmt.WRITE_VERSION

    @property
    def order(self) -> tuple[int, int]:
        """Return what superblocks are compared by; the highest wins."""
        return self.incarnation, self.event

    def pack(self) -> bytes:
        """Return the bytes of the whole superblock."""
        fmt.require_known(self.write_version)
        if contradiction := self.contradiction():
            raise ValueError(contradiction)
        body = b"".join(entry.pack() for entry in self.members)
        fixed = _FIXED.pack(
            fmt.preamble(fmt.SUPERBLOCK),
            self.array.bytes,
            self.member.bytes,
            self.incarnation,
            self.event,
            _NO_SLOT if self.slot is None else self.slot,
            self.level.number,
            self.shape.k,
            self.shape.m,
            _READ_ONLY if self.readonly else 0,
            len(self.members),
            UNIT,
            len(body),
            self.event_us,
        )
        if len(fixed) + len(body) + fmt.HASH_LENGTH > MAX_LENGTH:
            raise ValueError(f"A superblock is longer than {MAX_LENGTH} bytes.")
        return fmt.seal(fixed + body)

    def contradiction(self) -> str | None:
        """Return what makes this map ambiguous, or None."""
        uuids = [entry.member for entry in self.members]
        slots = [entry.slot for entry in self.members if entry.slot is not None]
        if len(set(uuids)) != len(uuids) or len(set(slots)) != len(slots):
            return "A map names a member or a slot twice."
        own = [entry.slot for entry in self.members if entry.member == self.member]
        if own != [self.slot]:
            return "A superblock contradicts its own map about its own slot."
        return None

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Parse and verify a whole superblock."""
        if len(data) > MAX_LENGTH:
            raise DamagedObject(f"A superblock cannot have {len(data)} bytes.")
        version = fmt.open_sealed(data, (fmt.SUPERBLOCK,), FIXED + fmt.HASH_LENGTH)
        (_, array, member, incarnation, event, slot, level, k, m, flags) = (
            _FIXED.unpack_from(data)[:10]
        )
        count, unit, body, event_us = _FIXED.unpack_from(data)[10:]
        if level not in _LEVELS or flags & ~_READ_ONLY:
            raise UnknownVersion(
                f"A superblock of level {level} with flags {flags} is not known to "
                "this release. Install a newer release."
            )
        if unit != UNIT or FIXED + body + fmt.HASH_LENGTH != len(data):
            raise DamagedObject("The lengths in a superblock contradict each other.")
        entries = memoryview(data)[FIXED : FIXED + body]
        superblock = cls(
            UUID(bytes=array),
            UUID(bytes=member),
            _slot(slot),
            _LEVELS[level],
            _shape(_LEVELS[level], k, m),
            incarnation,
            event,
            event_us,
            _unpack_entries(entries, count, exact=version == fmt.WRITE_VERSION),
            bool(flags & _READ_ONLY),
            version,
        )
        if contradiction := superblock.contradiction():
            raise DamagedObject(contradiction)
        return superblock


def _shape(level: Level, k: int, m: int) -> Shape:
    # The copies of raid10 say nothing of its width: that is how many slots there are.
    width = level.least if level is Level.RAID10 else k + m
    try:
        shape = shape_of(level, width)
    except ValueError as error:
        raise DamagedObject(f"A superblock is impossible: {error}") from error
    if (shape.k, shape.m) != (k, m):
        raise DamagedObject(f"A superblock says {level} with k={k} and m={m}.")
    return shape


def _slot(stored: int) -> int | None:
    if stored < _NO_SLOT:
        raise DamagedObject(f"A superblock names slot {stored}.")
    return None if stored == _NO_SLOT else stored


def _unpack_entries(
    data: memoryview, count: int, *, exact: bool
) -> tuple[MemberEntry, ...]:
    entries, at = [], 0
    for _ in range(count):
        if at + _ENTRY.size > len(data):
            raise DamagedObject("The map in a superblock is cut short.")
        member, slot, code, flags, length = _ENTRY.unpack_from(data, at)
        start = at + _ENTRY.size
        at = start + length
        if at > len(data):
            raise DamagedObject("A URL in a superblock is longer than its room.")
        url = _decode(bytes(data[start:at]))
        entries.append(
            MemberEntry(UUID(bytes=member), _slot(slot), _state(code, flags), url)
        )
    if exact and at != len(data):
        raise DamagedObject("The map in a superblock is followed by other bytes.")
    return tuple(entries)


def _state(code: int, flags: int) -> StoredState:
    if code not in _STATES or flags:
        raise UnknownVersion(
            f"Member state {code} with flags {flags} is not known to this release. "
            "Install a newer release."
        )
    return _STATES[code]


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DamagedObject("A URL in a superblock is not UTF-8.") from error


@dataclass(frozen=True)
class Tombstone:
    """Says that a blob was purged; time in microseconds of UTC."""

    array: UUID
    blob: UUID
    attempt: int
    time_us: int
    write_version: int = fmt.WRITE_VERSION

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this."""
        return self.write_version > fmt.WRITE_VERSION

    def pack(self) -> bytes:
        """Return the 96 bytes."""
        fmt.require_known(self.write_version)
        return fmt.seal(
            _TOMBSTONE.pack(
                fmt.preamble(fmt.TOMBSTONE),
                self.array.bytes,
                self.blob.bytes,
                self.attempt,
                self.time_us,
            )
        )

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Parse and verify a tombstone."""
        least = _TOMBSTONE.size + fmt.HASH_LENGTH
        version = fmt.open_sealed(data, (fmt.TOMBSTONE,), least)
        if len(data) != least and version == fmt.WRITE_VERSION:
            raise DamagedObject(f"A tombstone has {len(data)} bytes.")
        _, array, blob, attempt, time_us = _TOMBSTONE.unpack_from(data)
        return cls(UUID(bytes=array), UUID(bytes=blob), attempt, time_us, version)
