"""Uploads as rows: the intent to store a blob, its segments, and how it is undone.

Every step is fenced by the attempt: whoever takes an upload over raises it, and from
then on every row that the first one wants to write is refused.
"""

import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from raid.array import Array
from raid.rows import SegmentRow
from raid.writer import erase
from storage import maps, purge, tombstones
from storage.clock import AHEAD, shared
from storage.db import db, release, transaction
from storage.errors import Fenced, WrongDigest, WrongLength
from storage.models import (
    Blob,
    BlobState,
    Upload,
    UploadSegment,
    UploadState,
)

ABANDONED_SECONDS = 30.0
_LOG = logging.getLogger("holdfast.uploads")
_PLAIN = {"synchronize_session": False}
_UPLOADS = cast(Table, Upload.__table__)
# Every upload runs these, so they are made once and without objects.
_INSERT = insert(_UPLOADS)
_DELETE = (
    delete(_UPLOADS)
    .where(
        _UPLOADS.c.blob == bindparam("own_blob"),
        _UPLOADS.c.attempt == bindparam("own_attempt"),
    )
    .returning(_UPLOADS.c.blob)
)


@dataclass(frozen=True)
class Wanted:
    """What the client says about the bytes that are coming."""

    name: str
    folder: str
    owner: str
    media_type: str
    owner_id: int | None
    size: int | None = None
    sha256: bytes | None = None
    # When the bytes came first; they are written anew now.
    uploaded_us: int | None = None
    # What it takes of its owner's room: less than its size where it replaces something.
    takes: int | None = None


Reserve = Callable[[maps.AnySession, UUID, int], None]
"""Is told, in the transaction that notes it, how many bytes of a blob there will be."""


def let_in(_session: maps.AnySession, _blob: UUID, _size: int) -> None:
    """Let everything in: nobody's room is counted."""


class Log:
    """The engine's view of an upload row; every call raises `Fenced` when it's lost."""

    def __init__(
        self,
        wanted: Wanted,
        admit: Callable[[int], None],
        reserve: Reserve = let_in,
    ) -> None:
        self.blob = uuid4()
        self.attempt = 1
        self.begun = False
        self.segments = 0
        self.sealed = False
        self._wanted = wanted
        self._admit = admit
        self._reserve = reserve
        self._given = False

    def begin(self) -> None:
        """Write the intent, before the first byte goes to a member."""
        wanted = self._wanted
        takes = wanted.size if wanted.takes is None else wanted.takes
        with transaction() as session:
            self._reserve(session, self.blob, wanted.size or 0)
            self.begun = True
            session.execute(
                _INSERT.values(started_at=shared(), touched_at=shared()),
                {"blob": self.blob, "owner_id": wanted.owner_id, "size": takes},
            )

    def next_attempt(self) -> int:
        """Return this upload's attempt, then a fresh one at every later call."""
        if not self._given:
            self._given = True
            return self.attempt
        with transaction() as session:
            self._hold(session, attempt=self.attempt + 1)
        self.attempt += 1
        return self.attempt

    def segment(
        self,
        number: int,
        offset: int,
        row: SegmentRow,
        members: tuple[UUID | None, ...],
    ) -> None:
        """Record a segment that is durable on its members.

        The others do not follow it into an array that became read-only meanwhile.
        """
        with transaction() as session:
            maps.refuse_readonly(session)
            if self._wanted.size is None:
                # Before any row of its own is held: others do it in this order, too.
                self._reserve(session, self.blob, offset + row.length)
            self._hold(session)
            session.execute(
                insert(UploadSegment).values(
                    blob=self.blob,
                    number=number,
                    attempt=row.attempt,
                    offset=offset,
                    length=row.length,
                    k=row.shape.k,
                    m=row.shape.m,
                    code=int(row.shape.code),
                    digest=row.digest,
                    slots=list(row.slots),
                    members=[uuid.hex if uuid else None for uuid in members],
                )
            )
        self.segments += 1

    def sealing(self, size: int, sha256: bytes | None) -> None:
        """Check what the client said, and note that a manifest may come to be.

        A blob of one segment is sealed before its first byte is written, so a row
        without segments says the same and costs no transaction.
        """
        wanted = self._wanted
        if wanted.size is not None and size != wanted.size:
            raise WrongLength(
                f"{wanted.size} bytes were announced and {size} came. "
                "Nothing was kept. Try again."
            )
        if wanted.sha256 is not None and not hmac.compare_digest(
            wanted.sha256, sha256 or b""
        ):
            raise WrongDigest(
                "The bytes that came do not have the SHA-256 that was announced. "
                "Nothing was kept. Try again."
            )
        self._admit(size)
        if self.segments:
            with transaction() as session:
                self._hold(session, state=UploadState.SEALING)
        self.sealed = True

    def close(self, session: maps.AnySession) -> None:
        """Let the rows go in the transaction that makes the blob visible."""
        if self.segments:
            self._hold(session)
            session.execute(
                delete(UploadSegment).where(UploadSegment.blob == self.blob)
            )
        mine = {"own_blob": self.blob, "own_attempt": self.attempt}
        if session.execute(_DELETE, mine).one_or_none() is None:
            raise Fenced

    def _hold(self, session: maps.AnySession, **values: object) -> None:
        held = session.execute(
            update(Upload)
            .where(Upload.blob == self.blob, Upload.attempt == self.attempt)
            .values(touched_at=shared(), **values)
            .returning(Upload.blob),
            execution_options=_PLAIN,
        ).one_or_none()
        if held is None:
            raise Fenced


def touch(blobs: Sequence[UUID]) -> None:
    """Say that the process behind these uploads lives."""
    with transaction() as session:
        session.execute(
            update(Upload)
            .where(Upload.blob.in_(blobs), Upload.state != UploadState.UNDOING)
            .values(touched_at=shared()),
            execution_options=_PLAIN,
        )


def undo(array: Array, blob: UUID, attempt: int, *, sealed: bool) -> bool:
    """Remove every trace of an upload; harmless when it is done or was committed.

    What may have a manifest somewhere is undone as a purge, tombstone first, because
    whoever finds the manifest would take it for a file.
    """
    if not _claim(blob, attempt, sealed=sealed):
        _erase_late(array, blob)
        return False
    if sealed:
        purge.advance(array, [blob])
        return True
    if erase(array, blob):
        # A member that was not reached may have something: it is owed the tombstone.
        if _claim(blob, attempt + 1, sealed=True):
            purge.advance(array, [blob])
        return True
    with transaction() as session:
        _drop_rows(session, blob, attempt + 1)
    return True


def _claim(blob: UUID, attempt: int, *, sealed: bool) -> bool:
    """Take the upload from its writer; a sealed one becomes a purge at once."""
    with transaction() as session:
        maps.lock(session).refuse_readonly()
        values = {"state": UploadState.UNDOING, "touched_at": shared()}
        held = session.execute(
            update(Upload)
            .where(Upload.blob == blob, Upload.attempt == attempt)
            .values(attempt=attempt + 1, **values)
            .returning(Upload.blob),
            execution_options=_PLAIN,
        ).one_or_none()
        if held is None:
            return False
        if sealed:
            _drop_rows(session, blob, attempt + 1)
            tombstones.doom(session, blob, attempt)
        return True


def _drop_rows(session: maps.AnySession, blob: UUID, attempt: int) -> None:
    session.execute(delete(UploadSegment).where(UploadSegment.blob == blob))
    session.execute(
        delete(Upload).where(Upload.blob == blob, Upload.attempt == attempt),
        execution_options=_PLAIN,
    )


def _erase_late(array: Array, blob: UUID) -> None:
    """Remove what a writer stored after its upload had been taken from it.

    The upload is asked for first: its rows turn into that of the blob, and between
    two questions they may.
    """
    waiting = db.session.scalar(select(Upload.attempt).where(Upload.blob == blob))
    known = db.session.scalar(select(Blob.state).where(Blob.uuid == blob))
    release()
    if known in (None, BlobState.PURGING) and waiting is None:
        erase(array, blob)


def _silent() -> ColumnElement[bool]:
    """Return the condition that the process of an upload has gone."""
    silent = Upload.touched_at < shared(timedelta(seconds=ABANDONED_SECONDS))
    # Its process would have touched it since the clock was put right.
    return silent | (Upload.touched_at > shared(-AHEAD))


def under_way(
    session: maps.AnySession, owner_id: int, beside: UUID | None = None
) -> int:
    """Return how much room the uploads that an owner has under way will take.

    What does not say how long it is counts as far as it has come. `beside` is an
    upload that is left out, as are those that will be undone.
    """
    come = (
        select(func.sum(UploadSegment.length))
        .where(UploadSegment.blob == Upload.blob)
        .scalar_subquery()
    )
    query = select(func.coalesce(Upload.size, come, 0)).where(
        Upload.owner_id == owner_id, Upload.state != UploadState.UNDOING, ~_silent()
    )
    if beside is not None:
        query = query.where(Upload.blob != beside)
    return sum(map(int, session.scalars(query)))


def undo_abandoned(array: Array) -> int:
    """Undo the uploads whose process has gone; returns how many."""
    segments = (
        select(func.count())
        .select_from(UploadSegment)
        .where(UploadSegment.blob == Upload.blob)
        .scalar_subquery()
    )
    rows = db.session.execute(
        select(Upload.blob, Upload.attempt, Upload.state, segments.label("segments"))
        .where(_silent())
        .limit(100)
    ).all()
    release()
    for row in rows:
        half = row.state == UploadState.OPEN and row.segments > 0
        sealed = row.state != UploadState.UNDOING and not half
        if undo(array, row.blob, row.attempt, sealed=sealed):
            fields = {"blob": row.blob, "sealed": sealed}
            _LOG.info("An abandoned upload was undone.", extra={"fields": fields})
    return len(rows)
