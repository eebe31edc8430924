"""The parts of a manifest: what a blob was called, and one row per segment."""

import struct
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from raid import format as fmt
from raid import tags
from raid.errors import DamagedObject
from raid.geometry import Shape
from raid.member import Buffer

MAX_METADATA = 1024 * 1024
MAX_SLOT = 32767

_ROW = struct.Struct("<QBBBBBB2xQ32s")
_LENGTH = struct.Struct("<I")
_UNUSED = 0xFFFF


@dataclass(frozen=True)
class Description:
    """What a blob was called when it was uploaded; time in microseconds of UTC."""

    name: str
    folder: str
    owner: str
    media_type: str
    uploaded_us: int

    def pack(self) -> bytes:
        """Return the four strings, each after its length, padded to whole words."""
        strings = (self.name, self.folder, self.owner, self.media_type)
        encoded = [text.encode() for text in strings]
        packed = b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
        if len(packed) > MAX_METADATA:
            raise ValueError(
                f"Name and folder path are longer than {MAX_METADATA} bytes together."
            )
        return packed + bytes(-len(packed) % 8)

    @classmethod
    def unpack(cls, data: Buffer, uploaded_us: int) -> Self:
        """Parse the metadata; bytes after the fourth string are left alone."""
        strings: list[str] = []
        at = 0
        for _ in range(4):
            if at + _LENGTH.size > len(data):
                raise DamagedObject("The metadata of a manifest are cut short.")
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(data, at)[0]
            if at > len(data):
                raise DamagedObject("A string in a manifest is longer than its room.")
            strings.append(_decode(bytes(data[start:at])))
        name, folder, owner, media_type = strings
        return cls(name, folder, owner, media_type, uploaded_us)


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DamagedObject("A string in a manifest is not UTF-8.") from error


@dataclass(frozen=True)
class SegmentRow:
    """One segment: `slots` are those of its roles, in the order of `shape.roles`."""

    length: int
    shape: Shape
    attempt: int
    digest: bytes
    slots: tuple[int, ...]

    def header(
        self, array: UUID, blob: UUID, number: int, role: int, manifest_length: int = 0
    ) -> fmt.ShardHeader:
        """Return the header that the shard of a role has."""
        return fmt.ShardHeader(
            array,
            blob,
            number,
            self.attempt,
            self.shape,
            role,
            self.length,
            self.digest,
            manifest_length,
        )

    def pack(self, row_size: int) -> bytes:
        """Return the row, its unused slots filled up to the size of a row."""
        if len(self.slots) != self.shape.width or len(set(self.slots)) != len(
            self.slots
        ):
            raise ValueError("A segment needs a slot of its own for each role.")
        if not all(0 <= slot <= MAX_SLOT for slot in self.slots):
            raise ValueError(f"Slots go from 0 to {MAX_SLOT}.")
        shape = self.shape
        fixed = _ROW.pack(
            self.length,
            shape.code,
            shape.k,
            shape.m,
            shape.width,
            tags.BLAKE3_KEYED,
            0,
            self.attempt,
            self.digest,
        )
        slots = struct.pack(f"<{shape.width}H", *self.slots)
        return (fixed + slots).ljust(row_size, b"\xff")

    @classmethod
    def unpack(cls, data: Buffer) -> Self:
        """Parse one whole row."""
        length, code, k, m, roles, algorithm, flags, attempt, digest = _ROW.unpack_from(
            data
        )
        fmt.check_algorithm(algorithm, flags)
        shape = fmt.parse_shape(k, m, code)
        fmt.check_data_length(length, k)
        room = (len(data) - _ROW.size) // 2
        slots = struct.unpack_from(f"<{room}H", data, _ROW.size)
        used = slots[:roles]
        if roles != shape.width or roles > room or max(used) > MAX_SLOT:
            raise DamagedObject("A segment row has the wrong number of slots.")
        if len(set(used)) != roles or any(s != _UNUSED for s in slots[roles:]):
            raise DamagedObject("A segment row does not give each role its own slot.")
        return cls(length, shape, attempt, digest, used)


def row_size(roles: int) -> int:
    """Return the size of rows that hold this many slots, in whole words."""
    return (_ROW.size + 2 * roles + 7) // 8 * 8
