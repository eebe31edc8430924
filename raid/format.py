"""Shards as bytes: the preamble of every structure, shard header and segment table.

docs/on-disk-format.md holds the tables of offsets. Parsers here take bytes that may be
anything: they check the hash first, then the versions, then every length, and raise
only `DamagedObject` or `UnknownVersion`.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self
from uuid import UUID

from raid import tags
from raid.errors import DamagedObject, UnknownVersion
from raid.geometry import (
    MAX_PAYLOAD,
    UNIT,
    Code,
    Shape,
    payload_length,
    row_count,
)
from raid.member import Buffer

MAGIC = b"HOLDFAST"
READ_VERSION = 1
WRITE_VERSION = 1

SHARD = b"SHRD"
COMBINED = b"COMB"
MANIFEST = b"MANI"
SUPERBLOCK = b"SUPR"
TOMBSTONE = b"TOMB"
JOURNAL = b"JRNL"

HASH_LENGTH = 32
HEADER_LENGTH = 192
ENTRY_LENGTH = 64

PREAMBLE = struct.Struct("<8s4sHH")
_HEADER = struct.Struct("<16s16s16sQQBBBBBB2xIIQQQQ32s16x32s")
_ENTRY = struct.Struct("<32sB3x28s")
_NO_ROOM = bytes(28)


def preamble(kind: bytes) -> bytes:
    """Return the first 16 bytes of a structure."""
    return PREAMBLE.pack(MAGIC, kind, READ_VERSION, WRITE_VERSION)


def seal(body: bytes) -> bytes:
    """Append the BLAKE3 of everything before it."""
    return body + tags.digest(body)


def open_sealed(data: Buffer, kinds: Sequence[bytes], least: int) -> int:
    """Check kind, hash and versions of a sealed structure; return its write version.

    The hash is the last 32 bytes in every version, so a flipped bit in a version field
    is damage and not a message from the future.
    """
    name = kinds[0].decode()
    if len(data) < max(least, PREAMBLE.size + HASH_LENGTH):
        raise DamagedObject(f"A {name} structure is cut short after {len(data)} bytes.")
    magic, kind, read_version, write_version = PREAMBLE.unpack_from(data)
    if magic != MAGIC or kind not in kinds:
        raise DamagedObject(f"These bytes do not start like a {name} structure.")
    view = memoryview(data)
    if tags.digest(view[:-HASH_LENGTH]) != view[-HASH_LENGTH:]:
        raise DamagedObject(f"The bytes of a {name} structure differ from their hash.")
    if read_version > READ_VERSION:
        raise UnknownVersion(
            f"A {name} structure needs format version {read_version} and this release "
            f"reads up to {READ_VERSION}. Install a newer release."
        )
    if not 0 < read_version <= write_version:
        raise DamagedObject(f"A {name} structure has impossible version numbers.")
    return int(write_version)


def require_known(write_version: int) -> None:
    """Refuse to write again what a newer release wrote: it may hold more."""
    if write_version > WRITE_VERSION:
        raise UnknownVersion(
            "A newer release wrote this structure, so this release only reads it."
        )


def parse_shape(k: int, m: int, code: int) -> Shape:
    """Return a shape out of stored numbers."""
    if code not in list(Code):
        raise UnknownVersion(
            f"Code {code} is not known to this release. Install a newer release."
        )
    try:
        return Shape(k, m, Code(code))
    except ValueError as error:
        raise DamagedObject(f"A stored shape is impossible: {error}") from error


def check_algorithm(algorithm: int, flags: int) -> None:
    """Refuse tags that this release cannot compute and flags that it does not know."""
    if algorithm != tags.BLAKE3_KEYED or flags:
        raise UnknownVersion(
            f"Tag algorithm {algorithm} with flags {flags} is not known to this "
            "release. Install a newer release."
        )


def check_data_length(data_length: int, k: int) -> None:
    """Refuse a segment that is empty or larger than the format allows."""
    if not 1 <= data_length <= k * MAX_PAYLOAD:
        raise DamagedObject(f"A segment cannot hold {data_length} bytes.")


def table_length(data_length: int, shape: Shape) -> int:
    """Return the length of a segment table."""
    return row_count(data_length, shape.k) * shape.columns * ENTRY_LENGTH


def payload_offset(data_length: int, shape: Shape, manifest_length: int = 0) -> int:
    """Return where the units of a shard start; a combined one holds its manifest."""
    return HEADER_LENGTH + table_length(data_length, shape) + manifest_length


def object_length(data_length: int, shape: Shape, manifest_length: int = 0) -> int:
    """Return the length of a whole shard or combined object."""
    payload = payload_length(data_length, shape.k)
    return payload_offset(data_length, shape, manifest_length) + payload


@dataclass(frozen=True)
class ShardHeader:
    """The first 192 bytes of a shard; `role` is an index into `shape.roles`."""

    array: UUID
    blob: UUID
    segment: int
    attempt: int
    shape: Shape
    role: int
    data_length: int
    segment_digest: bytes
    manifest_length: int = 0
    write_version: int = WRITE_VERSION

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this: read it, never rewrite it."""
        return self.write_version > WRITE_VERSION

    @property
    def payload_length(self) -> int:
        """Return the length of the units together."""
        return payload_length(self.data_length, self.shape.k)

    @property
    def table_length(self) -> int:
        """Return the length of the segment table."""
        return table_length(self.data_length, self.shape)

    @property
    def payload_offset(self) -> int:
        """Return where the units start in the object."""
        return payload_offset(self.data_length, self.shape, self.manifest_length)

    @property
    def object_length(self) -> int:
        """Return the length of the whole object."""
        return self.payload_offset + self.payload_length

    def pack(self) -> bytes:
        """Return the 192 bytes."""
        require_known(self.write_version)
        shape = self.shape
        packed = _HEADER.pack(
            preamble(COMBINED if self.manifest_length else SHARD),
            self.array.bytes,
            self.blob.bytes,
            self.segment,
            self.attempt,
            shape.code,
            shape.k,
            shape.m,
            self.role,
            tags.BLAKE3_KEYED,
            0,
            UNIT,
            ENTRY_LENGTH,
            self.data_length,
            self.payload_length,
            self.table_length,
            self.manifest_length,
            self.segment_digest,
            bytes(HASH_LENGTH),
        )
        return seal(packed[:-HASH_LENGTH])

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Parse and check the header at the start of some bytes."""
        head = memoryview(data)[:HEADER_LENGTH]
        version = open_sealed(head, (SHARD, COMBINED), HEADER_LENGTH)
        (_, array, blob, segment, attempt, code, k, m, role, algorithm, flags) = (
            _HEADER.unpack(head)[:11]
        )
        unit, entry, length, payload, table, manifest, digest, _ = _HEADER.unpack(head)[
            11:
        ]
        check_algorithm(algorithm, flags)
        shape = parse_shape(k, m, code)
        check_data_length(length, k)
        header = cls(
            UUID(bytes=array),
            UUID(bytes=blob),
            segment,
            attempt,
            shape,
            role,
            length,
            digest,
            manifest,
            version,
        )
        header._check((unit, entry), payload, table, head[8:12] == COMBINED)
        return header

    def _check(
        self, sizes: tuple[int, int], payload: int, table: int, combined: bool
    ) -> None:
        if sizes != (UNIT, ENTRY_LENGTH):
            raise DamagedObject("A shard header has impossible unit or entry sizes.")
        if self.role >= self.shape.width:
            raise DamagedObject(f"A shard header names role {self.role} of none.")
        if (payload, table) != (self.payload_length, self.table_length):
            raise DamagedObject("The lengths in a shard header contradict each other.")
        if combined != bool(self.manifest_length):
            raise DamagedObject("A shard header contradicts its kind.")
        if combined and self.segment:
            raise DamagedObject("A combined object holds a segment that is not first.")


@dataclass(frozen=True)
class SegmentTable:
    """The tags of all units of all roles of a segment, row after row."""

    data: bytes
    columns: int

    @classmethod
    def from_columns(cls, columns: Sequence[Sequence[bytes]]) -> Self:
        """Build a table out of one list of tags per column."""
        entries = (
            _ENTRY.pack(tag, 0, _NO_ROOM)
            for row in zip(*columns, strict=True)
            for tag in row
        )
        return cls(b"".join(entries), len(columns))

    @classmethod
    def unpack(
        cls, data: Buffer, data_length: int, shape: Shape, segment_digest: bytes
    ) -> Self:
        """Check the table of a segment against its digest and return it."""
        if len(data) != table_length(data_length, shape):
            raise DamagedObject(f"A segment table has {len(data)} bytes, not its own.")
        table = cls(bytes(data), shape.columns)
        if table.digest != segment_digest:
            raise DamagedObject("A segment table differs from its digest.")
        if any(table.data[HASH_LENGTH::ENTRY_LENGTH]):
            raise UnknownVersion(
                "A segment table has flags that this release does not know. "
                "Install a newer release."
            )
        return table

    @cached_property
    def digest(self) -> bytes:
        """Return the segment digest: the BLAKE3 of the table."""
        return tags.digest(self.data)

    @property
    def rows(self) -> int:
        """Return the number of rows of units."""
        return len(self.data) // (self.columns * ENTRY_LENGTH)

    def pack(self) -> bytes:
        """Return the bytes of the table."""
        return self.data

    def tag(self, row: int, column: int) -> bytes:
        """Return the tag of a unit; `Shape.column` says which column a role has."""
        at = (row * self.columns + column) * ENTRY_LENGTH
        return self.data[at : at + tags.TAG_LENGTH]
