"""What the rows are to be: the journal's, and what only this database knows.

A database that was restored from an old backup may have been used since: what changed
in it and was never exported stands in its outbox. The journal wins where both speak of
one row; an account whose number was given to somebody else gets a fresh one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.journal.catalogue import USERS, Catalogue, Key, Row

Local = Mapping[Key, Row | None]
"""Rows that were changed here and never exported; None is a row that went."""

_LONGEST_NAME = 56


@dataclass(frozen=True)
class Stray:
    """A blob that nothing names, and how it was described when it was uploaded."""

    blob: str
    size: int
    name: str
    folder: str
    owner: str
    media_type: str
    uploaded_us: int
    live: bool
    why: str = ""


@dataclass
class Target:
    """The catalogue that is to be written, and what people have to know about it."""

    catalogue: Catalogue
    strays: list[Stray] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(journal: Catalogue, local: Local, *, all_late: bool) -> Target:
    """Return the journal's rows with the local ones put in.

    `all_late`: which rows the journal changed after this database's own head is not
    known, so it wins wherever it knows a row at all.
    """
    target = Target(journal)
    renumbered = _put_users(target, local, all_late=all_late)
    for (table, key), row in local.items():
        known = journal.tables[table].get(key)
        spoken = (table, key) in journal.late or (known is not None and all_late)
        if table == USERS or spoken:
            continue
        if row is None:
            journal.tables[table].pop(key, None)
        elif known is not None or (table, key) not in journal.ended:
            journal.tables[table][key] = _owned(row, renumbered, new=known is None)
    return target


def _owned(row: Row, renumbered: Mapping[Any, int], *, new: bool) -> Row:
    """Return a row under the number that its owner has now."""
    owner = row.get("owner_id")
    return (
        {**row, "owner_id": renumbered[owner]} if new and owner in renumbered else row
    )


def _put_users(target: Target, local: Local, *, all_late: bool) -> dict[int, int]:
    """Put in the accounts that only this database has; returns new numbers by old."""
    users = target.catalogue.users
    renumbered: dict[int, int] = {}
    for (table, key), row in local.items():
        if table != USERS or row is None:
            continue
        known = users.get(key)
        if known is not None and known["created_at"] == row["created_at"]:
            if not all_late and (USERS, key) not in target.catalogue.late:
                users[key] = row
            continue
        added = dict(row)
        if known is not None:
            added["id"] = max([int(one) for one in users] + _numbers(local)) + 1
            renumbered[int(key)] = added["id"]
        _rename(target, added)
        users[str(added["id"])] = added
        if added != row:
            target.notes.append(
                f"The account {row['name']} with number {key} was made here after the "
                f"backup, and is now {added['name']} with number {added['id']}."
            )
    return renumbered


def _numbers(local: Local) -> list[int]:
    return [int(key) for table, key in local if table == USERS]


def _rename(target: Target, row: Row) -> None:
    """Give an account another name while somebody else has the one that it wants."""
    taken = {user["name_key"] for user in target.catalogue.users.values()}
    if row["name_key"] not in taken:
        return
    short = len(row["name"]) <= _LONGEST_NAME
    name, name_key = (row["name"], row["name_key"]) if short else ("account",) * 2
    number = 2
    while f"{name_key}-{number}" in taken:
        number += 1
    row["name"], row["name_key"] = f"{name}-{number}", f"{name_key}-{number}"
