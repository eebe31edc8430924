"""Purging: bytes that no file names any more go from every member, and stay gone.

due -> tombstones are owed to every member      (rows, one transaction)
    -> tombstones on m+1 members                (whoever finds objects knows)
    -> objects go, the member acknowledges      (its debt goes; see `storage.kept` for
                                                one that keeps them)
    -> all have: tombstones go, then the row

Several workers do this side by side: each claims a few at a time.

Tombstones never fill a member. Each stands where a manifest stood that is no smaller on
the disk, they come in batches, and the reserve is there for a batch. A member that has
no byte left gives its objects up without one, as soon as m+1 others hold theirs.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, tuple_, update

from raid import repair
from raid.array import Array
from raid.errors import (
    MemberError,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    ObjectKept,
)
from raid.superblock import StoredState
from storage import debts, kept, maps
from storage.db import db, release, transaction, utcnow
from storage.models import Blob, BlobState, Debt, DebtKind, Reason
from storage.tombstones import begin_due, owe_again

BATCH = 64
"""The most at once: disks take so many in a moment, buckets a few."""
FIRST_BATCH = 8
BATCH_SECONDS = 1.0
"""A batch that took longer is followed by a smaller one: the worker has other work."""
# So many tries wait for the longest: an end leaves no count of those before.
_OFTEN = 10
_LOG = logging.getLogger("holdfast.purge")
_PLAIN = {"synchronize_session": False}

Held = dict[UUID, set[UUID]]
"""Blobs, and the members of which something is true."""

Failed = list[tuple[UUID, UUID]]
"""What was not done: by which member, and the blob at which it failed."""


def run(array: Array, stop: debts.Stop = lambda: False) -> int:
    """Go on with every purge that can go on now; returns how many ended.

    A member that fails is left alone for the rest of the round, so what only waits for
    it does not keep the others from their turn.
    """
    ended, size = 0, FIRST_BATCH
    last: list[UUID] = []
    failed: Failed = []
    while not stop():
        begin_due()
        blobs = _waiting(array, failed, size)
        if not blobs or blobs == last:
            break
        begun = time.monotonic()
        with _claimed(blobs) as mine:
            ended += _advance(array, mine, failed)
        quick = time.monotonic() - begun < BATCH_SECONDS
        size = min(size * 2, BATCH) if quick else max(size // 2, 1)
        last = blobs
    _put_off(failed)
    if ended:
        _LOG.info("Blobs were purged.", extra={"fields": {"blobs": ended}})
    return ended


def _waiting(array: Array, failed: Failed, most: int) -> list[UUID]:
    """Return blobs being purged that can go further on a member that is here."""
    everyone, sick = _everyone(array), {member for member, _ in failed}
    # A read-only one takes no tombstone; its blobs must not keep the others waiting.
    here = {one for one in everyone - sick if _takes_tombstones(array, one)}
    owed = exists().where(Debt.blob == Blob.uuid)
    wanted: list[ColumnElement[bool]] = [
        owed.where(Debt.member_uuid.in_(here), _is_due())
    ]
    if here >= everyone:
        # What every member has let go of ends on all of them, or waits.
        wanted.append(~owed)
    found = db.session.scalars(
        select(Blob.uuid)
        .where(Blob.state == BlobState.PURGING, or_(*wanted))
        .order_by(Blob.tombstoned_at, Blob.uuid)
        .limit(most)
    ).all()
    release()
    return list(found)


def _is_due() -> ColumnElement[bool]:
    return and_(debts.is_due(utcnow()), kept.is_worth_a_try())


@contextmanager
def _claimed(blobs: Sequence[UUID]) -> Iterator[list[UUID]]:
    """Yield those that no other worker is at; they are one's own for a while.

    What is left of them afterwards is anybody's again. One that nobody owes a
    tombstone has no row to claim: what is still to be done to it is harmless twice.
    """
    of_these = Debt.blob.in_(blobs), Debt.kind == DebtKind.TOMBSTONE
    until = utcnow() + timedelta(seconds=debts.CLAIM_SECONDS)
    with transaction() as session:
        maps.lock(session)
        owed = set(session.scalars(select(Debt.blob).where(*of_these)))
        taken = set(
            session.scalars(
                update(Debt)
                .where(*of_these, _is_due())
                .values(due_at=until)
                .returning(Debt.blob),
                execution_options=_PLAIN,
            )
        )
    try:
        yield [blob for blob in blobs if blob in taken or blob not in owed]
    finally:
        _let_go(taken, until)


def _let_go(taken: set[UUID], until: datetime) -> None:
    mine = Debt.blob.in_(taken), Debt.due_at == until
    if db.session.scalar(select(Debt.id).where(*mine).limit(1)) is None:
        release()
        return
    with transaction() as session:
        maps.lock(session)
        session.execute(
            update(Debt).where(*mine).values(due_at=utcnow()), execution_options=_PLAIN
        )


def _everyone(array: Array) -> set[UUID]:
    """Return the members that must let go of what is purged."""
    slots = [e.member for e in array.map.slots if e.state is not StoredState.RETIRED]
    return {*slots, *(waiting.member for waiting in array.newcomers())}


def _takes_tombstones(array: Array, member: UUID) -> bool:
    seat = array.seat(member)
    if seat is None:
        return False
    seated, slot = seat
    error = seated.health.error(slot)
    return slot in seated.readable() and not isinstance(error, MemberReadOnly)


def advance(array: Array, blobs: Sequence[UUID]) -> int:
    """Take these purges as far as the members allow; returns how many ended."""
    failed: Failed = []
    ended = _advance(array, blobs, failed)
    _put_off(failed)
    return ended


def _advance(array: Array, blobs: Sequence[UUID], failed: Failed) -> int:
    rows, owed = _look(blobs)
    everyone = _everyone(array)
    due = _by_member(everyone, owed)
    told, full = _tell(array, rows, due, failed)
    enough = array.map.shape.m + 1
    sure = {
        uuid
        for uuid in rows
        if len((everyone - _owing(due, uuid)) | told[uuid]) >= enough
    }
    work = {
        member: [
            uuid
            for uuid in wanted
            if uuid in sure and (member in told[uuid] or (member, uuid) in full)
        ]
        for member, wanted in due.items()
    }
    done = _erase(array, work, failed)
    _acknowledge(done)
    over = [uuid for uuid in rows if done[uuid] >= _owing(due, uuid)]
    return _finish(array, over, failed)


def _look(blobs: Sequence[UUID]) -> tuple[dict[UUID, Blob], list[tuple[UUID, UUID]]]:
    """Return the blobs that are still being purged, and who owes what.

    A member that keeps a blob has its tombstone, and is not asked each time.
    """
    rows = db.session.scalars(
        select(Blob).where(Blob.uuid.in_(blobs), Blob.state == BlobState.PURGING)
    ).all()
    owed = db.session.execute(
        select(Debt.blob, Debt.member_uuid).where(
            Debt.blob.in_(blobs), kept.is_worth_a_try()
        )
    ).all()
    release()
    return {row.uuid: row for row in rows}, [(row[0], row[1]) for row in owed]


def _by_member(
    everyone: set[UUID], owed: Iterable[tuple[UUID, UUID]]
) -> dict[UUID, list[UUID]]:
    due: dict[UUID, list[UUID]] = defaultdict(list)
    for blob, member in owed:
        if member in everyone:
            due[member].append(blob)
    return due


def _owing(due: Mapping[UUID, list[UUID]], uuid: UUID) -> set[UUID]:
    return {member for member, blobs in due.items() if uuid in blobs}


def _tell(
    array: Array,
    rows: Mapping[UUID, Blob],
    due: Mapping[UUID, list[UUID]],
    failed: Failed,
) -> tuple[Held, set[tuple[UUID, UUID]]]:
    """Put tombstones on the members that have none; they fit on a full one, too.

    Returns who has them, and who has not one byte left even of the reserve.
    """
    full: set[tuple[UUID, UUID]] = set()

    def put(seated: Array, slot: int, uuid: UUID) -> None:
        blob = rows[uuid]
        since = maps.microseconds(blob.tombstoned_at or blob.created_at)
        try:
            repair.put_tombstone(seated, slot, uuid, blob.attempt, since)
        except MemberFull:
            full.add((seated.uuid_of(slot), uuid))

    wanted = {member: [u for u in blobs if u in rows] for member, blobs in due.items()}
    held = _on_members(array, wanted, put, failed)
    for member, uuid in full:
        held[uuid].discard(member)
    return held, full


def _on_members(
    array: Array,
    work: Mapping[UUID, Sequence[UUID]],
    step: Callable[[Array, int, UUID], None],
    failed: Failed,
) -> Held:
    """Do a step for the blobs of each member, the members side by side.

    A member goes no further than to the blob at which it fails, in this round.
    """

    def on_member(member: UUID) -> list[UUID]:
        done: list[UUID] = []
        seat = array.seat(member)
        if seat is None:
            return done
        seated, slot = seat
        try:
            for uuid in work[member]:
                if not seated.health.usable(slot):
                    break
                step(seated, slot, uuid)
                done.append(uuid)
        except MemberError as error:
            if not isinstance(error, MemberMissing):  # that one goes on when it is back
                failed.append((member, uuid))
            fields = {"slot": slot}
            _LOG.info("A purge waits for a member: %s", error, extra={"fields": fields})
        return done

    held: Held = defaultdict(set)
    sick = {member for member, _ in failed}
    members = [member for member in work if work[member] and member not in sick]
    results = array.executor.map(on_member, members)
    for member, done in zip(members, results, strict=True):
        for uuid in done:
            held[uuid].add(member)
    return held


def _erase(array: Array, work: Mapping[UUID, Sequence[UUID]], failed: Failed) -> Held:
    """Remove the objects of blobs; returns who has let go of which.

    Who keeps them is noted, and has not.
    """
    stays: set[tuple[UUID, UUID]] = set()

    def step(seated: Array, slot: int, uuid: UUID) -> None:
        if not kept.erase(seated, slot, uuid):
            stays.add((uuid, seated.uuid_of(slot)))

    return _without(array, stays, _on_members(array, work, step, failed))


def _without(array: Array, stays: set[tuple[UUID, UUID]], done: Held) -> Held:
    kept.note(array, stays)
    for uuid, member in stays:
        done[uuid].discard(member)
    return done


def _acknowledge(done: Held) -> None:
    pairs = [(uuid, member) for uuid in done for member in done[uuid]]
    if not pairs:
        return
    with transaction() as session:
        maps.lock(session)
        session.execute(
            delete(Debt).where(
                tuple_(Debt.blob, Debt.member_uuid).in_(pairs),
                Debt.kind == DebtKind.TOMBSTONE,
            ),
            execution_options=_PLAIN,
        )


def _put_off(failed: Failed) -> None:
    """Let what a member failed at wait, so that it goes on behind that next time.

    A tombstone that it can't remove, although it had acknowledged it, is owed again:
    without a debt it would come first in every round, and no purge would end.
    """
    if not failed:
        return
    with transaction() as session:
        locked = maps.lock(session)
        for member, uuid in failed:
            mine = (
                Debt.blob == uuid,
                Debt.member_uuid == member,
                Debt.kind == DebtKind.TOMBSTONE,
            )
            asked = select(Debt.tries, Debt.reason).where(*mine)
            known = session.execute(asked).first()
            if known is None:
                # The member lacks nothing: the reason must not keep it out of sync.
                why = {"reason": Reason.DAMAGED, **debts.later(_OFTEN)}
                owe_again(locked, [(uuid, member)], **why)
            else:
                values = debts.later(known.tries)
                if known.reason == Reason.KEPT:
                    del values["tries"]  # it counts how often it was found to be kept
                session.execute(
                    update(Debt).where(*mine).values(values), execution_options=_PLAIN
                )


def _finish(array: Array, candidates: Sequence[UUID], failed: Failed) -> int:
    """Drop the tombstones of what every member has let go of, then the rows."""
    owed = set(
        db.session.scalars(select(Debt.blob).where(Debt.blob.in_(candidates))).all()
    )
    release()
    over = [uuid for uuid in candidates if uuid not in owed]
    everyone = _everyone(array)
    stays: set[tuple[UUID, UUID]] = set()

    def drop(seated: Array, slot: int, uuid: UUID) -> None:
        try:
            repair.drop_tombstone(seated, slot, uuid)
        except ObjectKept:
            stays.add((uuid, seated.uuid_of(slot)))

    work = dict.fromkeys(everyone, over)
    dropped = _without(array, stays, _on_members(array, work, drop, failed))
    gone = [uuid for uuid in over if len(dropped[uuid]) == len(everyone)]
    if gone:
        with transaction() as session:
            maps.lock(session)
            owed_still = exists().where(Debt.blob == Blob.uuid)
            session.execute(
                delete(Blob).where(
                    Blob.uuid.in_(gone), Blob.state == BlobState.PURGING, ~owed_still
                ),
                execution_options=_PLAIN,
            )
    return len(gone)
