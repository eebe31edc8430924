"""Purged blobs that a member keeps, because the program can't destroy what it holds.

Such a member denies every deletion (a role without s3:DeleteObject), or what it deletes
stays as an older version (versioning, Object Lock). It is a good member all the same.
Its tombstone stays owed, with the reason `kept`: so the row of the blob stays, with it
the tombstones on every member, and nobody ever takes what is kept for a file. It is
tried again, because a right may be given and versions may expire, but ever less often:
each try costs some requests, and most buckets end versions after weeks.
"""

from collections import defaultdict
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_, update

from raid.array import Array
from raid.errors import ObjectKept
from raid.keys import blob_prefix
from storage import debts, history, maps
from storage.clock import AHEAD
from storage.db import db, transaction, utcnow
from storage.models import Debt, DebtKind, Reason
from storage.tombstones import Pairs, owe_again

WAITS = tuple(timedelta(days=n) for n in (1, 1, 2, 4, 8, 16, 30))
"""How long after each try: it comes when a blob has been kept for 1, 2, 4, 8, 16 and
32 days, and every 30 days from then on. `Debt.tries` counts them, up to the last."""
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
        members = {member for _, member in pairs}
        known = {member for member in members if _keeps_any(session, member)}
        pairs = owe_again(locked, pairs)
        _put_off(session, pairs)
        for member in sorted({member for _, member in pairs} - known):
            seat = array.seat(member)
            slot = None if seat is None else seat[1]
            history.note(session, "member_keeps", slot=slot, member=member)


def _keeps_any(session: maps.AnySession, member: UUID) -> bool:
    found = select(Debt.id).where(Debt.member_uuid == member, _IS_TOMBSTONE, _IS_KEPT)
    return session.scalar(found.limit(1)) is not None


def _put_off(session: maps.AnySession, pairs: Pairs) -> None:
    """Let those that were kept before wait for longer than those that are new."""
    now, waiting = utcnow(), defaultdict[int, list[int]](list)
    found = session.execute(
        select(Debt.id, Debt.tries, Debt.reason).where(
            tuple_(Debt.blob, Debt.member_uuid).in_(pairs), _IS_TOMBSTONE
        )
    )
    for row in found:
        before = row.tries if row.reason == Reason.KEPT else 0
        waiting[min(before + 1, len(WAITS))].append(row.id)
    for tries, ids in waiting.items():
        said = {"reason": Reason.KEPT, "tries": tries, "due_at": now + WAITS[tries - 1]}
        session.execute(
            update(Debt).where(Debt.id.in_(ids)).values(said), execution_options=_PLAIN
        )


_IS_TOMBSTONE = Debt.kind == DebtKind.TOMBSTONE
_IS_KEPT = Debt.reason == Reason.KEPT


def is_worth_a_try() -> ColumnElement[bool]:
    """Match the debts of tombstones but those that were found to be kept of late.

    One that is being tried is claimed: due again in a moment, and not in a day. One
    that would be due later than its tries allow was found by a clock that was wrong.
    """
    now = utcnow()
    claimed = now + timedelta(seconds=debts.CLAIM_SECONDS)
    # Each debt is compared with one moment only: all are asked this, in each round.
    too_late = [
        and_(Debt.tries == tries, Debt.due_at > now + wait + AHEAD)
        for tries, wait in enumerate((WAITS[0], *WAITS))
    ]
    return or_(~_IS_KEPT, Debt.due_at <= claimed, *too_late)


def counts() -> dict[UUID, int]:
    """Return how many purged blobs members keep; who keeps none is left out."""
    rows = db.session.execute(
        select(Debt.member_uuid, func.count())
        .where(_IS_KEPT)
        .group_by(Debt.member_uuid)
    )
    return {row[0]: row[1] for row in rows}


def keeps(session: maps.AnySession, member: UUID | None, blob: UUID) -> bool:
    """Tell whether it is known that a member keeps a purged blob."""
    mine = Debt.member_uuid == member, Debt.blob == blob, _IS_KEPT
    return session.scalar(select(Debt.id).where(*mine)) is not None
