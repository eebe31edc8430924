"""Unit tags: keyed BLAKE3 that knows which unit of which shard it belongs to."""

import struct
from uuid import UUID

from blake3 import blake3

from raid.member import Buffer

CONTEXT = "holdfast 2026-11 unit tag v1"
TAG_LENGTH = 32
BLAKE3_KEYED = 1
"""The id of this algorithm in headers and manifests."""

_PLACE = struct.Struct("<16s16sQQB")
_UNIT = struct.Struct("<II")


def digest(data: Buffer) -> bytes:
    """Return the plain BLAKE3 of some bytes."""
    return blake3(data).digest()


def unit_key(
    array: UUID, blob: UUID, segment: int, attempt: int, role_byte: int
) -> bytes:
    """Derive the key of the units of one role; copies share a role byte, so a key."""
    place = _PLACE.pack(array.bytes, blob.bytes, segment, attempt, role_byte)
    return blake3(place, derive_key_context=CONTEXT).digest()


def unit_tag(key: bytes, payload: Buffer, index: int) -> bytes:
    """Return the tag of a unit: keyed BLAKE3 over payload, index and length."""
    hasher = blake3(payload, key=key)
    hasher.update(_UNIT.pack(index, len(payload)))
    return hasher.digest()
