"""Which objects the rows of the database account for: what is no orphan.

    list the members -> read the rows in one snapshot -> what is in neither is unknown

The order matters. An upload's row is written before its first object and turns into the
blob's row in one transaction, so whatever was listed has a row in a later snapshot for
as long as anybody needs it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from sqlalchemy import Connection, Table, select

from raid.array import Array
from raid.errors import RaidError
from raid.keys import KeyKind, ObjectKey
from raid.manifest import Form, Manifest
from raid.reader import BlobRef
from raid.shards import object_key
from storage.blobref import manifest_of, reference
from storage.models import Blob, BlobState, Upload
from storage.runtime import runtime

_BLOBS = cast(Table, Blob.__table__)
_UPLOADS = cast(Table, Upload.__table__)


@dataclass(frozen=True)
class Rows:
    """The uploads and blobs whose uuids start with one byte, at one moment.

    A tombstone is owed, or waits for its end, exactly as long as its blob has a row.
    """

    uploads: frozenset[UUID]
    purging: frozenset[UUID]
    kept: Mapping[UUID, BlobRef]


def rows_of(connection: Connection, first: int) -> Rows:
    """Read the rows of one first byte out of a snapshot."""
    low, high = UUID(int=first << 120), UUID(int=((first + 1) << 120) - 1)
    uploads = select(_UPLOADS.c.blob).where(_UPLOADS.c.blob.between(low, high))
    blobs = select(_BLOBS).where(_BLOBS.c.uuid.between(low, high))
    in_flight = frozenset(connection.scalars(uploads))
    purging, kept = set(), {}
    for row in connection.execute(blobs):
        if row.state == BlobState.PURGING:
            purging.add(row.uuid)
        else:
            kept[row.uuid] = reference(cast(Blob, row))
    return Rows(in_flight, frozenset(purging), kept)


class Known:
    """Tells whether an object is accounted for where it lies."""

    def __init__(self, array: Array, rows: Rows) -> None:
        self.unread = 0
        self._array = array
        self._rows = rows
        self._keys: dict[UUID, Callable[[int, str], bool]] = {}

    def has(self, slot: int, name: str, key: ObjectKey) -> bool:
        """Tell whether some row accounts for an object on the member of a slot."""
        rows, blob = self._rows, key.blob
        if blob in rows.uploads or blob in rows.purging:
            return True
        if blob not in rows.kept:
            return False
        if key.kind is KeyKind.TOMBSTONE:
            return True  # not ours to judge: the blob lives, and somebody says it died
        if blob not in self._keys:
            self._keys[blob] = self._names(rows.kept[blob])
        return self._keys[blob](slot, name)

    def _names(self, ref: BlobRef) -> Callable[[int, str], bool]:
        if ref.form is not Form.SEGMENTED:
            return lambda slot, name: name == ref.manifest_key(slot)
        try:
            manifest = manifest_of(runtime(), self._array, ref)
        except RaidError:
            self.unread += 1  # nobody can say what belongs to it, so all of it does
            return lambda slot, name: True  # noqa: ARG005
        keys = _keys_of(manifest)
        return lambda slot, name: (
            name == ref.manifest_key(slot) or name in keys.get(slot, ())
        )


def _keys_of(manifest: Manifest) -> dict[int, set[str]]:
    keys: dict[int, set[str]] = {}
    for number, row in enumerate(manifest.segments):
        for role, slot in enumerate(row.slots):
            keys.setdefault(slot, set()).add(object_key(manifest, number, role))
    return keys
