"""Which tables the journal carries: every package that has one registers it.

`storage` knows neither accounts nor files, so they say themselves what of their rows
is to come back when the database is lost, and how the rest follows from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Table

from storage.db import UTCDateTime
from storage.journal.lines import Change, decode_value, encode_value
from storage.models import Blob

Row = dict[str, Any]


@dataclass(frozen=True)
class Carried:
    """A table that the journal carries, by one column of text or number as its key.

    Columns in `unwatched` travel with the row, but a change of theirs alone is not
    written down. `complete` adds to a recovered row what the journal does not carry.
    Rows come back table by table, in the order of `order`.
    """

    table: Table
    key: str
    columns: tuple[str, ...]
    unwatched: tuple[str, ...] = ()
    complete: Callable[[Row], Row] = lambda row: row
    order: int = 0

    @property
    def name(self) -> str:
        """Return the name of the table, which is its name in the journal."""
        return self.table.name

    @property
    def key_column(self) -> Column[Any]:
        """Return the column that names a row."""
        return self.table.c[self.key]

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the columns whose changes are written down."""
        return tuple(name for name in self.columns if name not in self.unwatched)

    def key_of(self, text: str) -> Any:
        """Return the key of an outbox row, or of a line, as the column has it."""
        kind = kind_of(self.key_column)
        return kind(text)

    def change(self, row: Row) -> Change:
        """Return the line's content for a row that is there."""
        values = {name: encode_value(row[name]) for name in self.columns}
        return Change(self.name, str(row[self.key]), values)

    def gone(self, key: Any) -> Change:
        """Return the line's content for a row that is not there any more."""
        return Change(self.name, str(key), None)

    def row(self, change: Change) -> Row:
        """Return the values of a line as the table's columns have them.

        Columns that an older release did not carry are left to their defaults.
        """
        found = change.row or {}
        return {
            name: decode_value(found[name], kind_of(self.table.c[name]))
            for name in self.columns
            if name in found
        }


def kind_of(column: Column[Any]) -> type:
    """Return the Python type of a column; `dict` stands for any JSON."""
    if isinstance(column.type, UTCDateTime):
        return datetime
    if isinstance(column.type, JSON):
        return dict
    kind: type = column.type.python_type
    return kind


_carried: dict[str, Carried] = {}


def register(carried: Carried) -> None:
    """Let the journal carry a table; called when the application is put together."""
    _carried[carried.name] = carried


def tables() -> list[Carried]:
    """Return every table that the journal carries, in the order of inserts."""
    return sorted(_carried.values(), key=lambda one: (one.order, one.name))


def table(name: str) -> Carried | None:
    """Return the table of that name, or None when nothing here knows it."""
    return _carried.get(name)


def _complete_blob(row: Row) -> Row:
    return {"at_risk": False, "damaged": False, **row}


register(
    Carried(
        Blob.__table__,  # type: ignore[arg-type]
        "uuid",
        (
            "uuid",
            "size",
            "form",
            "attempt",
            "manifest_digest",
            "root",
            "sha256",
            "layout",
            "state",
            "created_at",
            "tombstoned_at",
            "due_at",
            "slots",
            "redundancy",
            "share",
            "verified_at",
        ),
        complete=_complete_blob,
        order=0,
    )
)
