"""Names of objects on a member. Names that users gave never appear in them."""

import re
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

SUPERBLOCKS = "superblock."
OBJECTS = "o/"
TOMBSTONES = "t/"
JOURNAL = "c/"
QUARANTINE = "quarantine/"
"""Where members keep what was moved aside; no key of an object starts with it."""

_U64 = 1 << 64
_NUMBER = r"(?:0|[1-9][0-9]{0,19})"
_BLOB = (
    r"(?P<aa>[0-9a-f]{2})/(?P<blob>(?P=aa)[0-9a-f]{6}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
_ROLE = r"(?P<role>[dc](?:[0-9]|[1-5][0-9]|6[0-3])|p|q)"
_OBJECT = re.compile(
    rf"o/{_BLOB}\."
    rf"(?:m(?P<manifest>{_NUMBER})|s(?P<segment>{_NUMBER})\.(?P<attempt>{_NUMBER})"
    rf"(?=\.))(?:\.{_ROLE})?"
)
_TOMBSTONE = re.compile(rf"t/{_BLOB}")
_SUPERBLOCK = re.compile(
    rf"superblock\.(?P<incarnation>{_NUMBER})\.(?P<event>{_NUMBER})"
)
_JOURNAL = re.compile(rf"c/(?P<incarnation>{_NUMBER})/(?P<number>{_NUMBER})")


class KeyKind(StrEnum):
    """What an object under `o/` or `t/` is."""

    MANIFEST = "manifest"
    COMBINED = "combined"
    SHARD = "shard"
    TOMBSTONE = "tombstone"


@dataclass(frozen=True)
class ObjectKey:
    """A parsed key of an object that belongs to a blob."""

    kind: KeyKind
    blob: UUID
    attempt: int = 0
    segment: int = 0
    role: str = ""


def blob_prefix(blob: UUID) -> str:
    """Return what the keys of a blob's manifests and shards start with."""
    return f"{OBJECTS}{blob.hex[:2]}/{blob}."


def manifest_key(blob: UUID, attempt: int) -> str:
    """Return the key of a manifest that stands alone."""
    return f"{blob_prefix(blob)}m{attempt}"


def combined_key(blob: UUID, attempt: int, role: str) -> str:
    """Return the key of a combined object: manifest and shard in one."""
    return f"{blob_prefix(blob)}m{attempt}.{role}"


def shard_key(blob: UUID, segment: int, attempt: int, role: str) -> str:
    """Return the key of a shard."""
    return f"{blob_prefix(blob)}s{segment}.{attempt}.{role}"


def tombstone_key(blob: UUID) -> str:
    """Return the key of a blob's tombstone."""
    return f"{TOMBSTONES}{blob.hex[:2]}/{blob}"


def superblock_key(incarnation: int, event: int) -> str:
    """Return the key of a superblock; the highest pair wins."""
    return f"{SUPERBLOCKS}{incarnation}.{event}"


def parse_superblock_key(key: str) -> tuple[int, int] | None:
    """Return incarnation and event, or None when the key is no superblock's."""
    match = _SUPERBLOCK.fullmatch(key)
    if match is None:
        return None
    numbers = int(match["incarnation"]), int(match["event"])
    return numbers if max(numbers) < _U64 else None


def journal_prefix(incarnation: int) -> str:
    """Return what the keys of an incarnation's journal entries start with."""
    return f"{JOURNAL}{incarnation}/"


def journal_key(incarnation: int, number: int) -> str:
    """Return the key of an entry of the catalogue journal."""
    return f"{journal_prefix(incarnation)}{number}"


def parse_journal_key(key: str) -> tuple[int, int] | None:
    """Return incarnation and number, or None when the key is no entry's."""
    match = _JOURNAL.fullmatch(key)
    if match is None:
        return None
    numbers = int(match["incarnation"]), int(match["number"])
    return numbers if max(numbers) < _U64 and numbers[1] else None


def parse_key(key: str) -> ObjectKey | None:
    """Return what a key of a blob's object or tombstone says, or None."""
    if match := _TOMBSTONE.fullmatch(key):
        return ObjectKey(KeyKind.TOMBSTONE, UUID(match["blob"]))
    match = _OBJECT.fullmatch(key)
    return _parse_object(match) if match else None


def _parse_object(match: re.Match[str]) -> ObjectKey | None:
    blob, role = UUID(match["blob"]), match["role"] or ""
    attempt = int(match["manifest"] or match["attempt"])
    segment = int(match["segment"] or 0)
    if attempt >= _U64 or segment >= _U64:
        return None
    if match["manifest"] is None:
        return ObjectKey(KeyKind.SHARD, blob, attempt, segment, role)
    kind = KeyKind.COMBINED if role else KeyKind.MANIFEST
    return ObjectKey(kind, blob, attempt, 0, role)
