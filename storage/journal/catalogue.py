"""The catalogue as the journal tells it: rows by table and key. No SQL, no Flask."""

import sys
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from raid.journal import Entry, EntryFlag
from storage.journal.lines import Change, decode

Row = dict[str, Any]
"""A row's columns as values of JSON: times are microseconds, bytes are hexadecimal."""

Key = tuple[str, str]
"""A table and the key of a row in it."""

USERS, ENTRIES, BLOBS = "users", "entries", "blobs"
TABLES = (USERS, ENTRIES, BLOBS)


class Catalogue:
    """Users, entries and blobs; which rows are known to have ended, and which are new.

    `late` are the rows that an entry after the number `since` speaks of.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self.ended: set[Key] = set()
        self.late: set[Key] = set()
        self.unknown: set[str] = set()

    @classmethod
    def of(cls, entries: Iterable[Entry], since: int = 0) -> "Catalogue":
        """Return what holds after a snapshot and the entries that follow it."""
        made = cls()
        for entry in entries:
            changed = entry.number > since and EntryFlag.SNAPSHOT not in entry.flags
            for change in decode(entry.body):
                made.apply(change, late=changed)
        return made

    def apply(self, change: Change, *, late: bool = False) -> None:
        """Apply one line; a table that a newer release added is noted and left."""
        if change.table not in self.tables:
            self.unknown.add(change.table)
            return
        key = key_of(change.table, change.key)
        if late:
            self.late.add((change.table, key))
        if change.row is not None:
            # Every line has its own copy of the columns' names; one is enough.
            row = {sys.intern(name): value for name, value in change.row.items()}
            self.tables[change.table][key] = row
            self.ended.discard((change.table, key))
        else:
            self.tables[change.table].pop(key, None)
            self.ended.add((change.table, key))

    @property
    def users(self) -> dict[str, Row]:
        """Return the accounts by number."""
        return self.tables[USERS]

    @property
    def entries(self) -> dict[str, Row]:
        """Return the folders and files by id."""
        return self.tables[ENTRIES]

    @property
    def blobs(self) -> dict[str, Row]:
        """Return the blobs by uuid."""
        return self.tables[BLOBS]

    def knows(self, blob: UUID) -> bool:
        """Tell whether the journal names a blob, or says that it is gone."""
        return str(blob) in self.blobs or (BLOBS, str(blob)) in self.ended


def key_of(table: str, key: str) -> str:
    """Return a key in its one form, however a database writes its UUIDs."""
    return str(UUID(key)) if table == BLOBS else key
