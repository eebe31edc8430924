"""From the outbox into the journal: what the triggers noted becomes frozen entries.

The outbox says which rows were changed; what is written down is how they are now. Both
are read in one snapshot under the lock of the array, so an entry never holds half of
somebody's transaction unless it says that it goes on in the next.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import DBAPIError

from raid.array import Array
from raid.journal import EntryFlag
from storage import maps
from storage.db import lost_a_race, transaction
from storage.journal import chain, delivery, heads, lines, registry, snapshots
from storage.models import Outbox

BATCH = 1000
_LOG = logging.getLogger("holdfast.journal")

Stop = Callable[[], bool]


def run(array: Array, stopped: Stop = lambda: False) -> int:
    """Write down what was changed and give it to the members; returns how much."""
    done = snapshots.take_if_due(stopped) + finish(array, stopped)
    if snapshots.prune():
        heads.tidy(array)
    return done


def finish(array: Array, stopped: Stop = lambda: False) -> int:
    """Do what makes changes safe and nothing else, as before an end."""
    done = 0
    while not stopped() and (made := export()):
        done += made
    return done + delivery.deliver(array, stopped)


def export() -> int:
    """Freeze a batch of changes as one or more entries; returns how many."""
    try:
        with transaction(one_snapshot=True) as session:
            return _export(session)
    except DBAPIError as error:
        if not lost_a_race(error):
            raise
        _LOG.info("Somebody else changed the array; the journal follows later.")
        return 0


def _export(session: maps.AnySession) -> int:
    tail = chain.lock(session)
    if chain.is_busy(session, tail):
        return 0
    found = _take(session)
    if not found:
        return 0
    bodies = list(lines.encode(_present(session, found)))
    unfinished = _is_waiting(session)
    for number, body in enumerate(bodies, 1):
        goes_on = unfinished or number < len(bodies)
        tail = tail.add(
            session, body, EntryFlag.CONTINUES if goes_on else EntryFlag.NONE
        )
    tail.publish(session)
    return len(bodies)


def _known() -> list[str]:
    """Return the tables that this release knows; a newer one exports the others."""
    return [carried.name for carried in registry.tables()]


def _take(session: maps.AnySession) -> dict[str, set[Any]]:
    """Take rows out of the outbox; return the keys that they name, by table."""
    batch = (
        select(Outbox.id)
        .where(Outbox.name.in_(_known()))
        .order_by(Outbox.id)
        .limit(BATCH)
        .scalar_subquery()
    )
    taken = session.execute(
        delete(Outbox)
        .where(Outbox.id.in_(batch))
        .returning(Outbox.name, Outbox.key)
        .execution_options(synchronize_session=False)
    )
    found: dict[str, set[Any]] = {}
    for name, key in taken:
        carried = registry.table(name)
        assert carried is not None
        found.setdefault(name, set()).add(carried.key_of(key))
    return found


def _is_waiting(session: maps.AnySession) -> bool:
    return bool(session.scalar(select(exists().where(Outbox.name.in_(_known())))))


def _present(
    session: maps.AnySession, found: dict[str, set[Any]]
) -> Iterator[lines.Change]:
    """Yield how the rows of these keys are now."""
    for name, keys in found.items():
        carried = registry.table(name)
        assert carried is not None
        columns = [carried.table.c[column] for column in carried.columns]
        rows = session.execute(select(*columns).where(carried.key_column.in_(keys)))
        there = set()
        for row in rows.mappings():
            there.add(row[carried.key])
            yield carried.change(dict(row))
        for key in keys - there:
            yield carried.gone(key)
