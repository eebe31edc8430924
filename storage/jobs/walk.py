"""Walk the live blobs in the order of their uuids, from wherever a job was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import case, func, literal, select

from raid.array import ArrayMap
from raid.manifest import Form
from raid.reader import BlobRef
from storage.blobref import reference
from storage.db import db, release
from storage.models import Blob, BlobState


@dataclass(frozen=True)
class Range:
    """Which blobs: those after one (or at it), up to one, and since a moment."""

    start: UUID | None = None
    inclusive: bool = False
    stop: UUID | None = None
    since: datetime | None = None


def live_blobs(wanted: Range, limit: int) -> Sequence[BlobRef]:
    """Return the next live blobs of a range."""
    chosen = select(Blob).where(Blob.state == BlobState.LIVE)
    if wanted.start is not None:
        at = Blob.uuid >= wanted.start if wanted.inclusive else Blob.uuid > wanted.start
        chosen = chosen.where(at)
    if wanted.stop is not None:
        chosen = chosen.where(Blob.uuid <= wanted.stop)
    if wanted.since is not None:
        chosen = chosen.where(Blob.created_at >= wanted.since)
    rows = db.session.scalars(
        chosen.order_by(Blob.uuid).limit(limit),
        execution_options={"populate_existing": True},
    ).all()
    release()
    return [reference(row) for row in rows]


def totals(slot: int, array_map: ArrayMap) -> tuple[int, int]:
    """Return how many live blobs there are, and about how many bytes a slot has.

    What a blob has on a slot is known from its row once it was looked at; until then
    all slots are taken to share what is stored of it alike.
    """
    shape = array_map.shape
    stored = Blob.size * shape.width // (shape.k * array_map.width)
    inline = Blob.form.in_((Form.EMPTY, Form.INLINE))
    spaced = literal(" ") + func.coalesce(Blob.slots, "") + literal(" ")
    has = spaced.contains(f" {slot} ", autoescape=True)
    known = case((has, Blob.share), else_=0)
    size = case((inline, Blob.size), (Blob.slots.is_not(None), known), else_=stored)
    row = db.session.execute(
        select(func.count(), func.coalesce(func.sum(size), 0)).where(
            Blob.state == BlobState.LIVE
        )
    ).one()
    release()
    return int(row[0]), int(row[1])
