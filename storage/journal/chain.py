"""Numbering entries: under the lock of the array, each chained to the one before it.

`arrays.journal_number` is the newest entry that is published. Rows beyond it are parts
of a snapshot that is being made; they count for nothing until its end is published.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from raid.journal import FLAGS_AT, NO_HASH, Entry, EntryFlag, hash_of
from storage import maps
from storage.clock import AHEAD
from storage.db import db, utcnow
from storage.models import ArrayRow, JournalEntry

ABANDONED_SECONDS = 15.0
"""How long nothing was added to a snapshot before it counts as given up."""


@dataclass(frozen=True)
class Tail:
    """Where the journal ends."""

    array: UUID
    incarnation: int
    number: int
    hash: bytes

    def add(self, session: maps.AnySession, body: bytes, flags: EntryFlag) -> "Tail":
        """Freeze the next entry as a row; return the new end."""
        now = utcnow()
        number = self.number + 1
        data = Entry(
            self.array,
            self.incarnation,
            number,
            maps.microseconds(now),
            self.hash,
            flags,
            body,
        ).pack()
        session.execute(
            insert(JournalEntry).values(
                incarnation=self.incarnation,
                number=number,
                data=data,
                hash=hash_of(data),
                snapshot=EntryFlag.SNAPSHOT in flags,
                made_at=now,
            )
        )
        return replace(self, number=number, hash=hash_of(data))

    def publish(self, session: maps.AnySession) -> None:
        """Let the journal end here: what was frozen up to here counts."""
        session.execute(
            update(ArrayRow).values(journal_number=self.number, journal_hash=self.hash)
        )


_END = select(
    ArrayRow.uuid,
    ArrayRow.incarnation,
    ArrayRow.journal_number,
    ArrayRow.journal_hash,
)


def lock(session: maps.AnySession) -> Tail:
    """Return the end of the journal and keep everybody else from adding to it.

    An array that is read-only refuses.
    """
    maps.lock(session).refuse_readonly()
    return _tail(*session.execute(_END).one())


def read(connection: Connection) -> Tail:
    """Return the end of the journal as a reader sees it."""
    return _tail(*connection.execute(_END).one())


class Tide:
    """How far the journal had come when this process looked last."""

    def __init__(self) -> None:
        self._seen = (0, 0)

    def went_back(self) -> bool:
        """Tell whether the database knows less of the journal than it did before.

        Then an older one was put in its place, under a site that runs.
        """
        with db.engine.connect() as connection:
            tail = read(connection)
        before, self._seen = self._seen, (tail.incarnation, tail.number)
        return self._seen < before


def _tail(array: UUID, incarnation: int, number: int, last: bytes | None) -> Tail:
    return Tail(array, incarnation, number, last or NO_HASH)


# Snapshots -------------------------------------------------------------------


def is_busy(session: maps.AnySession, tail: Tail) -> bool:
    """Tell whether somebody is making a snapshot; remove one that was given up."""
    newest = session.scalar(select(func.max(JournalEntry.made_at)).where(_after(tail)))
    if newest is None:
        return False
    age = utcnow() - newest
    # One from the future was written while a clock was wrong, and says nothing.
    if -AHEAD < age < timedelta(seconds=ABANDONED_SECONDS):
        return True
    drop_unpublished(session, tail)
    return False


def drop_unpublished(session: maps.AnySession, tail: Tail) -> None:
    """Remove the parts of a snapshot that will not be published."""
    session.execute(delete(JournalEntry).where(_after(tail)))


def unpublished(session: maps.AnySession, tail: Tail) -> tuple[int, bytes] | None:
    """Return number and hash of the last part that waits to be published."""
    row = session.execute(
        select(JournalEntry.number, JournalEntry.hash)
        .where(_after(tail))
        .order_by(JournalEntry.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.number, row.hash)


def _after(tail: Tail) -> ColumnElement[bool]:
    return and_(
        JournalEntry.incarnation == tail.incarnation,
        JournalEntry.number > tail.number,
    )


@dataclass(frozen=True)
class Span:
    """The entries of a snapshot, from its first part to its last."""

    first: int
    last: int


def newest_snapshot(session: maps.AnySession, tail: Tail) -> Span | None:
    """Return the newest snapshot that is whole and published."""
    flags = func.substr(JournalEntry.data, FLAGS_AT + 1, 1)
    parts = session.execute(
        select(JournalEntry.number, flags)
        .where(
            JournalEntry.incarnation == tail.incarnation,
            JournalEntry.number <= tail.number,
            JournalEntry.snapshot,
        )
        .order_by(JournalEntry.number.desc())
    )
    last = None
    for number, flag in parts:
        last = number if last is None else last
        if flag[0] & EntryFlag.FIRST:
            return Span(number, last)
    return None


def oldest_kept(session: maps.AnySession, tail: Tail) -> int:
    """Return the first entry of this incarnation that is still needed."""
    found = session.scalar(
        select(func.min(JournalEntry.number)).where(
            JournalEntry.incarnation == tail.incarnation,
            JournalEntry.number <= tail.number,
        )
    )
    return tail.number + 1 if found is None else found


def _before(tail: Tail, number: int) -> ColumnElement[bool]:
    return or_(
        JournalEntry.incarnation < tail.incarnation,
        and_(
            JournalEntry.incarnation == tail.incarnation,
            JournalEntry.number < number,
        ),
    )


def has_before(session: maps.AnySession, tail: Tail, number: int) -> bool:
    """Tell whether entries before one of this incarnation are still kept."""
    return bool(session.scalar(select(exists().where(_before(tail, number)))))


def drop_before(session: maps.AnySession, tail: Tail, number: int) -> int:
    """Forget the entries before one of this incarnation; return how many."""
    gone = session.execute(
        delete(JournalEntry)
        .where(_before(tail, number))
        .returning(JournalEntry.number)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
