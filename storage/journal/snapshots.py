"""Snapshots: every row in a run of entries, so that older entries can go.

A snapshot is read as of one moment with no lock held, while people work. Its parts are
stored one by one beyond the end of the journal. They are published in one transaction,
and only if the journal still ends where it ended at that moment: then every change
since then waits in the outbox, and comes after.
"""

import logging
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, func, select

from raid.journal import EntryFlag
from storage import maps
from storage.db import db, release, snapshot_options, transaction
from storage.errors import StorageError
from storage.journal import chain, lines, registry
from storage.journal.holders import holders
from storage.models import ArrayRow, JournalEntry

LEAST_BYTES = 4 * 1024 * 1024
_READ_AHEAD = 1000
_LOG = logging.getLogger("holdfast.journal")


class _Overtaken(StorageError):
    """Somebody else added to the journal; the snapshot is taken another time."""


def take_if_due(stopped: Callable[[], bool] = lambda: False) -> int:
    """Take a snapshot when there is none yet or much has changed since."""
    if not _is_due():
        return 0
    try:
        return take(stopped)
    except _Overtaken as error:
        _LOG.info("%s", error)
        return 0


def _is_due() -> bool:
    with db.engine.connect() as connection:
        if connection.execute(select(ArrayRow.readonly)).scalar() is not False:
            return False
    tail, newest = _newest()
    if newest is None:
        return True
    size = _bytes(tail, newest.first, newest.last)
    since = _bytes(tail, newest.last + 1, tail.number)
    release()
    return since > max(LEAST_BYTES, 2 * size)


def _newest() -> tuple[chain.Tail, chain.Span | None]:
    tail = chain.read(db.session.connection())
    return tail, chain.newest_snapshot(db.session, tail)


def _bytes(tail: chain.Tail, first: int, last: int) -> int:
    return int(
        db.session.scalar(
            select(func.coalesce(func.sum(func.length(JournalEntry.data)), 0)).where(
                JournalEntry.incarnation == tail.incarnation,
                JournalEntry.number.between(first, last),
            )
        )
        or 0
    )


def take(stopped: Callable[[], bool] = lambda: False) -> int:
    """Write every row into the journal; returns of how many entries it was made.

    None were made when somebody else is at it, or when it was stopped.
    """
    release()
    with transaction() as session:
        if chain.is_busy(session, chain.lock(session)):
            return 0
    options = snapshot_options(db.engine.dialect)
    with db.engine.connect().execution_options(**options) as connection:
        start = end = chain.read(connection)
        for body, flags in _marked(lines.encode(_rows(connection))):
            if stopped():
                _abandon(start)
                return 0
            end = _store(start, end, body, flags)
    _publish(start, end)
    fields = {"entries": end.number - start.number}
    _LOG.info("A snapshot of the catalogue was taken.", extra={"fields": fields})
    return end.number - start.number


def _rows(connection: Connection) -> Iterator[lines.Change]:
    for carried in registry.tables():
        columns = [carried.table.c[column] for column in carried.columns]
        rows = connection.execution_options(yield_per=_READ_AHEAD).execute(
            select(*columns).order_by(carried.key_column)
        )
        for row in rows.mappings():
            yield carried.change(dict(row))


def _marked(bodies: Iterator[bytes]) -> Iterator[tuple[bytes, EntryFlag]]:
    """Say of every body whether it is the first and whether it is the last."""
    flags = EntryFlag.SNAPSHOT | EntryFlag.FIRST
    body = next(bodies)
    for following in bodies:
        yield body, flags
        body, flags = following, EntryFlag.SNAPSHOT
    yield body, flags | EntryFlag.LAST


def _store(
    start: chain.Tail, end: chain.Tail, body: bytes, flags: EntryFlag
) -> chain.Tail:
    with transaction() as session:
        _insist(session, start, end)
        return end.add(session, body, flags)


def _publish(start: chain.Tail, end: chain.Tail) -> None:
    with transaction() as session:
        _insist(session, start, end)
        end.publish(session)


def _insist(session: maps.AnySession, start: chain.Tail, end: chain.Tail) -> None:
    """Raise unless the journal ends at the start, and our parts are all there."""
    now = chain.lock(session)
    ours = None if end == start else (end.number, end.hash)
    if now != start or chain.unpublished(session, start) != ours:
        raise _Overtaken(
            "The journal went on while a snapshot was taken, so nothing of it is "
            "kept. It is taken another time."
        )


def _abandon(start: chain.Tail) -> None:
    with transaction() as session:
        if chain.lock(session) == start:
            chain.drop_unpublished(session, start)


def prune() -> int:
    """Forget entries before the newest snapshot once every member has all of it."""
    tail, newest = _newest()
    held = [one.held for one in holders()]
    older = newest is not None and chain.has_before(db.session, tail, newest.first)
    release()
    if newest is None or not older or not held or min(held) < newest.last:
        return 0
    with transaction() as session:
        chain.lock(session)
        return chain.drop_before(session, tail, newest.first)
