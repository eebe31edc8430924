"""The walk of a scrub: live blobs in the order of their uuids, segment by segment."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
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
MOST_LOOKERS = 8
"""How many threads look at once where every request takes its time on the way.

Near members answer as fast as they can be hashed, and threads beyond the processors
only wait for the interpreter's lock there.
"""


def lookers(array: Array) -> int:
    """Return how many threads look at the members at once."""
    far = any(member.run_units > 1 for member in array.members.values())
    return MOST_LOOKERS if far else min(MOST_LOOKERS, os.cpu_count() or 1)


@dataclass(frozen=True)
class Piece:
    """A segment, or a blob without any, and what was seen of it."""

    at: str
    after: str
    look: Look
    hopeless: bool
    size: int
    ends_blob: bool
    unmeasured: Manifest | None = None
    """The manifest of a blob whose slots and share the rows do not know yet."""
    alone: bool = True
    """Whether nothing behind it is being looked at already."""


class _Begun:
    """A piece that a thread is looking at."""

    def __init__(
        self, scene: "_Scene", blob: Blob, manifest: Manifest, number: int
    ) -> None:
        self._array, self._blob = scene.array, blob
        self._manifest, self._number = manifest, number
        self._seen = scene.pool.submit(_look_at, scene, manifest, number)

    def piece(self) -> Piece:
        """Wait for what was seen, and judge it."""
        found, hopeless, size = Look(), False, self._blob.size
        manifests, segment = self._seen.result()
        if manifests is not None:
            found = _confirmed(self._array, manifests)
            hopeless = found.lost > self._array.map.shape.m
        rows = self._manifest.segments
        if segment is not None:
            row, look = rows[self._number], _confirmed(self._array, segment)
            found.add(look)
            hopeless |= look.lost > row.shape.m
            size = row.length
        last = self._number + 1 >= len(rows)
        piece = _piece(self._blob, self._number, found, hopeless, size, last=last)
        unmeasured = last and self._blob.slots is None
        return replace(piece, unmeasured=self._manifest if unmeasured else None)


def _look_at(
    scene: "_Scene", manifest: Manifest, number: int
) -> tuple[Look | None, Look | None]:
    """Look at the manifests of a blob, with its first piece, and at one segment."""
    manifests = look_at_manifests(scene.array, manifest) if number == 0 else None
    if not manifest.segments:
        return manifests, None
    return manifests, look_at_segment(scene.array, manifest, number, scene.pick)


class _Unread:
    """A piece of a blob whose manifest could not be had, so nothing was begun."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    def piece(self) -> Piece:
        """Return it."""
        return self._piece


@dataclass(frozen=True)
class _Scene:
    """What a walk looks at, the threads that do, and who picks the samples."""

    array: Array
    pool: Executor
    pick: Pick
    ahead: int
    """How many pieces are begun while one is waited for."""


def pieces(
    array: Array, cursor: str | None, pick: Pick, in_time: Callable[[], bool]
) -> Iterator[Piece]:
    """Look at one piece after the other from a cursor on, a few of them ahead.

    When time is up nothing more is begun that nobody asked for: stop at a piece that
    is `alone`. No snapshot of the database is held meanwhile.
    """
    begun: deque[_Begun | _Unread] = deque()
    threads = lookers(array)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scrub")
    scene = _Scene(array, pool, pick, ahead=threads + 1)
    source = _begin(scene, cursor)
    try:
        while True:
            while len(begun) <= (scene.ahead if in_time() else 0):
                one = next(source, None)
                if one is None:
                    break
                begun.append(one)
            if not begun:
                return
            piece = begun[0].piece()
            begun.popleft()
            yield replace(piece, alone=not begun)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(scene: _Scene, cursor: str | None) -> Iterator[_Begun | _Unread]:
    uuid, number = _parse(cursor)
    for asked in _asked(scene, _live(uuid, again=number is not None)):
        first = number or 0 if asked.blob.uuid == uuid else 0
        yield from _of_blob(scene, asked, first)


@dataclass(frozen=True)
class _Asked:
    """A blob whose manifest a thread is having, and what that one met."""

    blob: Blob
    manifest: Future[Manifest]
    met: list[Damage]


def _asked(scene: _Scene, blobs: Iterator[Blob]) -> Iterator[_Asked]:
    """Have manifests read a few blobs ahead, so that nobody waits for one."""
    own, waiting = runtime(), deque[_Asked]()
    for blob in blobs:
        met: list[Damage] = []
        manifest = scene.pool.submit(
            manifest_of, own, scene.array, reference(blob), met.append
        )
        waiting.append(_Asked(blob, manifest, met))
        if len(waiting) > scene.ahead:
            yield waiting.popleft()
    yield from waiting


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


def _of_blob(scene: _Scene, asked: _Asked, first: int) -> Iterator[_Begun | _Unread]:
    array, blob = scene.array, asked.blob
    try:
        manifest = asked.manifest.result()
    except BlobDamaged:
        yield _Unread(_lost(array, blob, asked.met))
        return
    except (BlobUnreachable, UnknownVersion):
        slots = [entry.slot for entry in array.map.slots]
        look = Look(unreachable=slots)
        yield _Unread(_piece(blob, 0, look, False, blob.size, last=True))
        return
    for number in range(first, max(1, len(manifest.segments))):
        yield _Begun(scene, blob, manifest, number)


def _piece(
    blob: Blob, number: int, look: Look, hopeless: bool, size: int, *, last: bool
) -> Piece:
    at, after = f"{blob.uuid.hex}:{number}", f"{blob.uuid.hex}:{number + 1}"
    return Piece(at, blob.uuid.hex if last else after, look, hopeless, size, last, None)


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
