"""Keyset pages of a folder: seek in an index to where the page before ended.

Folders come first, so a page is read as two runs over one index, each in the direction
asked for; that is what lets both directions use it. The cost of a page is that of its
rows, whatever the folder holds.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select, tuple_

from files.errors import BadRequest
from files.models import FILE, FOLDER, Entry
from files.names import sort_key
from files.tree import AnySession

PAGE = 100
DIRECTIONS = ("asc", "desc")
SORTS: dict[str, Any] = {"name": None, "size": Entry.size, "date": Entry.changed_at}
_COLUMNS = (Entry.id, Entry.kind, Entry.name, Entry.size, Entry.changed_at)
_MOST = 2**63

Query = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Order:
    """How a folder's page is sorted, and the entry that the page before ended with."""

    sort: str = "name"
    direction: str = "asc"
    after: str | None = None

    def checked(self) -> "Order":
        """Return this order, or raise BadRequest for one that does not exist."""
        if self.sort not in SORTS or self.direction not in DIRECTIONS:
            raise BadRequest("Folders can be sorted by name, size or date only.")
        return self

    def keys(self) -> list[Any]:
        """Return the columns to sort by; the last one is unique in a folder."""
        column = SORTS[self.sort]
        return [Entry.sort_key] if column is None else [column, Entry.sort_key]

    def cursor(self, record: Any) -> str:
        """Return the text that continues after this record."""
        value: Any = None
        if self.sort == "size":
            value = record.size
        elif self.sort == "date":
            value = record.changed_at.isoformat()
        return pack([record.kind, value, record.name])

    def start(self) -> tuple[int, list[Any] | None]:
        """Return the kind to go on with, and the keys after which."""
        if self.after is None:
            return FOLDER, None
        try:
            kind, value, name = unpack(self.after, 3)
            keys: list[Any] = [sort_key(name)]
            if self.sort == "size":
                keys.insert(0, number(value))
            elif self.sort == "date":
                keys.insert(0, moment(value))
            return _kind(kind), keys
        except (ValueError, TypeError) as error:
            raise BadRequest(
                "This link to more rows is broken. Go back to the folder."
            ) from error

    def apply(self, query: Query, kind: int, after: Sequence[Any] | None) -> Query:
        """Continue one kind of rows, in order."""
        keys = self.keys()
        query = query.where(Entry.kind == kind)
        rising = self.direction == "asc"
        if after is not None:
            mark = tuple_(*after, types=[key.type for key in keys])
            place = tuple_(*keys)
            query = query.where(place > mark if rising else place < mark)
        return query.order_by(*(key.asc() if rising else key.desc() for key in keys))


def records(
    session: AnySession,
    folder_id: str,
    order: Order,
    kinds: tuple[int, ...] = (FOLDER, FILE),
) -> tuple[list[Any], str | None]:
    """Return the rows of one page, and the cursor of the next one if there is any."""
    first, after = order.start()
    found: list[Any] = []
    for kind in kinds:
        if kind < first or len(found) > PAGE:
            continue
        query = select(*_COLUMNS).where(Entry.parent_id == folder_id)
        query = order.apply(query, kind, after if kind == first else None)
        found += session.execute(query.limit(PAGE + 1 - len(found)))
    more = len(found) > PAGE
    found = found[:PAGE]
    return found, order.cursor(found[-1]) if more else None


def _kind(value: Any) -> int:
    if value not in (FOLDER, FILE):  # infinity, for one, is a number in JSON
        raise ValueError("not a kind")
    return int(value)


def number(value: Any) -> int:
    """Return a size out of a cursor, or raise ValueError."""
    # `true` would count as an int.
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError("not a size")
    return value


def moment(value: Any) -> datetime:
    """Return a time out of a cursor, or raise ValueError."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("not a moment")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a moment") from error


def pack(values: list[Any]) -> str:
    """Return the text of a cursor."""
    text = json.dumps(values, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def unpack(text: str, length: int) -> list[Any]:
    """Return the values of a cursor, or raise ValueError."""
    try:
        padded = text + "=" * (-len(text) % 4)
        values = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, UnicodeError, RecursionError) as error:
        raise ValueError("not a cursor") from error
    if not isinstance(values, list) or len(values) != length:
        raise ValueError("not a cursor")
    return values
