"""Purged blobs that a member keeps, because the program can't destroy what it holds.

Such a member denies every deletion (a role without s3:DeleteObject), or what it deletes
stays as an older version (versioning, Object Lock). It is a good member all the same.
Its tombstone stays owed, with the reason `kept`: so the row of the blob stays, with it
the tombstones on every member, and nobody ever takes what is kept for a file. It is
tried again once a day, because a right may be given and versions may expire.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, tuple_, update

from raid.array import Array
from raid.errors import ObjectKept
from raid.keys import blob_prefix
from storage import debts, history, maps
from storage.clock import AHEAD
from storage.db import db, transaction, utcnow
from storage.models import Debt, DebtKind, Reason
from storage.tombstones import Pairs, owe_again

AGAIN_AFTER = timedelta(days=1)
_PLAIN = {"synchronize_session": False}


def erase(array: Array, slot: int, blob: UUID) -> bool:
    """Remove the objects of a blob from a member; False when it keeps them."""
    with array.using(slot) as member:
        try:
            for info in list(member.list(blob_prefix(blob))):
                member.delete(info.key)
            # Objects that a killed worker removed are gone for good only after this.
            member.sync(blob_prefix(blob))
        except ObjectKept:
            return False
        return not member.keeps(blob_prefix(blob))


def note(array: Array, pairs: Pairs) -> None:
    """Let a tombstone stay owed, because its member keeps the blob.

    Also to a member that had acknowledged it and now does not give the tombstone up.
    """
    if not pairs:
        return
    with transaction() as session:
        locked = maps.lock(session)
        known = counts(session)
        pairs = owe_again(locked, pairs)
        session.execute(
            update(Debt)
            .where(tuple_(Debt.blob, Debt.member_uuid).in_(pairs), _IS_TOMBSTONE)
            .values(reason=Reason.KEPT, tries=0, due_at=utcnow() + AGAIN_AFTER),
            execution_options=_PLAIN,
        )
        for member in sorted({member for _, member in pairs} - set(known)):
            seat = array.seat(member)
            slot = None if seat is None else seat[1]
            history.note(session, "member_keeps", slot=slot, member=member)


_IS_TOMBSTONE = Debt.kind == DebtKind.TOMBSTONE
_IS_KEPT = Debt.reason == Reason.KEPT


def is_worth_a_try() -> ColumnElement[bool]:
    """Match the debts of tombstones but those that were found to be kept of late.

    One that is being tried is claimed: due again in a moment, and not in a day. One
    that would be due in more than a day was found by a clock that was wrong.
    """
    now = utcnow()
    claimed = now + timedelta(seconds=debts.CLAIM_SECONDS)
    too_late = now + AGAIN_AFTER + AHEAD
    return or_(~_IS_KEPT, Debt.due_at <= claimed, Debt.due_at > too_late)


def counts(session: maps.AnySession | None = None) -> dict[UUID, int]:
    """Return how many purged blobs members keep; who keeps none is left out."""
    rows = (session or db.session).execute(
        select(Debt.member_uuid, func.count())
        .where(_IS_KEPT)
        .group_by(Debt.member_uuid)
    )
    return {row[0]: row[1] for row in rows}


def keeps(session: maps.AnySession, member: UUID | None, blob: UUID) -> bool:
    """Tell whether it is known that a member keeps a purged blob."""
    mine = Debt.member_uuid == member, Debt.blob == blob, _IS_KEPT
    return session.scalar(select(Debt.id).where(*mine)) is not None
