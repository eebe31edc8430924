"""Where a purge begins: rows that say who is owed a tombstone, in one transaction.

`storage.purge` goes on from there.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update

from raid.manifest import Form
from raid.superblock import StoredState
from storage import debts, maps
from storage.clock import earliest
from storage.db import transaction, utcnow
from storage.models import Blob, BlobState, Debt, DebtKind, MemberRow

BATCH = 256
_PLAIN = {"synchronize_session": False}

Pairs = Collection[tuple[UUID, UUID]]
"""Blobs, each with a member."""


def begin_due() -> int:
    """Start the purge of the blobs whose grace has ended; returns how many."""
    with transaction() as session:
        locked = maps.lock(session)
        due = session.scalars(
            select(Blob.uuid)
            .where(Blob.state == BlobState.TOMBSTONED, Blob.due_at <= earliest())
            .order_by(Blob.due_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        if due:
            locked.refuse_readonly()
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
        select(MemberRow.uuid).where(
            MemberRow.slot.is_not(None) | MemberRow.target_slot.is_not(None),
            MemberRow.state != StoredState.RETIRED,
        )
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


def owe_again(locked: maps.LockedMap, pairs: Pairs, **said: Any) -> Pairs:
    """Owe tombstones to members that had acknowledged them and don't give them up.

    Only of purges that are on their way; what is owed already stays as it is. Returns
    the pairs without those whose member is used no more: it is owed nothing.
    """
    used = {one.uuid for one in locked.members if one.state != StoredState.RETIRED}
    pairs = [pair for pair in pairs if pair[1] in used]
    wanted = Blob.uuid.in_({blob for blob, _ in pairs})
    rows = locked.session.execute(
        select(Blob.uuid, Blob.attempt).where(wanted, Blob.state == BlobState.PURGING)
    )
    attempts = {row.uuid: row.attempt for row in rows}
    debts.add(
        locked.session,
        [
            {
                "member_uuid": member,
                "kind": DebtKind.TOMBSTONE,
                "blob": blob,
                "attempt": attempts[blob],
                **said,
            }
            for blob, member in pairs
            if blob in attempts
        ],
    )
    return pairs


def owe_to(session: maps.AnySession, member: UUID) -> None:
    """Owe a member that comes into a slot the tombstones of every purge on its way.

    It has none of those objects; but a member that owes no tombstone counts as one
    that has it.
    """
    purging = select(Blob.uuid, Blob.attempt).where(Blob.state == BlobState.PURGING)
    debts.add(
        session,
        [
            {
                "member_uuid": member,
                "kind": DebtKind.TOMBSTONE,
                "blob": row.uuid,
                "attempt": row.attempt,
            }
            for row in session.execute(purging)
        ],
    )
