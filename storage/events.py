"""The stored states of members on their way back, and the superblocks that tell it.

    in_sync -> stale         it missed a write
    stale -> rebuilding      it is back, and takes new writes
    rebuilding -> in_sync    it is owed nothing, and all it holds was looked at

Every arrow is an event. The first change is made by whoever writes (`debts.owe`), the
others by the worker, which then gives every member a superblock of the new event.
"""

import logging
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update

from raid import repair
from raid.array import Array
from raid.errors import MemberError, ObjectExists
from raid.superblock import StoredState, Superblock
from storage import debts, history, maps, marks, succession
from storage.db import db, release, transaction
from storage.jobs import table
from storage.models import ArrayRow, Debt, JobKind, MemberRow, Reason
from storage.runtime import runtime

_UNTOLD = (StoredState.FAULTY, StoredState.RETIRED)
_LOG = logging.getLogger("holdfast.array")


def reachable(array: Array, member: UUID) -> bool:
    """Tell whether a member answered when it was last asked, and takes writes."""
    seat = array.seat(member)
    if seat is None:
        return False
    seated, slot = seat
    return (
        slot in seated.members
        and not seated.health.unreachable(slot)
        and seated.health.usable(slot, write=True)
    )


def welcome(array: Array) -> int:
    """Let stale members that are back take new writes again; returns how many."""
    done = _distrust(array)
    back = [
        entry.member
        for entry in array.map.slots
        if entry.state == StoredState.STALE and reachable(array, entry.member)
    ]
    if not back:
        return done
    changed = []
    with transaction() as session:
        locked = maps.lock(session)
        for row in locked.members:
            if locked.readonly or row.uuid not in back:
                continue
            if row.state == StoredState.STALE and row.slot is not None:
                _to_rebuilding(locked, row)
                changed.append(row.uuid)
    for uuid in changed:
        debts.hurry(uuid)
    return done + len(changed)


def _to_rebuilding(locked: maps.LockedMap, row: maps.LockedMember) -> None:
    """Take it back; what it holds is looked at anew, whoever had begun to."""
    locked.set_state(row, StoredState.REBUILDING)
    history.note_state(locked.session, row, StoredState.STALE)
    if row.inventory_due:
        succession.cancel_jobs(locked.session, row.uuid, JobKind.INVENTORY)
        table.add(locked.session, JobKind.INVENTORY, member=row.uuid, slot=row.slot)


def _distrust(array: Array) -> int:
    """Write down the members that are older than they were: they are stale."""
    own = runtime()
    older = {uuid for uuid in own.rolled_back if array.seat(uuid) is not None}
    changed = 0
    if not older or array.map.readonly:
        return changed
    with transaction() as session:
        locked = maps.lock(session)
        for row in locked.members:
            if row.uuid not in older or row.slot is None:
                continue
            if row.state in (StoredState.IN_SYNC, StoredState.REBUILDING):
                locked.set_state(row, StoredState.STALE)
                changed += 1
            # What it was told is gone, and it is told again.
            locked.change(row, inventory_due=True, superblock_event=1)
            history.note(session, "member_older", slot=row.slot, member=row.uuid)
    own.rolled_back -= older  # not before it is written down
    own.forget_map()
    return changed


def settle(array: Array) -> int:
    """Put members in sync that lack nothing any more; returns how many."""
    waiting = [
        *(e.member for e in array.map.slots if e.state == StoredState.REBUILDING),
        *(newcomer.member for newcomer in array.newcomers()),
    ]
    ready = [uuid for uuid in waiting if reachable(array, uuid) and _is_whole(uuid)]
    over = [newcomer.member for newcomer in array.newcomers()]
    if not ready and not over:
        return 0
    with transaction() as session:
        locked = maps.lock(session)
        if locked.readonly:
            return 0
        changed = sum(
            _settle_one(locked, row, ready=row.uuid in ready)
            for row in locked.members
            if row.state == StoredState.REBUILDING
        )
        slots = locked.by_slot().values()
        if changed and all(row.state == StoredState.IN_SYNC for row in slots):
            marks.clear_all(session)
    return changed


def _settle_one(locked: maps.LockedMap, row: maps.LockedMember, *, ready: bool) -> bool:
    """Put a member in sync, into the slot it was filled for if it has none."""
    session = locked.session
    if ready and not row.inventory_due and _is_whole(row.uuid, session):
        if row.target is None:
            locked.set_state(row, StoredState.IN_SYNC)
            history.note_state(session, row, StoredState.REBUILDING)
        else:
            old = locked.by_slot()[row.target]
            succession.succeed(locked, old, row, StoredState.IN_SYNC)
        return True
    if row.target is not None and _was_called_off(row, session):
        succession.end(locked, row)
        why = "Its replacement was called off."
        history.note(session, "member_retired", member=row.uuid, url=row.url, why=why)
        return True
    return False


def _was_called_off(row: maps.LockedMember, session: maps.AnySession) -> bool:
    """Tell whether the copy to a newcomer ended before it was whole."""
    return row.inventory_due and not table.active(session, JobKind.REPLACE, row.uuid)


def _is_whole(member: UUID, session: maps.AnySession | None = None) -> bool:
    """Tell whether a member owes nothing and nobody is filling it any more."""
    asked = session or db.session
    busy = any(table.active(asked, kind, member) for kind in table.FILLING)
    whole = not busy and not _owes(member, asked)
    if session is None:
        release()
    return whole


def _owes(member: UUID, session: maps.AnySession) -> bool:
    """Tell whether a member lacks anything; what it has or keeps is another matter."""
    found = session.scalar(
        select(Debt.id)
        .where(Debt.member_uuid == member, Debt.reason == Reason.AWAY)
        .limit(1)
    )
    return found is not None


@dataclass(frozen=True)
class _Late:
    """A member that has not been given the superblock of the present event."""

    array: Array
    slot: int
    member: UUID
    superblock: Superblock


def write_superblocks(array: Array) -> int:
    """Give every reachable member the superblock of the present event."""
    written = 0
    for late in _late(array):
        try:
            repair.put_superblock(late.array, late.slot, late.superblock)
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
    late = []
    for member in members:
        seat = array.seat(member.uuid)
        if seat is None or not 0 < member.superblock_event < row.event:
            continue
        seated, slot = seat
        known = slot in seated.members and not seated.health.unreachable(slot)
        if known and member.state not in _UNTOLD:
            superblock = maps.superblock(row, members, member.uuid)
            late.append(_Late(seated, slot, member.uuid, superblock))
    release()
    return late
