"""Reshape: write every blob anew that does not have the shape of the array.

After the array was widened, narrowed or converted, new files have the new shape and the
old ones keep theirs. A blob is never changed, so each of the old ones is read, written
as another blob, read back and compared, and only then do its files name the new one;
the old one goes the way of every blob that no file names. Both can be read throughout.

    read old (verified) -> write new -> read new back -> files name new, old let go of
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from blake3 import blake3
from sqlalchemy import ColumnElement, func, select

from raid.array import Array
from raid.errors import BlobDamaged, BlobUnreachable
from raid.geometry import Shape
from raid.manifest import Form, Manifest
from storage import blobs, maps, pointers, reshaping
from storage.blobref import manifest_of, reference
from storage.db import db, release, transaction, utcnow
from storage.errors import BlobGone, StorageError, WrongDigest
from storage.jobs import runner
from storage.jobs.runner import Claim, Step
from storage.models import Blob, BlobState, Job, JobKind, Upload
from storage.runtime import runtime

BATCH = 200
_MARGIN = timedelta(minutes=1)
"""An upload that began so long after the job may have had the old map: its process may
know one that is a second old, and a busy one is late with the row."""

_FIRST = UUID(int=0)
_ROLES = (int(Form.COMBINED), int(Form.SEGMENTED))


class NotTheSame(StorageError):
    """What was written is not what was read; nothing was switched."""

    code = "reshape_mismatch"


class MembersAway(StorageError):
    """What is written while a member is away would have to be written again."""

    code = "reshape_waits"


@dataclass(frozen=True)
class _Target:
    """What a blob should look like now."""

    shape: Shape
    slots: frozenset[int]

    @classmethod
    def of(cls, array: Array) -> "_Target":
        slots = (entry.slot for entry in array.map.slots if not entry.leaving)
        return cls(array.map.shape, frozenset(slots))

    def fits(self, shape: Shape, slots: tuple[int, ...]) -> bool:
        """Tell whether a segment is as it would be written now."""
        return shape == self.shape and self.slots.issuperset(slots)


class Reshape:
    """The job; it walks the live blobs by uuid until a whole pass finds nothing."""

    def begin(self, _claim: Claim, _array: Array) -> tuple[int, int]:
        """Count what lies in segments: each of it has to be looked at."""
        row = db.session.execute(
            select(func.count(), func.coalesce(func.sum(Blob.size), 0)).where(*_live())
        ).one()
        release()
        return int(row[0]), int(row[1])

    def step(self, claim: Claim, _array: Array) -> Step:
        """Look at some blobs, and write anew those that need it.

        The map of this round may be older than the job, and knows the old shape only.
        """
        own = runtime()
        own.forget_map()
        array = own.array()
        _refuse_while_degraded(array)
        return _Walk(claim, array).run()

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Let go of the members whose slots are empty now, and name the others."""
        job.report = list({row["blob"]: row for row in job.report}.values())
        if job.report:
            job.counts = {**job.counts, "lost": len(job.report)}
        needed = reshaping.let_go(
            maps.lock(session), actor=job.actor, all_seen=not job.report
        )
        if needed:
            names = ", ".join(f"slot {slot}" for slot in needed)
            job.problem = (
                f"Files that could not be written anew still need {names}, so its "
                "member stays. Look at the report and at the members, then narrow the "
                "slot again; or retire its member to do without it."
            )


def _live() -> tuple[ColumnElement[bool], ...]:
    return (Blob.state == BlobState.LIVE, Blob.form.in_(_ROLES))


def _refuse_while_degraded(array: Array) -> None:
    wanted = {entry.slot for entry in array.map.slots if not entry.leaving}
    if missing := wanted - set(array.writable()):
        names = ", ".join(array.label(slot) for slot in sorted(missing))
        raise MembersAway(
            f"Files are written anew only while every member takes new data, and some "
            f"don't ({names}). The reshape goes on by itself when they do."
        )


@dataclass
class _Place:
    """Where a walk is: which pass, what asks for another one, and the last uuid.

    That is what was written anew in it, and uploads on their way when it began: they
    may come to lie behind it.
    """

    number: int = 1
    again: int = 0
    after: UUID = _FIRST

    @classmethod
    def parse(cls, cursor: str | None, job: int) -> "_Place":
        if cursor is None:
            return cls(again=int(_older_uploads(job)))
        number, again, after = cursor.split(":")
        return cls(int(number), int(again), UUID(after))

    def __str__(self) -> str:
        return f"{self.number}:{self.again}:{self.after.hex}"


class _Walk:
    """One step of the job."""

    def __init__(self, claim: Claim, array: Array) -> None:
        self._claim = claim
        self._array = array
        self._target = _Target.of(array)
        self._place = _Place.parse(claim.cursor, claim.id)
        self._step = Step()

    def run(self) -> Step:
        """Go on until the time of the step is over or the walk has ended."""
        rows = self._next()
        for blob in rows:
            self._look(blob)
            self._place.after = blob.uuid
            if not self._claim.in_time():
                break
        else:
            if len(rows) < BATCH:
                self._end_pass()
        self._step.cursor = str(self._place)
        return self._step

    def _next(self) -> list[Blob]:
        found = db.session.scalars(
            select(Blob)
            .where(*_live(), Blob.uuid > self._place.after)
            .order_by(Blob.uuid)
            .limit(BATCH)
        ).all()
        release()
        return list(found)

    def _end_pass(self) -> None:
        """Start over until a pass found nothing that was or may come to be old."""
        older = int(_older_uploads(self._claim.id))
        if self._place.again or older:
            self._place = _Place(self._place.number + 1, again=older)
        else:
            self._step.done = True

    def _look(self, blob: Blob) -> None:
        first = self._place.number == 1
        self._step.objects += first
        self._step.bytes += blob.size if first else 0
        try:
            manifest = manifest_of(runtime(), self._array, reference(blob))
            if self._is_right(manifest):
                self._step.count("fitting")
                return
            rewrite(blob, manifest)
            self._place.again += 1
            self._step.count("rewritten")
        except BlobGone:
            self._step.count("gone")
        except (BlobDamaged, BlobUnreachable, NotTheSame, WrongDigest) as error:
            self._step.count("lost")
            why = str(error)
            self._step.report.append({"blob": str(blob.uuid), "why": why})

    def _is_right(self, manifest: Manifest) -> bool:
        rows = manifest.segments
        return all(self._target.fits(row.shape, row.slots) for row in rows)


def _older_uploads(number: int) -> bool:
    """Tell whether an upload goes on that may have begun before the job came."""
    asked = db.session.scalars(select(Job.created_at).where(Job.id == number)).one()
    wanted = select(Upload.blob).where(Upload.started_at < asked + _MARGIN).limit(1)
    found = db.session.scalar(wanted)
    release()
    return found is not None


class _Copy:
    """The verified bytes of a blob as the body of an upload, hashed on their way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.hasher = blake3()

    def readinto(self, view: memoryview) -> int:
        """Fill some of a view; 0 is the end."""
        if not self._rest:
            chunk = next(self._chunks, b"")
            self.hasher.update(chunk)
            self._rest = memoryview(chunk)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def rewrite(blob: Blob, manifest: Manifest) -> UUID:
    """Write a blob anew in the present shape and let its files name the new one.

    Raises `BlobGone` when the last file let go of it meanwhile, and then leaves
    nothing; returns the new uuid.
    """
    said = manifest.description
    wanted = blobs.Wanted(
        said.name,
        said.folder,
        said.owner,
        said.media_type,
        owner_id=None,
        size=blob.size,
        sha256=blob.sha256,
        uploaded_us=said.uploaded_us,
    )
    copy = _Copy(blobs.open_blob(blob).chunks())
    with blobs.receive(wanted, copy, lambda _: None) as incoming:
        _compare(incoming, copy.hasher.digest())
        _switch(blob.uuid, incoming)
    return incoming.blob


def _compare(incoming: blobs.Incoming, expected: bytes) -> None:
    """Read the new blob back from the members before anything depends on it."""
    hasher = blake3()
    for chunk in incoming.read_back():
        hasher.update(chunk)
    if hasher.digest() != expected:
        raise NotTheSame(
            "A file that was written anew did not read back the same, so the old one "
            "stays. Look at the members, then ask for the reshape again."
        )


def _switch(old: UUID, incoming: blobs.Incoming) -> None:
    with transaction() as session:
        pointers.lock(session, old)
        maps.lock(session)
        state = session.scalar(
            select(Blob.state).where(Blob.uuid == old).with_for_update()
        )
        if state != BlobState.LIVE:
            raise BlobGone
        incoming.commit(session, verified_at=utcnow())
        pointers.repoint(session, old, incoming.blob)
        blobs.release(session, [old])


runner.register(JobKind.RESHAPE, Reshape())
