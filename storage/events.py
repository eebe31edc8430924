"""The stored states of members on their way back, and the superblocks that tell it.

    in_sync -> stale         it missed a write
    stale -> rebuilding      it is back, and takes new writes
    rebuilding -> in_sync    it is owed nothing any more

Every arrow is an event. The first change is made by whoever writes (`debts.owe`), the
others by the worker, which then gives every member a superblock of the new event.
"""

import logging
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import or_, select, update

from raid import repair
from raid.array import Array
from raid.errors import MemberError, ObjectExists
from raid.superblock import StoredState, Superblock
from storage import debts, maps
from storage.db import db, release, transaction
from storage.models import ArrayRow, Debt, DebtKind, MemberRow, Reason

_LOG = logging.getLogger("holdfast.array")


def reachable(array: Array, slot: int) -> bool:
    """Tell whether a member answered when it was last asked, and takes writes."""
    return (
        slot in array.members
        and not array.health.unreachable(slot)
        and array.health.usable(slot, write=True)
    )


def welcome(array: Array) -> int:
    """Let stale members that are back take new writes again; returns how many."""
    back = [
        entry.member
        for entry in array.map.slots
        if entry.state == StoredState.STALE and reachable(array, entry.slot)
    ]
    changed = _change(back, StoredState.STALE, StoredState.REBUILDING)
    for uuid in changed:
        debts.hurry(uuid)
    return len(changed)


def settle(array: Array) -> int:
    """Put members in sync that are owed nothing any more; returns how many."""
    waiting = [
        entry.member
        for entry in array.map.slots
        if entry.state == StoredState.REBUILDING and reachable(array, entry.slot)
    ]
    ready = [uuid for uuid in waiting if not _owes(uuid)]
    return len(_change(ready, StoredState.REBUILDING, StoredState.IN_SYNC))


def _owes(member: UUID, session: maps.AnySession | None = None) -> bool:
    """Tell whether a member lacks anything; what is bad on it is another matter."""
    found = (session or db.session).scalar(
        select(Debt.id)
        .where(
            Debt.member_uuid == member,
            or_(Debt.reason == Reason.AWAY, Debt.kind == DebtKind.TOMBSTONE),
        )
        .limit(1)
    )
    if session is None:
        release()
    return found is not None


def _change(members: list[UUID], before: StoredState, after: StoredState) -> list[UUID]:
    if not members:
        return []
    changed = []
    with transaction() as session:
        locked = maps.lock(session)
        if locked.readonly:
            return []
        for row in locked.members:
            if row.uuid not in members or row.state != before:
                continue
            if after == StoredState.IN_SYNC and _owes(row.uuid, session):
                continue
            locked.set_state(row, after)
            changed.append(row.uuid)
            fields = {"slot": row.slot, "member": row.uuid, "state": after.value}
            _LOG.info("A member changed its state.", extra={"fields": fields})
    return changed


@dataclass(frozen=True)
class _Late:
    """A member that has not been given the superblock of the present event."""

    slot: int
    member: UUID
    superblock: Superblock


def write_superblocks(array: Array) -> int:
    """Give every reachable member the superblock of the present event."""
    written = 0
    for late in _late(array):
        try:
            repair.put_superblock(array, late.slot, late.superblock)
        except ObjectExists as error:
            _LOG.error("A member has another superblock of this event: %s", error)
            continue
        except MemberError as error:
            fields = {"slot": late.slot}
            _LOG.info("A superblock waits: %s", error, extra={"fields": fields})
            continue
        with transaction() as session:
            session.execute(
                update(MemberRow)
                .where(
                    MemberRow.uuid == late.member,
                    MemberRow.superblock_event < late.superblock.event,
                )
                .values(superblock_event=late.superblock.event),
                execution_options={"synchronize_session": False},
            )
        written += 1
    return written


def _late(array: Array) -> list[_Late]:
    """Make the superblocks out of one snapshot of the rows."""
    row = db.session.scalars(select(ArrayRow)).one()
    members = db.session.scalars(select(MemberRow)).all()
    late = [
        _Late(member.slot, member.uuid, maps.superblock(row, members, member.uuid))
        for member in members
        if member.slot is not None
        and 0 < member.superblock_event < row.event
        and member.slot in array.members
        and not array.health.unreachable(member.slot)
    ]
    release()
    return late
