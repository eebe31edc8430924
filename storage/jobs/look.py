"""The walk of a scrub: live blobs in the order of their uuids, segment by segment."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
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
    start_manifests,
    start_segment,
)
from raid.segments import Damage
from raid.superblock import StoredState
from storage.blobref import manifest_of, reference
from storage.db import db, release
from storage.models import NONE, Blob, BlobState, Debt, MemberRow, Reason
from storage.runtime import runtime

_BATCH = 50
AHEAD = 3
"""How many pieces are begun while one is waited for."""


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
    """A piece that the threads are looking at."""

    def __init__(
        self, array: Array, blob: Blob, manifest: Manifest, number: int, pick: Pick
    ) -> None:
        self._array, self._blob, self._manifest = array, blob, manifest
        self._number = number
        self._manifests = start_manifests(array, manifest) if number == 0 else None
        self._segment = None
        if manifest.segments:
            self._segment = start_segment(array, manifest, number, pick)

    def piece(self) -> Piece:
        """Wait for what was seen, and judge it."""
        found, hopeless, size = Look(), False, self._blob.size
        if self._manifests is not None:
            found = _confirmed(self._array, self._manifests.result())
            hopeless = found.lost > self._array.map.shape.m
        rows = self._manifest.segments
        if self._segment is not None:
            row, look = rows[self._number], self._segment.result()
            look = _confirmed(self._array, look)
            found.add(look)
            hopeless |= look.lost > row.shape.m
            size = row.length
        last = self._number + 1 >= len(rows)
        piece = _piece(self._blob, self._number, found, hopeless, size, last=last)
        unmeasured = last and self._blob.slots is None
        return replace(piece, unmeasured=self._manifest if unmeasured else None)

    def drain(self) -> None:
        """Wait until nothing is read any more."""
        for one in (self._manifests, self._segment):
            if one is not None:
                one.drain()


class _Unread:
    """A piece of a blob whose manifest could not be had, so nothing was begun."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    def piece(self) -> Piece:
        """Return it."""
        return self._piece

    def drain(self) -> None:
        """Nothing is on its way."""


def pieces(
    array: Array, cursor: str | None, pick: Pick, in_time: Callable[[], bool]
) -> Iterator[Piece]:
    """Look at one piece after the other from a cursor on, a few of them ahead.

    When time is up nothing more is begun that nobody asked for: stop at a piece that
    is `alone`. No snapshot of the database is held meanwhile.
    """
    begun: deque[_Begun | _Unread] = deque()
    source = _begin(array, cursor, pick)
    try:
        while True:
            while len(begun) <= (AHEAD if in_time() else 0):
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
        for one in begun:
            one.drain()


def _begin(array: Array, cursor: str | None, pick: Pick) -> Iterator[_Begun | _Unread]:
    uuid, number = _parse(cursor)
    for asked in _asked(array, _live(uuid, again=number is not None)):
        first = number or 0 if asked.blob.uuid == uuid else 0
        yield from _of_blob(array, asked, first, pick)


@dataclass(frozen=True)
class _Asked:
    """A blob whose manifest a thread of the array is having, and what that one met."""

    blob: Blob
    manifest: Future[Manifest]
    met: list[Damage]


def _asked(array: Array, blobs: Iterator[Blob]) -> Iterator[_Asked]:
    """Have manifests read a few blobs ahead, so that nobody waits for one."""
    own, waiting = runtime(), deque[_Asked]()
    try:
        for blob in blobs:
            met: list[Damage] = []
            manifest = array.executor.submit(
                manifest_of, own, array, reference(blob), met.append
            )
            waiting.append(_Asked(blob, manifest, met))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        wait([one.manifest for one in waiting])


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


def _of_blob(
    array: Array, asked: _Asked, first: int, pick: Pick
) -> Iterator[_Begun | _Unread]:
    blob = asked.blob
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
        yield _Begun(array, blob, manifest, number, pick)


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
