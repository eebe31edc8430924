"""Read a member's journal as somebody who has no database does, and compare."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from raid.journal import NO_HASH, Entry, EntryFlag, hash_of
from raid.keys import parse_journal_key
from storage.db import db, release
from storage.journal import registry
from storage.journal.lines import Change, decode

Rows = dict[tuple[str, str], Any]


def entries_of(member: Path) -> list[tuple[Entry, bytes]]:
    """Return the entries of a member's folder with their bytes, in order."""
    found = {}
    for path in (member / "c").rglob("*"):
        place = parse_journal_key(str(path.relative_to(member)))
        if place is not None and path.is_file():
            found[place] = path.read_bytes()
    return [(Entry.unpack(data), data) for _, data in sorted(found.items())]


def numbers_on(member: Path) -> list[int]:
    """Return the numbers of the entries of a member."""
    return [entry.number for entry, _ in entries_of(member)]


def replay(member: Path) -> Rows:
    """Apply a member's journal by the words of the format document."""
    rows: Rows = {}
    run: list[Change] = []
    snapshot: list[Change] | None = None
    before = None
    for entry, data in entries_of(member):
        if before is not None:
            assert entry.number == before[0] + 1
            assert entry.previous == before[1]
        elif entry.number == 1:
            assert entry.previous == NO_HASH
        before = entry.number, hash_of(data)
        changes = decode(entry.body)
        if EntryFlag.SNAPSHOT in entry.flags:
            snapshot = [] if EntryFlag.FIRST in entry.flags else snapshot
            assert snapshot is not None
            snapshot += changes
            if EntryFlag.LAST in entry.flags:
                rows, run = _applied({}, snapshot), []
            continue
        run += changes
        if EntryFlag.CONTINUES not in entry.flags:
            rows, run = _applied(rows, run), []
    return rows


def _applied(rows: Rows, changes: list[Change]) -> Rows:
    rows = dict(rows)
    for change in changes:
        if change.row is None:
            rows.pop((change.table, change.key), None)
        else:
            rows[change.table, change.key] = dict(change.row)
    return rows


def present() -> Rows:
    """Return the rows of the database as the journal would have them."""
    rows: Rows = {}
    for carried in registry.tables():
        columns = [carried.table.c[name] for name in carried.columns]
        for row in db.session.execute(select(*columns)).mappings():
            change = carried.change(dict(row))
            rows[change.table, change.key] = dict(change.row or {})
    release()
    return rows


def watched(rows: Rows) -> Rows:
    """Leave out what may change without being written down."""
    kept = {}
    for (name, key), row in rows.items():
        carried = registry.table(name)
        assert carried is not None
        kept[name, key] = {column: row[column] for column in carried.watched}
    return kept
