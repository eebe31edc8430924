"""Where a purge begins: rows that say who is owed a tombstone, in one transaction.

`storage.purge` goes on from there.
"""

from collections.abc import Sequence
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
