"""From the database to the members: every entry, in order, to each that can be reached.

A member acknowledges by its number in the rows; the rest it is owed. Several deliverers
do no harm: the same key always gets the same bytes.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update

from raid.array import Array
from raid.errors import DamagedObject, MemberError, ObjectExists, UnknownVersion
from raid.journal import MAX_LENGTH, Entry
from raid.keys import journal_key
from raid.member import Member
from storage import maps
from storage.db import db, release, transaction
from storage.journal import chain
from storage.journal.holders import within_reach
from storage.models import ArrayRow, JournalEntry, MemberRow

AT_ONCE = 4
"""Entries of one member that are in memory at a time."""
_LOG = logging.getLogger("holdfast.journal")


@dataclass(frozen=True)
class _Parcel:
    """The next entries of one member."""

    slot: int
    member: UUID
    held: int
    incarnation: int
    entries: list[tuple[int, bytes]]


@dataclass
class _Outcome:
    """How far a parcel came."""

    parcel: _Parcel
    stored: int = 0
    last: int = 0
    trouble: Exception | None = None


class _Forked(Exception):
    """A member has another entry of the same number: another database wrote it."""


def deliver(array: Array, stopped: Callable[[], bool] = lambda: False) -> int:
    """Give every reachable member the entries that it is owed; returns how many."""
    delivered = 0
    given_up: set[int] = set()
    while not stopped():
        parcels = _parcels(array, given_up)
        if not parcels:
            break
        outcomes = list(
            array.executor.map(lambda parcel: _hand_over(array, parcel), parcels)
        )
        for outcome in outcomes:
            if outcome.trouble is not None:
                given_up.add(outcome.parcel.slot)
                fields = {"slot": outcome.parcel.slot}
                _LOG.info(
                    "The journal waits: %s", outcome.trouble, extra={"fields": fields}
                )
        _acknowledge(outcomes)
        if any(isinstance(outcome.trouble, _Forked) for outcome in outcomes):
            maps.note_rollback()
            break
        delivered += sum(outcome.stored for outcome in outcomes)
    return delivered


def _parcels(array: Array, given_up: set[int]) -> list[_Parcel]:
    reached = [one for one in within_reach(array) if one.slot not in given_up]
    tail = chain.read(db.session.connection())
    read: dict[int, list[tuple[int, bytes]]] = {}
    for number in {one.held for one in reached if one.held < tail.number}:
        read[number] = _after(tail, number)
    release()
    return [
        _Parcel(one.slot, one.uuid, one.held, tail.incarnation, read[one.held])
        for one in reached
        if read.get(one.held)
    ]


def _after(tail: chain.Tail, number: int) -> list[tuple[int, bytes]]:
    rows = db.session.execute(
        select(JournalEntry.number, JournalEntry.data)
        .where(
            JournalEntry.incarnation == tail.incarnation,
            JournalEntry.number > number,
            JournalEntry.number <= tail.number,
        )
        .order_by(JournalEntry.number)
        .limit(AT_ONCE)
    )
    return [(row.number, row.data) for row in rows]


def _hand_over(array: Array, parcel: _Parcel) -> _Outcome:
    """Store the entries in their order, up to the first that can't be stored."""
    outcome = _Outcome(parcel)
    try:
        for number, data in parcel.entries:
            key = journal_key(parcel.incarnation, number)
            with array.using(parcel.slot) as member:
                _put(member, key, data)
            outcome.stored, outcome.last = outcome.stored + 1, number
    except (MemberError, _Forked) as error:
        outcome.trouble = error
    return outcome


def _put(member: Member, key: str, data: bytes) -> None:
    try:
        member.put(key, [data], essential=True)
    except ObjectExists as error:
        if is_entry(member.read(key, 0, MAX_LENGTH + 1), Entry.unpack(data).array):
            raise _Forked(f"{member.label} has another entry {key}.") from error
        member.put(key, [data], essential=True, replace=True)


def is_entry(data: bytes, array: UUID) -> bool:
    """Tell whether some bytes are a whole entry of this array's journal."""
    try:
        return Entry.unpack(data).array == array
    except UnknownVersion:
        return True
    except DamagedObject:
        return False


def _acknowledge(outcomes: list[_Outcome]) -> None:
    """Note what is durable on the members.

    Not when a recovery began anew meanwhile, when another worker delivered as well, or
    when the member was found to be rolled back: what we gave it may follow a gap.
    """
    with transaction() as session:
        maps.lock(session)
        for outcome in outcomes:
            if not outcome.last:
                continue
            parcel = outcome.parcel
            session.execute(
                update(MemberRow)
                .where(
                    MemberRow.uuid == parcel.member,
                    MemberRow.journal_number == parcel.held,
                    select(ArrayRow.incarnation).scalar_subquery()
                    == parcel.incarnation,
                )
                .values(journal_number=outcome.last),
                execution_options={"synchronize_session": False},
            )
