"""Entries of the catalogue journal: changed rows of the database, chained and sealed.

An entry is a number in an incarnation, the hash of the entry before it, and a body
whose meaning the engine does not know: lines of JSON, from `storage.journal.lines`.
What is read may be anything, so lengths are checked before anything is allocated.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntFlag
from typing import Self
from uuid import UUID

from raid import format as fmt
from raid.errors import DamagedObject, UnknownVersion
from raid.member import Buffer

FIXED = 112
FLAGS_AT = 88
"""Where the byte of the flags stands."""
MAX_BODY = 4 * 1024 * 1024
"""The longest body of one entry, not compressed; larger changes span several."""
MAX_LENGTH = FIXED + MAX_BODY + fmt.HASH_LENGTH
"""The longest entry; a reader never needs to fetch more."""
NO_HASH = bytes(fmt.HASH_LENGTH)
"""Stands for the predecessor of the first entry."""

_FIXED = struct.Struct("<16s16sQQq32sBB6xQQ")
_STORED = 0
_ZLIB = 1
_WORTH_COMPRESSING = 512


class EntryFlag(IntFlag):
    """What an entry is a part of; the bits are stored."""

    NONE = 0
    SNAPSHOT = 1
    FIRST = 2
    LAST = 4
    CONTINUES = 8
    """The next entry belongs to the same changes: they are applied whole or not."""


_KNOWN = int(sum(EntryFlag))


@dataclass(frozen=True)
class Entry:
    """One entry of the journal; its body as it was before it was compressed."""

    array: UUID
    incarnation: int
    number: int
    time_us: int
    previous: bytes
    flags: EntryFlag
    body: bytes
    write_version: int = fmt.WRITE_VERSION

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this."""
        return self.write_version > fmt.WRITE_VERSION

    def pack(self) -> bytes:
        """Return the bytes of the whole entry; `hash_of` tells its hash."""
        fmt.require_known(self.write_version)
        if contradiction := self.contradiction():
            raise ValueError(contradiction)
        compression, stored = _compressed(self.body)
        fixed = _FIXED.pack(
            fmt.preamble(fmt.JOURNAL),
            self.array.bytes,
            self.incarnation,
            self.number,
            self.time_us,
            self.previous,
            self.flags,
            compression,
            len(stored),
            len(self.body),
        )
        return fmt.seal(fixed + stored)

    def contradiction(self) -> str | None:
        """Return what makes this entry impossible, or None."""
        if self.number < 1 or len(self.previous) != fmt.HASH_LENGTH:
            return f"A journal entry cannot have number {self.number}."
        if self.number == 1 and self.previous != NO_HASH:
            return "The first journal entry names one before it."
        if len(self.body) > MAX_BODY:
            return f"The body of a journal entry cannot have {len(self.body)} bytes."
        snapshot = EntryFlag.SNAPSHOT in self.flags
        ends = self.flags & (EntryFlag.FIRST | EntryFlag.LAST)
        if (ends and not snapshot) or (snapshot and EntryFlag.CONTINUES in self.flags):
            return "The flags of a journal entry contradict each other."
        return None

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Parse and verify a whole entry."""
        if len(data) > MAX_LENGTH:
            raise DamagedObject(f"A journal entry cannot have {len(data)} bytes.")
        version = fmt.open_sealed(data, (fmt.JOURNAL,), FIXED + fmt.HASH_LENGTH)
        (_, array, incarnation, number, time_us, previous, flags) = _FIXED.unpack_from(
            data
        )[:7]
        compression, stored, length = _FIXED.unpack_from(data)[7:]
        if flags & ~_KNOWN or compression not in (_STORED, _ZLIB):
            raise UnknownVersion(
                f"A journal entry with flags {flags} and compression {compression} is "
                "not known to this release. Install a newer release."
            )
        _check_lengths(len(data), stored, length, exact=version == fmt.WRITE_VERSION)
        body = bytes(memoryview(data)[FIXED : FIXED + stored])
        entry = cls(
            UUID(bytes=array),
            incarnation,
            number,
            time_us,
            previous,
            EntryFlag(flags),
            _expanded(body, compression, length),
            version,
        )
        if contradiction := entry.contradiction():
            raise DamagedObject(contradiction)
        return entry


def hash_of(packed: Buffer) -> bytes:
    """Return the hash that seals a packed entry: the next one is chained to it."""
    return bytes(memoryview(packed)[-fmt.HASH_LENGTH :])


def _compressed(body: bytes) -> tuple[int, bytes]:
    if len(body) >= _WORTH_COMPRESSING:
        packed = zlib.compress(body)
        if len(packed) < len(body):
            return _ZLIB, packed
    return _STORED, body


def _check_lengths(whole: int, stored: int, length: int, *, exact: bool) -> None:
    room = whole - FIXED - fmt.HASH_LENGTH
    if length > MAX_BODY or stored > room or (exact and stored != room):
        raise DamagedObject("The lengths in a journal entry contradict each other.")


def _expanded(stored: bytes, compression: int, length: int) -> bytes:
    """Return the body; it never grows beyond the length that was checked."""
    if compression == _STORED:
        body = stored
    else:
        expander = zlib.decompressobj()
        try:
            body = expander.decompress(stored, length + 1)
        except zlib.error as error:
            raise DamagedObject("A journal entry cannot be expanded.") from error
        if not expander.eof or expander.unused_data:
            raise DamagedObject("The body of a journal entry is cut or goes on.")
    if len(body) != length:
        raise DamagedObject("The body of a journal entry has another length.")
    return body
