"""Receipts: read files back, verify every unit, and note SHA-256 and the time.

A blob of several segments has no SHA-256 when it is stored unless the client sent one.
Here every blob without a receipt is read from the members as a download reads it, the
oldest first. One that takes longer than a step goes on in the next: its hash lives in
this process, so whoever takes the job over begins that blob again.
"""

import hashlib
import hmac
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update

from raid.array import Array, ArrayState
from raid.errors import BlobDamaged, RaidError
from raid.manifest import Form, Manifest
from raid.reader import BlobRef, load_manifest, read
from storage import history, maps
from storage.blobref import reference
from storage.clock import AHEAD
from storage.db import db, release, transaction, utcnow
from storage.errors import NotNow
from storage.jobs import runner, table
from storage.jobs.runner import Claim, Step
from storage.models import Blob, BlobState, Job, JobKind, JobState
from storage.runtime import runtime

BATCH = 1000
QUIET = timedelta(minutes=2)
"""How old a file without a receipt has to be before a job is made for it."""
AGAIN = timedelta(hours=6)
"""After how long what could not be read back is tried again."""
KEEP = timedelta(days=1)
_LACKING = (Blob.state == BlobState.LIVE, Blob.verified_at.is_(None))
_PLAIN = {"synchronize_session": False}
_LOG = logging.getLogger("holdfast.jobs")


@dataclass
class _Reading:
    """A blob that is being read back, and how far it is."""

    lease: str
    ref: BlobRef
    manifest: Manifest
    known: bytes | None
    offset: int = 0
    hasher: Any = field(default_factory=hashlib.sha256)


class Receipts:
    """The work of the job; see the module's text."""

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        # Finding the next ones sorts all that lack a receipt, so it is done rarely.
        self._ahead: deque[Blob] = deque()
        self._place: tuple[str, str | None] = "", None

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:  # noqa: ARG002
        """Count what lacks a receipt."""
        totals = select(func.count(), func.coalesce(func.sum(Blob.size), 0))
        count, size = db.session.execute(totals.where(*_LACKING)).one()
        release()
        return int(count), int(size)

    def step(self, claim: Claim, array: Array) -> Step:
        """Read back as many blobs, or as much of one, as a step has time for."""
        if array.state() is ArrayState.FAILED:
            raise NotNow("Too many members are away to read files back.")
        step = Step(cursor=claim.cursor)
        self._look_ahead(claim)
        while self._ahead:
            blob = self._ahead[0]
            if not self._read_back(claim, array, blob, step):
                return step
            self._ahead.popleft()
            step.cursor = _mark(blob)
            self._place = claim.lease, step.cursor
            step.objects += 1
            if not claim.in_time():
                return step
        step.done = step.objects == 0
        return step

    def _look_ahead(self, claim: Claim) -> None:
        """Find the next ones when those found before are done, or were another's."""
        if not self._ahead or self._place != (claim.lease, claim.cursor):
            self._ahead = deque(_next(claim.cursor))
            self._place = claim.lease, claim.cursor

    def _read_back(self, claim: Claim, array: Array, blob: Blob, step: Step) -> bool:
        """Read one blob; False when there was no time for the rest of it."""
        try:
            reading = self._begun(claim, array, blob)
            if not _go_on(claim, array, reading, step):
                return False
        except RaidError as error:
            self._reading = None
            _note_unread(blob, error, step)
            return True
        self._reading = None
        step.count(_note(reading))
        return True

    def _begun(self, claim: Claim, array: Array, blob: Blob) -> _Reading:
        """Return how far this blob is, or begin it: the manifest from a member."""
        now = self._reading
        if now is None or (now.lease, now.ref.blob) != (claim.lease, blob.uuid):
            ref = reference(blob)
            manifest = load_manifest(array, ref, runtime().note_damage)
            now = self._reading = _Reading(claim.lease, ref, manifest, blob.sha256)
        return now

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Drop the rows of earlier ones: there are hundreds a day."""
        session.execute(
            delete(Job).where(
                Job.kind == JobKind.RECEIPTS,
                Job.state.not_in(table.ACTIVE),
                Job.finished_at < utcnow() - KEEP,
                Job.id != job.id,
            ),
            execution_options=_PLAIN,
        )


def _go_on(claim: Claim, array: Array, reading: _Reading, step: Step) -> bool:
    """Read on until the blob or the time ends; False when time did."""
    ref = reading.ref
    if ref.form is Form.EMPTY:
        return True
    chunks = read(
        array,
        ref,
        reading.offset,
        ref.size,
        manifest=reading.manifest,
        on_damage=runtime().note_damage,
    )
    for chunk in chunks:
        reading.hasher.update(chunk)
        reading.offset += len(chunk)
        step.bytes += len(chunk)
        if reading.offset < ref.size and not claim.in_time():
            return False
    return reading.offset == ref.size


def _next(cursor: str | None) -> list[Blob]:
    wanted = select(Blob).where(*_LACKING)
    if cursor is not None:
        at, _, uuid = cursor.partition(" ")
        mark = (datetime.fromisoformat(at).astimezone(UTC), UUID(uuid))
        here = tuple_(Blob.created_at, Blob.uuid)
        types = [Blob.created_at.type, Blob.uuid.type]
        wanted = wanted.where(here > tuple_(*mark, types=types))
    found = db.session.scalars(
        wanted.order_by(Blob.created_at, Blob.uuid).limit(BATCH),
        execution_options={"populate_existing": True},
    ).all()
    release()
    return list(found)


def _mark(blob: Blob) -> str:
    return f"{blob.created_at.isoformat()} {blob.uuid.hex}"


def _note(reading: _Reading) -> str:
    """Write the receipt down and return what it was, as a word to count."""
    digest = reading.hasher.digest()
    blob = reading.ref.blob
    same = reading.known is None or hmac.compare_digest(reading.known, digest)
    values: dict[str, Any] = {"sha256": digest, "verified_at": utcnow()}
    if not same:
        values = {"damaged": True}  # two truths: people decide, and nothing is replaced
    with transaction() as session:
        noted = session.execute(
            update(Blob)
            .where(Blob.uuid == blob, *_LACKING)
            .values(values)
            .returning(Blob.uuid),
            execution_options=_PLAIN,
        ).one_or_none()
        if noted is not None and not same:
            history.note(session, "receipt_differs", blob=str(blob))
    if noted is None:
        return "gone"
    return "verified" if same else "differing"


def _note_unread(blob: Blob, error: RaidError, step: Step) -> None:
    """Report what could not be read back, and mark it when it is beyond repair."""
    with transaction() as session:
        found = session.scalar(select(Blob.state).where(Blob.uuid == blob.uuid))
        if found != BlobState.LIVE:
            step.count("gone")
            return
        if isinstance(error, BlobDamaged):
            session.execute(
                update(Blob).where(Blob.uuid == blob.uuid).values(damaged=True),
                execution_options=_PLAIN,
            )
    step.count("unread")
    step.report.append({"blob": str(blob.uuid), "why": str(error)})


def request() -> int:
    """Ask for a job when something has lacked its receipt for a while: a chore.

    What an earlier job could not read is left alone for some hours, so that files
    beyond repair do not make a job a minute.
    """
    now = utcnow()
    last = db.session.execute(
        select(Job.created_at, Job.finished_at)
        .where(
            Job.kind == JobKind.RECEIPTS,
            Job.state == JobState.DONE,
            Job.finished_at <= now + AHEAD,
        )
        .order_by(Job.id.desc())
        .limit(1)
    ).one_or_none()
    lacking = select(Blob.uuid).where(*_LACKING, Blob.created_at <= now - QUIET)
    if last is not None and last.finished_at > now - AGAIN:
        lacking = lacking.where(Blob.created_at > last.created_at)
    found = db.session.scalar(lacking.limit(1))
    release()
    if found is None:
        return 0
    table.request(JobKind.RECEIPTS)
    return 1


runner.register(JobKind.RECEIPTS, Receipts())
