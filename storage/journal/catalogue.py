"""The catalogue as the journal tells it: rows by table and key. No SQL, no Flask."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from raid.journal import Entry
from storage.journal.lines import Change, decode

Row = dict[str, Any]
"""A row's columns as values of JSON: times are microseconds, bytes are hexadecimal."""

USERS, ENTRIES, BLOBS = "users", "entries", "blobs"
TABLES = (USERS, ENTRIES, BLOBS)


class Catalogue:
    """Users, entries and blobs, and the blobs of which the journal knows the end."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self.ended: set[str] = set()
        self.unknown: set[str] = set()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Catalogue":
        """Return what holds after a snapshot and the entries that follow it."""
        made = cls()
        for entry in entries:
            for change in decode(entry.body):
                made.apply(change)
        return made

    def apply(self, change: Change) -> None:
        """Apply one line; a table that a newer release added is noted and left."""
        if change.table not in self.tables:
            self.unknown.add(change.table)
            return
        key = key_of(change.table, change.key)
        if change.row is not None:
            self.tables[change.table][key] = dict(change.row)
            return
        self.tables[change.table].pop(key, None)
        if change.table == BLOBS:
            self.ended.add(key)

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
        return str(blob) in self.blobs or str(blob) in self.ended


def key_of(table: str, key: str) -> str:
    """Return a key in its one form, however a database writes its UUIDs."""
    return str(UUID(key)) if table == BLOBS else key
