"""Strategies and samples of every structure of the on-member format."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blake3 import blake3
from hypothesis import strategies as st

from raid.format import SegmentTable, ShardHeader
from raid.geometry import (
    MAX_PAYLOAD,
    Code,
    Level,
    Shape,
    narrow,
    row_count,
    shape_of,
)
from raid.journal import NO_HASH, Entry, EntryFlag
from raid.manifest import Description, Manifest, SegmentRow, head_length_of
from raid.superblock import MemberEntry, StoredState, Superblock, Tombstone

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
SHAPES = st.builds(
    lambda level, width, healthy: narrow(shape_of(level, width), healthy),
    st.sampled_from([Level.RAID5, Level.RAID6]),
    st.integers(4, 64),
    st.integers(0, 64),
) | st.builds(lambda width: Shape(1, width - 1, Code.COPIES), st.integers(1, 64))


@st.composite
def headers(draw: st.DrawFn) -> ShardHeader:
    """Headers of shards and of combined objects."""
    shape = draw(SHAPES)
    combined = draw(st.booleans())
    return ShardHeader(
        draw(st.uuids()),
        draw(st.uuids()),
        0 if combined else draw(U64),
        draw(U64),
        shape,
        draw(st.integers(0, shape.width - 1)),
        draw(st.integers(1, shape.k * MAX_PAYLOAD)),
        draw(DIGESTS),
        draw(st.integers(1, 2**64 - 1)) if combined else 0,
    )


@st.composite
def segment_rows(draw: st.DrawFn) -> SegmentRow:
    """Rows of any shape on any slots."""
    shape = draw(SHAPES)
    slots = draw(
        st.lists(
            st.integers(0, 32767),
            min_size=shape.width,
            max_size=shape.width,
            unique=True,
        )
    )
    length = draw(st.integers(1, shape.k * MAX_PAYLOAD))
    return SegmentRow(length, shape, draw(U64), draw(DIGESTS), tuple(slots))


DESCRIPTIONS = st.builds(Description, TEXTS, TEXTS, TEXTS, TEXTS, I64)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Manifests of all forms."""
    attempt = draw(U64)
    content: dict[str, Any] = draw(
        st.fixed_dictionaries({"inline": st.binary(max_size=99)})
        | st.fixed_dictionaries(
            {"segments": st.lists(segment_rows(), min_size=1, max_size=5)}
        )
    )
    rows = content.get("segments", [])
    combined = len(rows) == 1 and draw(st.booleans())
    if combined:
        attempt = rows[0].attempt
    return Manifest.build(
        draw(st.uuids()),
        draw(st.uuids()),
        attempt,
        draw(DESCRIPTIONS),
        combined=combined,
        sha256=draw(st.none() | DIGESTS),
        **content,
    )


@st.composite
def superblocks(draw: st.DrawFn) -> Superblock:
    """Superblocks of members with a slot and of spares."""
    level = draw(st.sampled_from(Level))
    width = draw(st.integers(4, 64))
    uuids = draw(st.lists(st.uuids(), min_size=1, max_size=8, unique=True))
    entries = tuple(
        MemberEntry(
            uuid,
            None if draw(st.booleans()) else slot,
            draw(st.sampled_from(StoredState)),
            draw(TEXTS),
        )
        for slot, uuid in enumerate(uuids)
    )
    own = draw(st.sampled_from(entries))
    return Superblock(
        draw(st.uuids()),
        own.member,
        own.slot,
        level,
        shape_of(level, width),
        draw(U64),
        draw(U64),
        draw(I64),
        entries,
        draw(st.booleans()),
    )


TOMBSTONES = st.builds(Tombstone, st.uuids(), st.uuids(), U64, I64)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Journal entries, short ones and such as are worth compressing."""
    number = draw(st.integers(1, 2**64 - 1))
    ends = draw(st.sampled_from([EntryFlag.NONE, EntryFlag.FIRST, EntryFlag.LAST]))
    flags = EntryFlag.SNAPSHOT | ends
    if draw(st.booleans()):
        flags = draw(st.sampled_from([EntryFlag.NONE, EntryFlag.CONTINUES]))
    body = draw(st.binary(max_size=60)) * draw(st.sampled_from([1, 40]))
    previous = NO_HASH if number == 1 else draw(DIGESTS)
    time = draw(I64)
    return Entry(draw(st.uuids()), draw(U64), number, time, previous, flags, body)


# Samples ----------------------------------------------------------------------

ARRAY = UUID("6f1c1de4-9a3b-4a57-8d0c-2b7f30c5a001")
BLOB = UUID("a5e0f310-77aa-4e4b-b0c4-1f2e00000001")
RAID5 = Shape(3, 1, Code.XOR)
TABLE_LENGTH = 5 * 262144


def table(shape: Shape = RAID5, length: int = TABLE_LENGTH) -> SegmentTable:
    """Return a table with a different tag in every place."""
    rows = range(row_count(length, shape.k))
    return SegmentTable.from_columns(
        [[bytes([column, row]) * 16 for row in rows] for column in range(shape.columns)]
    )


def row(number: int = 0, length: int = TABLE_LENGTH) -> SegmentRow:
    """Return a row of four roles."""
    digest = bytes([number % 251]) * 32
    return SegmentRow(length, RAID5, 3, digest, (2, 0, 3, 1))


DESCRIPTION = Description(
    "a.txt", "/Team", "alice", "text/plain", 1_793_448_000_000_000
)


def manifest(segments: int = 2, **more: Any) -> Manifest:
    """Return a manifest with some segments."""
    rows = [row(number, 1000 + number) for number in range(segments)]
    return Manifest.build(ARRAY, BLOB, 3, DESCRIPTION, segments=rows, **more)


def superblock() -> Superblock:
    """Return the superblock of the first of four members and a spare."""
    members = [
        MemberEntry(UUID(int=i + 1), i, StoredState.IN_SYNC, f"file:///srv/d{i}")
        for i in range(4)
    ]
    spare = MemberEntry(UUID(int=9), None, StoredState.SPARE, "file:///srv/spare")
    return Superblock(
        ARRAY, UUID(int=1), 0, Level.RAID5, RAID5, 1, 7, 12345, (*members, spare)
    )


def header() -> ShardHeader:
    """Return the header of a shard of `table()`."""
    return ShardHeader(ARRAY, BLOB, 1, 3, RAID5, 2, TABLE_LENGTH, table().digest)


def entry(body: bytes) -> Entry:
    """Return the first part of a snapshot."""
    flags = EntryFlag.SNAPSHOT | EntryFlag.FIRST
    return Entry(ARRAY, 1, 7, 12345, bytes(range(32)), flags, body)


@dataclass(frozen=True)
class Structure:
    """A packed sample, its parser, and where the hash that seals it ends."""

    name: str
    packed: bytes
    unpack: Callable[[bytes], Any]
    sealed: int

    def forged(self, at: int, layout: str, *values: int) -> bytes:
        """Return the sample with other values in a place, and a hash that fits."""
        changed = bytearray(self.packed)
        struct.pack_into("<" + layout, changed, at, *values)
        return self.resealed(changed)

    def resealed(self, changed: bytearray) -> bytes:
        """Return the bytes with a hash that fits them."""
        end = self.sealed
        changed[end - 32 : end] = blake3(bytes(changed[: end - 32])).digest()
        return bytes(changed)


def _structure(name: str, packed: bytes, unpack: Callable[[bytes], Any]) -> Structure:
    sealed = head_length_of(packed) if name.startswith("manifest") else len(packed)
    return Structure(name, packed, unpack, sealed)


STRUCTURES = [
    _structure("shard header", header().pack(), ShardHeader.unpack),
    _structure("manifest", manifest().pack(), Manifest.unpack),
    _structure("manifest inline", manifest(0, inline=b"hello").pack(), Manifest.unpack),
    _structure("manifest combined", manifest(1, combined=True).pack(), Manifest.unpack),
    _structure("manifest empty", manifest(0).pack(), Manifest.unpack),
    _structure("superblock", superblock().pack(), Superblock.unpack),
    _structure("tombstone", Tombstone(ARRAY, BLOB, 3, 12345).pack(), Tombstone.unpack),
    _structure("journal", entry(b'["users","1",null]\n').pack(), Entry.unpack),
    _structure("journal compressed", entry(b"x" * 600).pack(), Entry.unpack),
]
