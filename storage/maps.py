"""The member map in the database: reading it, locking it, changing stored states.

Every change of a stored state is an event. The array's row is the lock of the map:
who writes what depends on the map holds it until the transaction ends.

Locks are taken in one order, so that nobody waits for somebody who waits for them:
an owner's tree, then the map, then jobs, members, debts and blobs.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.orm import Session, scoped_session

from raid.array import ArrayMap, SlotEntry, Waiting
from raid.errors import ArrayReadOnly
from raid.geometry import Level, shape_of
from raid.superblock import MemberEntry, StoredState, Superblock
from storage.db import take_turn, transaction, utcnow
from storage.errors import NoArray
from storage.models import ArrayRow, MemberRow

AnySession = Session | scoped_session[Any]

_LOG = logging.getLogger("holdfast.array")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970, without rounding."""
    since = moment - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


@dataclass
class LockedMember:
    """A member of a map that is locked."""

    uuid: UUID
    slot: int | None
    state: str
    url: str = ""
    target: int | None = None
    leaving: bool = False
    inventory_due: bool = False


@dataclass
class LockedMap:
    """The map inside a transaction that nobody else can change it in."""

    session: AnySession
    readonly: bool
    readonly_why: str | None
    members: list[LockedMember]
    changed: bool = False

    def by_slot(self) -> dict[int, LockedMember]:
        """Return the members that have a slot."""
        return {one.slot: one for one in self.members if one.slot is not None}

    def newcomers(self) -> dict[int, LockedMember]:
        """Return the members on their way into a slot, by that slot."""
        return {one.target: one for one in self.members if one.target is not None}

    def set_state(self, member: LockedMember, state: StoredState) -> None:
        """Change a stored state; all changes of one transaction are one event.

        What a member missed is owed to it, but who was away may also have lost
        something, so it is looked at before it counts as in sync again.
        """
        if member.state == state:
            return
        stale = state == StoredState.STALE
        self.change(member, state=state, **({"inventory_due": True} if stale else {}))

    def change(self, member: LockedMember, **values: Any) -> None:
        """Change what the map says of a member, as a part of this event."""
        for name, value in values.items():
            setattr(member, "target" if name == "target_slot" else name, value)
        self.session.execute(
            update(_MEMBERS).where(_MEMBERS.c.uuid == member.uuid).values(values)
        )
        self.touch()

    def touch(self) -> None:
        """Make this transaction an event; the superblocks will follow."""
        if not self.changed:
            self.changed = True
            self.session.execute(
                update(_ARRAYS).values(event=_ARRAYS.c.event + 1, event_at=utcnow())
            )

    def refuse_readonly(self) -> None:
        """Raise when nothing may be written to the array."""
        _refuse(self.readonly, self.readonly_why)


def _refuse(readonly: bool, why: str | None) -> None:
    if readonly:
        raise ArrayReadOnly(
            "The array is read-only, so nothing can be stored or removed. "
            f"{why or ''}".rstrip()
        )


_ARRAYS = cast(Table, ArrayRow.__table__)
_MEMBERS = cast(Table, MemberRow.__table__)
# Made once, and without objects: every upload asks this.
_READONLY = select(_ARRAYS.c.readonly, _ARRAYS.c.readonly_why)
_LOCK = _READONLY.with_for_update()
_LOCKED = select(
    _MEMBERS.c.uuid,
    _MEMBERS.c.slot,
    _MEMBERS.c.state,
    _MEMBERS.c.url,
    _MEMBERS.c.target_slot,
    _MEMBERS.c.leaving,
    _MEMBERS.c.inventory_due,
)


def refuse_readonly(session: AnySession) -> None:
    """Raise when nothing may be written, and keep nobody from changing that."""
    row = session.execute(_READONLY).one()
    _refuse(row.readonly, row.readonly_why)


def lock(session: AnySession) -> LockedMap:
    """Read the map and keep everybody else from changing it until the end.

    Others have it in the order in which they asked.
    """
    take_turn(session, "map")
    row = session.execute(_LOCK).one_or_none()
    if row is None:
        raise NoArray
    members = [LockedMember(*found) for found in session.execute(_LOCKED)]
    return LockedMap(session, row.readonly, row.readonly_why, members)


Version = tuple[int, int, bool]
"""What tells one map from another: incarnation, event, read-only."""


def version(connection: Connection) -> Version:
    """Return which map the database has; one cheap query."""
    columns = (ArrayRow.incarnation, ArrayRow.event, ArrayRow.readonly)
    row = connection.execute(select(*columns)).one_or_none()
    if row is None:
        raise NoArray
    return row.incarnation, row.event, row.readonly


def load(connection: Connection) -> ArrayMap:
    """Return the map as the engine wants it."""
    array = connection.execute(select(ArrayRow.__table__)).one_or_none()
    if array is None:
        raise NoArray
    rows = connection.execute(select(MemberRow.__table__)).all()
    slots = sorted(
        (
            SlotEntry(
                row.slot,
                row.uuid,
                StoredState(row.state),
                row.url,
                row.leaving,
                row.superblock_event,
            )
            for row in rows
            if row.slot is not None
        ),
        key=lambda entry: entry.slot,
    )
    waiting = sorted(
        (
            Waiting(row.uuid, StoredState(row.state), row.url, row.target_slot)
            for row in rows
            if row.slot is None
        ),
        key=lambda member: member.member.bytes,
    )
    level = Level(array.level)
    return ArrayMap(
        array.uuid,
        level,
        shape_of(level, array.width),
        array.incarnation,
        array.event,
        tuple(slots),
        array.readonly,
        tuple(waiting),
    )


def superblock(row: ArrayRow, members: Iterable[MemberRow], own: UUID) -> Superblock:
    """Return the superblock of one member; its bytes follow from the rows alone."""
    level = Level(row.level)
    entries = tuple(
        MemberEntry(member.uuid, member.slot, StoredState(member.state), member.url)
        for member in sorted(members, key=lambda member: member.uuid.bytes)
    )
    slots = {entry.member: entry.slot for entry in entries}
    return Superblock(
        array=row.uuid,
        member=own,
        slot=slots[own],
        level=level,
        shape=shape_of(level, row.width),
        incarnation=row.incarnation,
        event=row.event,
        event_us=microseconds(row.event_at),
        members=entries,
        readonly=row.readonly,
    )


def note_rollback() -> None:
    """Set the array read-only: members know events that the database never had.

    Nothing may be written, swept or repaired by a database that does not know what
    happened since.
    """
    with transaction() as session:
        if lock(session).readonly:
            return
        session.execute(
            update(_ARRAYS).values(
                readonly=True,
                readonly_why=(
                    "The members know of later changes than the database, so the "
                    "database was probably restored from an old backup. Files can be "
                    "read, and nothing is written or removed. Put the newest database "
                    "back and start again, or bring it up to date from the members "
                    "with: flask array recover."
                ),
            )
        )
    _LOG.error("The array is read-only: the database is older than the members.")


def identities(found: ArrayMap) -> list[tuple[int | None, UUID, str]]:
    """Return which member is where; while that is equal, the members are the same."""
    slots = [(entry.slot, entry.member, entry.url) for entry in found.slots]
    beside = [(one.target, one.member, one.url) for one in found.waiting if one.used]
    return [*slots, *beside]
