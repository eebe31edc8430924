"""What the catalogue journal carries of folders and files.

A folder's time changes with every upload into it: it travels with the row, but is no
reason of its own to write the row down.
"""

from typing import Any, cast

from sqlalchemy import Table

from files.models import Entry
from files.names import sort_key
from storage.journal import registry


def _complete(row: dict[str, Any]) -> dict[str, Any]:
    """Fill what follows from the name, and from the entries below, counted later."""
    return {
        "files": 0,
        "folders": 0,
        "bytes": 0,
        **row,
        "sort_key": sort_key(row["name"]),
    }


ENTRIES = registry.Carried(
    cast(Table, Entry.__table__),
    "id",
    (
        "id",
        "owner_id",
        "parent_id",
        "kind",
        "name",
        "size",
        "created_at",
        "changed_at",
        "blob_id",
        "media_type",
        "trashed_at",
        "trashed_from",
    ),
    unwatched=("changed_at",),
    complete=_complete,
    order=2,
)


def register() -> None:
    """Let the journal carry folders and files."""
    registry.register(ENTRIES)
