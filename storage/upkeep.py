"""What the array does by itself: a sick member is failed, a spare takes over.

Both rest on what this process saw. A second worker that saw something else does no
harm: the change itself is made under the lock of the map and is checked again there.
"""

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.errors import MemberDenied
from raid.superblock import StoredState
from storage import absences, events, membership, services
from storage.db import db, release, utcnow
from storage.errors import Refused
from storage.models import MemberRow
from storage.runtime import runtime

MOST_FAILURES = 8
"""So many failures of a device, within `raid.health.WINDOW`, are too many."""

UNFINISHED = timedelta(minutes=1)
_OUT_OF_USE = (StoredState.FAULTY, StoredState.RETIRED)
_LOG = logging.getLogger("holdfast.array")


def watch_members(array: Array) -> int:
    """Fail sick members, let spares step in, finish what was half formatted.

    Whoever went away or came back meanwhile becomes an event.
    """
    if array.map.readonly:
        return 0
    done = fail_sick(array) + take_over(array) + _finish_formatting()
    return done + absences.watch(array)


def fail_sick(array: Array) -> int:
    """Take members out of use whose devices fail again and again."""
    failed = 0
    for entry in array.map.slots:
        often = array.health.failures(entry.slot)
        if often < MOST_FAILURES or entry.state in _OUT_OF_USE:
            continue
        why = f"Its device reported {often} errors within ten minutes."
        try:
            membership.fail(entry.slot, seen=entry.member, why=why)
            failed += 1
        except Refused as error:
            _LOG.warning("A sick member was not failed: %s", error)
            array.health.forget(entry.slot)
    return failed


def take_over(array: Array) -> int:
    """Give the slots whose members are gone for too long to spares.

    A replaced member is retired for ever. So nothing is done while what it holds may
    still be needed, because more members than m are away or not whole. And one that
    denies us access is there: that is mended with a password, not with another member.
    """
    away = _gone(array, _unusable(array))
    if not away or len(_lacking(array)) > array.map.shape.m:
        return 0
    grace = runtime().settings.spare_grace_minutes * 60
    being_replaced = {newcomer.target for newcomer in array.newcomers()}
    spares = _spares(array)
    given = 0
    for slot, since in away.items():
        if time.monotonic() - since < grace or slot in being_replaced or not spares:
            continue
        why = "Its member was gone for too long, and a spare took its place."
        membership.seat(slot, spares.pop(0), seen=array.uuid_of(slot), why=why)
        given += 1
    return given


def _unusable(array: Array) -> dict[int, float]:
    """Return the slots without a member that works, and since when."""
    known = runtime().unusable
    now = time.monotonic()
    gone = [entry for entry in array.away() if not entry.leaving]
    since = {entry.member: known.get(entry.member, now) for entry in gone}
    known.clear()
    known.update(since)
    return {entry.slot: since[entry.member] for entry in gone}


def _gone(array: Array, unusable: Mapping[int, float]) -> dict[int, float]:
    """Leave out those that are there: that one was so is no time it was gone.

    One that denies access is, and one that another host reaches: then it is this host
    that is cut off.
    """
    own, now = runtime(), time.monotonic()
    seen = own.snapshot()
    moved = _moved({array.uuid_of(slot) for slot in unusable})
    gone = {}
    for slot, since in unusable.items():
        member = array.uuid_of(slot)
        denies = seen is not None and seen.observed.get(slot) == MemberDenied.word
        if denies or member in moved:
            own.there_at[member] = now
        else:
            gone[slot] = max(since, own.there_at.get(member, since))
    return gone


def _moved(members: set[UUID]) -> set[UUID]:
    """Return those that were given something since this process asked last."""
    given = runtime().given
    for gone in given.keys() - members:
        del given[gone]
    if not members:
        return set()
    rows = db.session.execute(
        select(
            MemberRow.uuid, MemberRow.journal_number, MemberRow.superblock_event
        ).where(MemberRow.uuid.in_(members))
    ).all()
    release()
    now = {row.uuid: (row.journal_number, row.superblock_event) for row in rows}
    moved = {uuid for uuid, last in now.items() if given.get(uuid, last) != last}
    given.update(now)
    return moved


def _lacking(array: Array) -> set[int]:
    """Return the slots whose members don't hold everything, or not within reach."""
    away = {entry.slot for entry in array.away()}
    in_sync = StoredState.IN_SYNC
    return away | {e.slot for e in array.map.slots if e.state is not in_sync}


def _spares(array: Array) -> list[UUID]:
    """Return the spares that can be reached; the oldest first."""
    rows = db.session.scalars(
        select(MemberRow.uuid)
        .where(MemberRow.state == StoredState.SPARE, MemberRow.superblock_event > 0)
        .order_by(MemberRow.added_at, MemberRow.uuid)
    ).all()
    release()
    return [uuid for uuid in rows if events.reachable(array, uuid)]


def _finish_formatting() -> int:
    """Format what somebody began to add and was killed at."""
    before = utcnow() - UNFINISHED
    found = db.session.scalar(
        select(MemberRow.uuid)
        .where(
            MemberRow.superblock_event == 0,
            MemberRow.state == StoredState.SPARE,
            MemberRow.added_at < before,
        )
        .limit(1)
    )
    release()
    return services.format_new() if found is not None else 0
