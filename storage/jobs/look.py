"""The walk of a scrub: live blobs in the order of their uuids, segment by segment."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.errors import BlobDamaged, BlobUnreachable, UnknownVersion
from raid.manifest import Manifest
from raid.scrub import (
    Finding,
    Kind,
    Look,
    Pick,
    look_at_manifests,
    look_at_segment,
)
from raid.segments import Damage
from raid.superblock import StoredState
from storage.blobref import manifest_of, reference
from storage.db import db, release
from storage.models import NONE, Blob, BlobState, Debt, MemberRow, Reason
from storage.runtime import runtime

_BATCH = 50


@dataclass(frozen=True)
class Piece:
    """A segment, or a blob without any, and what was seen of it."""

    at: str
    after: str
    look: Look
    hopeless: bool
    size: int
    ends_blob: bool
    unmeasured: Manifest | None
    """The manifest of a blob whose slots and share the rows do not know yet."""


def pieces(array: Array, cursor: str | None, pick: Pick) -> Iterator[Piece]:
    """Look at one piece after the other, from a cursor on; without an open snapshot."""
    uuid, number = _parse(cursor)
    for blob in _live(uuid, again=number is not None):
        first = number or 0 if blob.uuid == uuid else 0
        yield from _of_blob(array, blob, first, pick)


def _parse(cursor: str | None) -> tuple[UUID | None, int | None]:
    """Return the blob of a cursor and its next segment; None when it was done."""
    if cursor is None:
        return None, None
    blob, _, number = cursor.partition(":")
    return UUID(blob), int(number) if number else None


def _live(uuid: UUID | None, *, again: bool) -> Iterator[Blob]:
    while True:
        wanted = select(Blob).where(Blob.state == BlobState.LIVE)
        if uuid is not None:
            wanted = wanted.where(Blob.uuid >= uuid if again else Blob.uuid > uuid)
        some = db.session.scalars(
            wanted.order_by(Blob.uuid).limit(_BATCH),
            execution_options={"populate_existing": True},
        ).all()
        release()
        if not some:
            return
        yield from some
        uuid, again = some[-1].uuid, False


def _of_blob(array: Array, blob: Blob, first: int, pick: Pick) -> Iterator[Piece]:
    ref = reference(blob)
    met: list[Damage] = []
    try:
        manifest = manifest_of(runtime(), array, ref, met.append)
    except BlobDamaged:
        yield _lost(array, blob, met)
        return
    except (BlobUnreachable, UnknownVersion):
        slots = [entry.slot for entry in array.map.slots]
        yield _piece(blob, 0, Look(unreachable=slots), False, blob.size, last=True)
        return
    count = max(1, len(manifest.segments))
    for number in range(first, count):
        look, hopeless = _look(array, manifest, number, pick)
        rows = manifest.segments
        size = rows[number].length if rows else blob.size
        piece = _piece(blob, number, look, hopeless, size, last=number + 1 == count)
        unmeasured = manifest if piece.ends_blob and blob.slots is None else None
        yield replace(piece, unmeasured=unmeasured)


def _piece(
    blob: Blob, number: int, look: Look, hopeless: bool, size: int, *, last: bool
) -> Piece:
    at, after = f"{blob.uuid.hex}:{number}", f"{blob.uuid.hex}:{number + 1}"
    return Piece(at, blob.uuid.hex if last else after, look, hopeless, size, last, None)


def _look(
    array: Array, manifest: Manifest, number: int, pick: Pick
) -> tuple[Look, bool]:
    """Look at a segment, with the first one at the manifests; tell if it looks lost."""
    found, hopeless = Look(), False
    if number == 0:
        found = _confirmed(array, look_at_manifests(array, manifest))
        hopeless = found.lost > array.map.shape.m
    if manifest.segments:
        segment = _confirmed(array, look_at_segment(array, manifest, number, pick))
        found.add(segment)
        hopeless |= segment.lost > manifest.segments[number].shape.m
    return found, hopeless


def _lost(array: Array, blob: Blob, met: list[Damage]) -> Piece:
    """Return what is said of a blob that no member has the description of."""
    missing = "The object is missing."
    findings = [
        Finding(Kind.MISSING if one.reason == missing else Kind.BAD, one) for one in met
    ]
    look = _confirmed(array, Look(findings))
    return _piece(blob, 0, look, look.lost > 0, blob.size, last=True)


def _confirmed(array: Array, look: Look) -> Look:
    """Return what was seen without what the rows explain.

    A blob that was let go of meanwhile has no damage, and what a member is owed, or
    misses because it is not in sync any more, is known.
    """
    if not look.findings:
        return look
    blob = look.findings[0].damage.blob
    state = db.session.scalar(select(Blob.state).where(Blob.uuid == blob))
    owed = _owed(blob)
    in_sync = set(
        db.session.scalars(
            select(MemberRow.slot).where(MemberRow.state == StoredState.IN_SYNC)
        )
    )
    release()
    if state != BlobState.LIVE:
        return replace(look, findings=[])
    bad = [
        one
        for one in look.findings
        if one.kind is not Kind.MISSING
        or (one.damage.slot in in_sync and _identity(array, one.damage) not in owed)
    ]
    more = len(look.findings) - len(bad)
    return replace(look, findings=bad, owed=look.owed + more)


_Identity = tuple[UUID, int, int]


def _identity(array: Array, damage: Damage) -> _Identity:
    segment = NONE if damage.segment is None else damage.segment
    role = NONE if damage.role is None else damage.role
    return array.uuid_of(damage.slot), segment, role


def _owed(blob: UUID) -> set[_Identity]:
    rows = db.session.execute(
        select(Debt.member_uuid, Debt.segment, Debt.role).where(
            Debt.blob == blob, Debt.reason == Reason.AWAY
        )
    )
    return {(row.member_uuid, row.segment, row.role) for row in rows}
