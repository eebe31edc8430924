"""Turn a segment in memory into the objects of its roles, and name those objects.

The units of the data stay where they were received: an object is a list of views,
written with one gathering call. Only the parity is computed into a buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from raid import format as layout
from raid.errors import DamagedObject
from raid.geometry import Shape, pad, role_views, unit_views
from raid.keys import combined_key, shard_key
from raid.levels import encode_parities
from raid.manifest import Form, Manifest, SegmentRow
from raid.member import Buffer
from raid.tags import unit_key, unit_tag


@dataclass(frozen=True)
class Place:
    """Which segment of which blob, and under which attempt it is written."""

    array: UUID
    blob: UUID
    number: int
    attempt: int


@dataclass(frozen=True)
class Encoded:
    """A segment that is ready to be stored: its row, its table and its units."""

    place: Place
    row: SegmentRow
    table: layout.SegmentTable
    columns: Sequence[Sequence[Buffer]]

    def parts(self, role: int, manifest: bytes = b"") -> list[Buffer]:
        """Return the object of one role, in order; combined when given a manifest."""
        return object_parts(
            self.place,
            self.row,
            role,
            self.table,
            self.columns[self.row.shape.column(role)],
            manifest,
        )


def object_parts(
    place: Place,
    row: SegmentRow,
    role: int,
    table: layout.SegmentTable,
    units: Sequence[Buffer],
    manifest: bytes,
) -> list[Buffer]:
    """Return the parts of the object of a role; the same for a write and a repair."""
    header = row.header(
        place.array, place.blob, place.number, role, manifest_length=len(manifest)
    )
    return [header.pack() + table.pack() + manifest, *units]


def encode(
    place: Place,
    shape: Shape,
    slots: tuple[int, ...],
    buffer: memoryview,
    length: int,
    parity: memoryview,
) -> Encoded:
    """Encode the first ``length`` bytes of a buffer, which has room for padding."""
    pad(buffer, length, shape.k)
    columns = [role_views(buffer, length, shape.k, j) for j in range(shape.k)]
    columns += [
        unit_views(payload, length, shape.k)
        for payload in encode_parities(shape, buffer, length, parity)
    ]
    table = layout.SegmentTable.from_columns(
        [
            column_tags(place, shape, role, units)
            for role, units in zip(range(shape.columns), columns, strict=True)
        ]
    )
    row = SegmentRow(length, shape, place.attempt, table.digest, slots)
    return Encoded(place, row, table, columns)


def role_key(place: Place, shape: Shape, role: int) -> bytes:
    """Return the key of the tags of one role."""
    byte = shape.role_byte(role)
    return unit_key(place.array, place.blob, place.number, place.attempt, byte)


def column_tags(
    place: Place, shape: Shape, role: int, units: Sequence[Buffer]
) -> list[bytes]:
    """Return the tags of all units of a role."""
    key = role_key(place, shape, role)
    return [unit_tag(key, unit, index) for index, unit in enumerate(units)]


def key_of(blob: UUID, number: int, row: SegmentRow, role: int, combined: bool) -> str:
    """Return the key of the object of a role of a segment."""
    word = row.shape.roles[role]
    if combined:
        return combined_key(blob, row.attempt, word)
    return shard_key(blob, number, row.attempt, word)


def object_key(manifest: Manifest, number: int, role: int) -> str:
    """Return the key of the object of a role that a manifest describes."""
    row = manifest.segments[number]
    combined = manifest.form is Form.COMBINED
    return key_of(manifest.blob, number, row, role, combined)


def place_of(manifest: Manifest, number: int) -> Place:
    """Return the place of a segment that a manifest describes."""
    attempt = manifest.segments[number].attempt
    return Place(manifest.array, manifest.blob, number, attempt)


def read_table(
    head: bytes, place: Place, row: SegmentRow, role: int
) -> layout.SegmentTable:
    """Check the start of an object of a role and return its verified table."""
    header = layout.ShardHeader.unpack(head)
    found = Place(header.array, header.blob, header.segment, header.attempt)
    said = (found, header.shape, header.role, header.data_length)
    if said != (place, row.shape, role, row.length):
        raise DamagedObject("An object describes itself as another shard.")
    end = layout.HEADER_LENGTH + layout.table_length(row.length, row.shape)
    return layout.SegmentTable.unpack(
        head[layout.HEADER_LENGTH : end], row.length, row.shape, row.digest
    )
