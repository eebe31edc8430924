"""Write a whole catalogue into the database, in the caller's transaction.

Blobs and entries are written anew; accounts are kept where they are, because sessions
hang on them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Table, delete, func, insert, select, update
from sqlalchemy import text as sql

from storage.db import Base
from storage.journal import registry
from storage.journal.catalogue import BLOBS, ENTRIES, USERS, Catalogue, Key, Row
from storage.journal.lines import Change, decode_value
from storage.journal.merge import Local
from storage.maps import AnySession
from storage.models import Blob, Debt, JournalEntry, Orphan, Outbox, Upload
from storage.models import UploadSegment as Segment

_BATCH = 1000
_PLAIN = {"synchronize_session": False}


def table_of(name: str) -> Table:
    """Return a table of the catalogue, whichever package made it."""
    return Base.metadata.tables[name]


# -- reading


def local_rows(session: AnySession, journal: Catalogue, *, everything: bool) -> Local:
    """Return the rows that the journal may not know: all, or those of the outbox.

    Accounts that the journal lacks are always among them, because none is ever lost.
    """
    found: dict[Key, Row | None] = {}
    for name in (USERS, ENTRIES, BLOBS):
        for change in _changes(session, name, everything):
            found[name, change.key] = None if change.row is None else dict(change.row)
    for change in _changes(session, USERS, True):
        if change.key not in journal.users and change.row is not None:
            found[USERS, change.key] = dict(change.row)
    return found


def _changes(session: AnySession, name: str, everything: bool) -> Iterator[Change]:
    carried = registry.table(name)
    if carried is None:
        return
    table = carried.table
    if everything:
        for row in session.execute(select(table)).mappings():
            yield carried.change(dict(row))
        return
    for text in session.scalars(
        select(Outbox.key).where(Outbox.name == name).distinct()
    ).all():
        key = carried.key_of(text)
        found = session.execute(select(table).where(carried.key_column == key))
        there = found.mappings().one_or_none()
        yield carried.gone(key) if there is None else carried.change(dict(there))


# -- writing


def write(session: AnySession, catalogue: Catalogue) -> None:
    """Let these be the rows of the catalogue, and forget what hung on the old ones."""
    for model in (Debt, Segment, Upload, Orphan, JournalEntry):
        session.execute(delete(model), execution_options=_PLAIN)
    session.execute(delete(table_of(ENTRIES)))
    session.execute(delete(Blob), execution_options=_PLAIN)
    _write_users(session, list(catalogue.users.values()))
    _insert(session, BLOBS, catalogue.blobs.values())
    _insert(session, ENTRIES, _parents_first(catalogue.entries.values()))
    # The next entry of the journal is a snapshot, which says all of this.
    session.execute(delete(Outbox), execution_options=_PLAIN)


def _write_users(session: AnySession, rows: Sequence[Row]) -> None:
    table = table_of(USERS)
    there = set(session.scalars(select(table.c.id)))
    for row in rows:
        if row["id"] in there:
            # Two accounts may have changed names; a space is in nobody's key.
            aside = update(table).where(table.c.id == row["id"])
            session.execute(aside.values(name_key=f" {row['id']}"))
    for row in rows:
        if row["id"] in there:
            values = _values(table, row)
            session.execute(
                update(table).where(table.c.id == values.pop("id")).values(values)
            )
    _insert(session, USERS, [row for row in rows if row["id"] not in there])
    _count_on(session, table)


def _count_on(session: AnySession, table: Table) -> None:
    """Let PostgreSQL number new accounts after those that were written."""
    if session.get_bind().dialect.name != "postgresql":
        return
    last = session.scalar(select(func.max(table.c.id)))
    if last is not None:
        session.execute(
            sql("SELECT setval(pg_get_serial_sequence('users', 'id'), :last)"),
            {"last": last},
        )


def _insert(session: AnySession, name: str, rows: Iterable[Row]) -> None:
    """Insert rows in their order; columns that a row lacks get their defaults."""
    table = table_of(name)
    carried = registry.table(name)
    batch: list[dict[str, Any]] = []
    for row in rows:
        values = _values(table, row)
        values = carried.complete(values) if carried else values
        if batch and (len(batch) == _BATCH or batch[0].keys() != values.keys()):
            session.execute(insert(table), batch)
            batch = []
        batch.append(values)
    if batch:
        session.execute(insert(table), batch)


def _values(table: Table, row: Row) -> dict[str, Any]:
    """Return the columns that the table has, as it wants them."""
    return {
        column.name: decode_value(row[column.name], registry.kind_of(column))
        for column in table.c
        if column.name in row
    }


def _parents_first(rows: Iterable[Row]) -> list[Row]:
    below: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        below[row["parent_id"]].append(row)
    ordered = below.pop(None, [])
    for row in ordered:  # it grows meanwhile
        ordered += below.pop(row["id"], [])
    return ordered
