"""Give members objects of live blobs, and take back what was given in vain.

A purge that starts in between lists a member's objects only after its own row was
written. So whoever gives looks at the rows again afterwards: either the purge finds
the object, or the giver finds that the blob is not live any more.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.errors import ObjectKept
from raid.reader import BlobRef
from storage.blobref import reference
from storage.db import db, release
from storage.maps import AnySession
from storage.models import Blob, BlobState

Given = Mapping[UUID, Sequence[str]]
"""Keys of the objects that were given, by blob."""


def live(blobs: Collection[UUID]) -> dict[UUID, BlobRef]:
    """Return those of some blobs that are live now."""
    rows = db.session.scalars(
        select(Blob).where(Blob.uuid.in_(blobs), Blob.state == BlobState.LIVE),
        execution_options={"populate_existing": True},
    ).all()
    release()
    return {row.uuid: reference(row) for row in rows}


def take_back_dead(array: Array, slot: int, given: Given) -> int:
    """Remove from a member what was given of blobs that are not live; count them."""
    if not given:
        return 0
    still = live(list(given))
    dead = [key for blob, keys in given.items() if blob not in still for key in keys]
    # What stays where nothing may be deleted is known: its purge is on its way.
    if dead:
        with array.using(slot) as member, suppress(ObjectKept):
            for key in dead:
                member.delete(key)
    return len(dead)


def attempts(session: AnySession, blobs: Collection[UUID]) -> dict[UUID, int]:
    """Return the attempt of each blob that is live, in the caller's transaction."""
    rows = session.execute(
        select(Blob.uuid, Blob.attempt).where(
            Blob.uuid.in_(blobs), Blob.state == BlobState.LIVE
        )
    )
    return {row.uuid: row.attempt for row in rows}
