"""Heads: does what the members hold of the journal agree with the rows?

A member that is behind what it acknowledged was rolled back: it is stale, and is looked
through as a whole. A member that is ahead of the database means that the database was
restored from an old backup: nothing may be written any more.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import update

from raid.array import Array
from raid.errors import MemberError, ObjectMissing
from raid.journal import MAX_LENGTH
from raid.keys import JOURNAL, journal_key, parse_journal_key
from raid.member import Member
from raid.superblock import StoredState
from storage import history, maps
from storage.db import db, release, transaction
from storage.journal import chain
from storage.journal.delivery import is_entry
from storage.journal.holders import within_reach
from storage.models import MemberRow

_LOG = logging.getLogger("holdfast.journal")

Place = tuple[int, int]
"""Incarnation and number of an entry."""


def places_on(member: Member) -> list[Place]:
    """Return which entries a member holds, sorted."""
    found = (parse_journal_key(info.key) for info in member.list(JOURNAL))
    return sorted(place for place in found if place is not None)


def head_of(places: Iterable[Place], incarnation: int, oldest: int = 1) -> int:
    """Return up to which number all entries of an incarnation are there.

    Entries before `oldest` may be gone, so they count as there.
    """
    numbers = {number for one, number in places if one == incarnation}
    head = oldest - 1
    while head + 1 in numbers:
        head += 1
    return head


@dataclass(frozen=True)
class _Look:
    """What a member acknowledged before we looked, and what was there."""

    slot: int
    uuid: UUID
    held: int
    places: list[Place]


@dataclass(frozen=True)
class _Found:
    """What is wrong with the head of a member, and what may go from it."""

    look: _Look
    head: int
    ahead: bool
    behind: bool
    needless: list[Place]


def check(array: Array) -> int:
    """Look at the heads of all members; returns how many were put right.

    Members that are behind become stale and get everything again; one that is ahead
    makes the array read-only.
    """
    found = _compare(array)
    if any(one.ahead for one in found):
        maps.note_rollback()
        return 0
    behind = [one for one in found if one.behind]
    for one in behind:
        mark_rolled_back(one.look.uuid, one.head)
    _tidy(array, found)
    return len(behind)


def glance(array: Array) -> int:
    """Do what `check` does, but only when the ends of the journals look odd."""
    return 0 if look_right(array) else check(array)


def look_right(array: Array) -> bool:
    """Tell whether all journals end where they should, without listing any.

    However long they are, a member is asked for two entries: the newest that it has
    acknowledged, and the one after the newest that the database knows.
    """
    found = within_reach(array)
    tail = chain.read(db.session.connection())
    release()
    one_more = (tail.incarnation, tail.number + 1)
    for one in found:
        newest = (tail.incarnation, one.held)
        if one.held and _holds(array, one.slot, newest) is False:
            return False
    if not any(_holds(array, one.slot, one_more) for one in found):
        return True
    now = chain.read(db.session.connection())  # it may have been written meanwhile
    release()
    return (now.incarnation, now.number) >= one_more


def _holds(array: Array, slot: int, place: Place) -> bool | None:
    """Tell whether a member holds an entry; None when it does not say."""
    try:
        with array.using(slot) as member:
            member.info(journal_key(*place))
    except ObjectMissing:
        return False
    except MemberError as error:
        _LOG.info("The end of a journal could not be looked at: %s", error)
        return None
    return True


def agree(array: Array) -> str | None:
    """Return a sentence unless every reachable member's head is the database's."""
    with db.engine.connect() as connection:
        before = chain.read(connection)
    owed = any(one.held < before.number for one in within_reach(array))
    if not owed and look_right(array):
        return None
    for one in _compare(array):
        label = array.label(one.look.slot)
        if one.ahead:
            return (
                f"The journal on {label} goes on beyond the database, which was "
                "probably restored from an old backup. Recover it with: "
                "flask array recover."
            )
        if one.behind:
            return (
                f"The journal on {label} ends before what the member acknowledged, so "
                "it was rolled back. The worker gives it what it lacks."
            )
        if one.look.held < before.number:
            return (
                f"{label} is owed {before.number - one.look.held} journal entries. "
                "The worker delivers them; try again after that."
            )
    return None


def is_ahead(array: Array) -> bool:
    """Tell whether a member knows entries that the database never wrote."""
    return not look_right(array) and any(one.ahead for one in _compare(array))


def _compare(array: Array) -> list[_Found]:
    """Compare what was acknowledged before a look with it, and it with what is now.

    Acknowledgements only grow, and an entry is written down before a member gets it;
    so in this order others who work at the same time look like no trouble.
    """
    looks = list(_look(array))
    tail = chain.read(db.session.connection())
    oldest = chain.oldest_kept(db.session, tail)
    release()
    return [_found(array, look, tail, oldest) for look in looks]


def _found(array: Array, look: _Look, tail: chain.Tail, oldest: int) -> _Found:
    head = head_of(look.places, tail.incarnation, oldest)
    beyond = [p for p in look.places if p > (tail.incarnation, tail.number)]
    first = (tail.incarnation, oldest)
    return _Found(
        look,
        head,
        ahead=any(_is_real(array, look, place) for place in beyond),
        behind=head < look.held,
        needless=[p for p in look.places if p < first] if look.held >= oldest else [],
    )


def _look(array: Array) -> Iterable[_Look]:
    for one in within_reach(array):
        try:
            with array.using(one.slot) as member:
                places = places_on(member)
        except MemberError as error:
            _LOG.info("A journal could not be looked at: %s", error)
            continue
        yield _Look(one.slot, one.uuid, one.held, places)


def _is_real(array: Array, look: _Look, place: Place) -> bool:
    """Tell whether an entry that the database does not know is one of this array."""
    key = journal_key(*place)
    try:
        with array.using(look.slot) as member:
            data = member.read(key, 0, MAX_LENGTH + 1)
    except ObjectMissing:
        return False
    except MemberError as error:
        _LOG.warning("An entry that nobody knows can't be read: %s", error)
        return False
    return is_entry(data, array.map.array)


def mark_rolled_back(member: UUID, head: int) -> bool:
    """Make a member stale whose journal ends at `head`, before what it acknowledged.

    Nothing is known of what else it lost, so it is due for an inventory.
    """
    with transaction() as session:
        locked = maps.lock(session)
        if locked.readonly:
            return False
        row = next((one for one in locked.members if one.uuid == member), None)
        if row is None:
            return False
        changed = session.execute(
            update(MemberRow)
            .where(MemberRow.uuid == member, MemberRow.journal_number > head)
            .values(journal_number=head, inventory_due=True)
            .returning(MemberRow.uuid),
            execution_options={"synchronize_session": False},
        ).all()
        if not changed:
            return False
        if row.state in (StoredState.IN_SYNC, StoredState.REBUILDING):
            locked.set_state(row, StoredState.STALE)
        history.note(session, "member_rolled_back", slot=row.slot, member=member)
    return True


def tidy(array: Array) -> int:
    """Remove the entries from the members that a snapshot made needless."""
    return _tidy(array, _compare(array))


def _tidy(array: Array, found: Iterable[_Found]) -> int:
    removed = 0
    for one in found:
        if one.behind or one.ahead:
            continue
        keys = [journal_key(*place) for place in one.needless]
        removed += _remove(array, one.look.slot, keys)
    return removed


def _remove(array: Array, slot: int, keys: Sequence[str]) -> int:
    """Remove objects from a member, up to the first that can't be; count them."""
    for number, key in enumerate(keys):
        try:
            with array.using(slot) as member:
                member.delete(key)
        except MemberError as error:
            _LOG.info("Old journal entries stay: %s", error)
            return number
    return len(keys)
