"""Purging: bytes that no file names any more go from every member, and stay gone.

due -> tombstones are owed to every member      (rows, one transaction)
    -> tombstones on m+1 members                (whoever finds objects knows)
    -> objects go, the member acknowledges      (its debt goes)
    -> all have: tombstones go, then the row
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import delete, exists, select, tuple_, update

from raid import repair
from raid.array import Array
from raid.errors import MemberError, MemberReadOnly
from raid.keys import blob_prefix
from raid.manifest import Form
from storage import debts, maps
from storage.clock import earliest
from storage.db import db, release, transaction, utcnow
from storage.models import Blob, BlobState, Debt, DebtKind, MemberRow

BATCH = 64
_LOG = logging.getLogger("holdfast.purge")
_PLAIN = {"synchronize_session": False}

Held = dict[UUID, set[int]]
"""Blobs, and the slots of which something is true."""


def begin_due() -> int:
    """Start the purge of the blobs whose grace has ended; returns how many."""
    with transaction() as session:
        due = session.scalars(
            select(Blob.uuid)
            .where(Blob.state == BlobState.TOMBSTONED, Blob.due_at <= earliest())
            .order_by(Blob.due_at)
            .limit(BATCH * 4)
            .with_for_update(skip_locked=True)
        ).all()
        if due:
            maps.lock(session).refuse_readonly()
            session.execute(
                update(Blob).where(Blob.uuid.in_(due)).values(state=BlobState.PURGING),
                execution_options=_PLAIN,
            )
            _owe_tombstones(session, due)
    return len(due)


def doom(session: maps.AnySession, blob: UUID, attempt: int) -> None:
    """Begin the purge of an upload that never became a blob."""
    now = utcnow()
    session.add(
        Blob(
            uuid=blob,
            size=0,
            form=Form.EMPTY,
            attempt=attempt,
            manifest_digest=b"",
            root=b"",
            state=BlobState.PURGING,
            tombstoned_at=now,
            due_at=now,
        )
    )
    session.flush()
    _owe_tombstones(session, [blob])


def _owe_tombstones(session: maps.AnySession, blobs: Sequence[UUID]) -> None:
    """Owe every member a tombstone, and nothing else of these blobs."""
    session.execute(
        delete(Debt).where(Debt.blob.in_(blobs), Debt.kind != DebtKind.TOMBSTONE),
        execution_options=_PLAIN,
    )
    attempts = dict(
        session.execute(
            select(Blob.uuid, Blob.attempt).where(Blob.uuid.in_(blobs))
        ).all()
    )
    members = session.scalars(
        select(MemberRow.uuid).where(MemberRow.slot.is_not(None))
    ).all()
    debts.add(
        session,
        [
            {
                "member_uuid": member,
                "kind": DebtKind.TOMBSTONE,
                "blob": blob,
                "attempt": attempts[blob],
            }
            for blob in blobs
            for member in members
        ],
    )


def run(array: Array, stop: debts.Stop = lambda: False) -> int:
    """Go on with every purge that can go on now; returns how many ended."""
    ended = 0
    last: list[UUID] = []
    while not stop():
        begin_due()
        blobs = _waiting(array)
        if not blobs or blobs == last:
            break
        ended += advance(array, blobs)
        last = blobs
    if ended:
        _LOG.info("Blobs were purged.", extra={"fields": {"blobs": ended}})
    return ended


def _waiting(array: Array) -> list[UUID]:
    """Return blobs being purged of which a reachable member knows nothing yet."""
    # A read-only one takes no tombstone; its blobs must not keep the others waiting.
    here = [
        array.uuid_of(slot)
        for slot in array.readable()
        if not isinstance(array.health.error(slot), MemberReadOnly)
    ]
    owed = exists().where(Debt.blob == Blob.uuid)
    owed_here = owed.where(Debt.member_uuid.in_(here))
    found = db.session.scalars(
        select(Blob.uuid)
        .where(Blob.state == BlobState.PURGING, owed_here | ~owed)
        .order_by(Blob.tombstoned_at, Blob.uuid)
        .limit(BATCH)
    ).all()
    release()
    return list(found)


def advance(array: Array, blobs: Sequence[UUID]) -> int:
    """Take these purges as far as the members allow; returns how many ended."""
    rows, owed = _look(blobs)
    everyone = {entry.slot for entry in array.map.slots}
    due = _by_slot(array, owed)
    told = _tell(array, rows, due)
    enough = array.map.shape.m + 1
    sure = {
        uuid
        for uuid in rows
        if len((everyone - _owing(due, uuid)) | told[uuid]) >= enough
    }
    done = _on_members(
        array,
        {
            slot: [uuid for uuid in wanted if uuid in sure and slot in told[uuid]]
            for slot, wanted in due.items()
        },
        _erase_with(array),
    )
    _acknowledge(array, done)
    return _finish(array, [uuid for uuid in rows if done[uuid] >= _owing(due, uuid)])


def _look(blobs: Sequence[UUID]) -> tuple[dict[UUID, Blob], list[tuple[UUID, UUID]]]:
    """Return the blobs that are still being purged, and who owes what."""
    rows = db.session.scalars(
        select(Blob).where(Blob.uuid.in_(blobs), Blob.state == BlobState.PURGING)
    ).all()
    owed = db.session.execute(
        select(Debt.blob, Debt.member_uuid).where(Debt.blob.in_(blobs))
    ).all()
    release()
    return {row.uuid: row for row in rows}, [(row[0], row[1]) for row in owed]


def _by_slot(array: Array, owed: Iterable[tuple[UUID, UUID]]) -> dict[int, list[UUID]]:
    slots = {entry.member: entry.slot for entry in array.map.slots}
    due: dict[int, list[UUID]] = defaultdict(list)
    for blob, member in owed:
        if member in slots:
            due[slots[member]].append(blob)
    return due


def _owing(due: Mapping[int, list[UUID]], uuid: UUID) -> set[int]:
    return {slot for slot, blobs in due.items() if uuid in blobs}


def _tell(
    array: Array, rows: Mapping[UUID, Blob], due: Mapping[int, list[UUID]]
) -> Held:
    """Put tombstones on the members that have none; they fit on a full one, too."""

    def put(slot: int, uuid: UUID) -> None:
        blob = rows[uuid]
        since = maps.microseconds(blob.tombstoned_at or blob.created_at)
        repair.put_tombstone(array, slot, uuid, blob.attempt, since)

    wanted = {slot: [u for u in blobs if u in rows] for slot, blobs in due.items()}
    return _on_members(array, wanted, put)


def _on_members(
    array: Array,
    work: Mapping[int, Sequence[UUID]],
    step: Callable[[int, UUID], None],
) -> Held:
    """Do a step for the blobs of each slot, the members side by side."""

    def on_slot(slot: int) -> list[UUID]:
        done: list[UUID] = []
        try:
            for uuid in work[slot]:
                if not array.health.usable(slot):
                    break
                step(slot, uuid)
                done.append(uuid)
        except MemberError as error:
            fields = {"slot": slot}
            _LOG.info("A purge waits for a member: %s", error, extra={"fields": fields})
        return done

    held: Held = defaultdict(set)
    slots = [slot for slot in work if work[slot]]
    for slot, done in zip(slots, array.executor.map(on_slot, slots), strict=True):
        for uuid in done:
            held[uuid].add(slot)
    return held


def _erase_with(array: Array) -> Callable[[int, UUID], None]:
    def erase(slot: int, uuid: UUID) -> None:
        with array.using(slot) as member:
            for info in list(member.list(blob_prefix(uuid))):
                member.delete(info.key)

    return erase


def _acknowledge(array: Array, done: Held) -> None:
    pairs = [(uuid, array.uuid_of(slot)) for uuid in done for slot in done[uuid]]
    if not pairs:
        return
    with transaction() as session:
        session.execute(
            delete(Debt).where(
                tuple_(Debt.blob, Debt.member_uuid).in_(pairs),
                Debt.kind == DebtKind.TOMBSTONE,
            ),
            execution_options=_PLAIN,
        )


def _finish(array: Array, candidates: Sequence[UUID]) -> int:
    """Drop the tombstones of what every member has let go of, then the rows."""
    owed = set(
        db.session.scalars(select(Debt.blob).where(Debt.blob.in_(candidates))).all()
    )
    release()
    over = [uuid for uuid in candidates if uuid not in owed]
    slots = [entry.slot for entry in array.map.slots]
    dropped = _on_members(
        array,
        dict.fromkeys(slots, over),
        lambda slot, uuid: repair.drop_tombstone(array, slot, uuid),
    )
    gone = [uuid for uuid in over if len(dropped[uuid]) == len(slots)]
    if gone:
        with transaction() as session:
            owed_still = exists().where(Debt.blob == Blob.uuid)
            session.execute(
                delete(Blob).where(
                    Blob.uuid.in_(gone), Blob.state == BlobState.PURGING, ~owed_still
                ),
                execution_options=_PLAIN,
            )
    return len(gone)
