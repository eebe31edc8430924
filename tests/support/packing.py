"""Blobs packed with the functions of `raid/`, without the engine's writer."""

from dataclasses import dataclass
from uuid import UUID

from raid.format import SegmentTable
from raid.geometry import (
    Shape,
    pad,
    padded_length,
    payload_length,
    placement,
    role_views,
    unit_views,
)
from raid.keys import combined_key, manifest_key, shard_key
from raid.levels import encode_parities
from raid.manifest import Description, Form, Manifest, SegmentRow
from raid.tags import unit_key, unit_tag


@dataclass(frozen=True)
class PackedSegment:
    """A segment as a row, its table and the payload of each of its roles."""

    row: SegmentRow
    table: SegmentTable
    payloads: list[bytes]


def columns_of(content: bytes, shape: Shape) -> list[list[memoryview]]:
    """Return the units of every column of the table."""
    length = len(content)
    buffer = memoryview(bytearray(padded_length(length, shape.k)))
    buffer[:length] = content
    pad(buffer, length, shape.k)
    columns = [role_views(buffer, length, shape.k, j) for j in range(shape.k)]
    room = memoryview(bytearray(shape.m * payload_length(length, shape.k)))
    for parity in encode_parities(shape, buffer, length, room):
        columns.append(unit_views(parity, length, shape.k))
    return columns


def pack_segment(
    array: UUID,
    blob: UUID,
    number: int,
    attempt: int,
    shape: Shape,
    content: bytes,
    slots: list[int],
) -> PackedSegment:
    """Encode one segment."""
    columns = columns_of(content, shape)
    tags = []
    for role, units in enumerate(columns):
        key = unit_key(array, blob, number, attempt, shape.role_byte(role))
        tags.append([unit_tag(key, unit, i) for i, unit in enumerate(units)])
    table = SegmentTable.from_columns(tags)
    where = placement(blob, number, slots, shape)
    row = SegmentRow(len(content), shape, attempt, table.digest, where)
    payloads = [b"".join(columns[shape.column(r)]) for r in range(shape.width)]
    return PackedSegment(row, table, payloads)


def pack_blob(
    array: UUID,
    blob: UUID,
    attempt: int,
    description: Description,
    packed: list[PackedSegment],
    *,
    combined: bool = False,
    inline: bytes = b"",
    sha256: bytes | None = None,
    slots: list[int],
) -> tuple[Manifest, dict[int, dict[str, bytes]]]:
    """Return the manifest and everything that lies on every slot."""
    manifest = Manifest.build(
        array,
        blob,
        attempt,
        description,
        segments=[segment.row for segment in packed],
        inline=inline,
        combined=combined,
        sha256=sha256,
    )
    members: dict[int, dict[str, bytes]] = {slot: {} for slot in slots}
    whole = manifest.pack() if manifest.form is Form.COMBINED else b""
    for number, segment in enumerate(packed):
        for role, slot in enumerate(segment.row.slots):
            word = segment.row.shape.roles[role]
            key = shard_key(blob, number, segment.row.attempt, word)
            if combined:
                key = combined_key(blob, attempt, word)
            header = segment.row.header(array, blob, number, role, len(whole))
            members[slot][key] = (
                header.pack() + segment.table.pack() + whole + segment.payloads[role]
            )
    for slot in slots:
        if not combined or slot not in packed[0].row.slots:
            members[slot][manifest_key(blob, attempt)] = manifest.pack()
    return manifest, members
