"""The body of a journal entry: one line of JSON per changed row. No SQL, no Flask.

A line is `[table, key, row]`; the row is null when it is gone. So lines say what *is*
and not what was done, and applying them twice is the same as once.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from raid.errors import DamagedObject
from raid.journal import MAX_BODY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Change:
    """A row of the catalogue as it is now, as values of JSON; None when it is gone."""

    table: str
    key: str
    row: Mapping[str, Any] | None


# Values ----------------------------------------------------------------------


def encode_value(value: Any) -> Any:
    """Return a column's value as JSON has it: UUIDs, bytes and times become plain."""
    encode = _ENCODERS.get(type(value))
    return value if encode is None else encode(value)


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    UUID: str,
    bytes: bytes.hex,
    memoryview: memoryview.hex,
    datetime: lambda moment: (moment - _EPOCH) // _MICROSECOND,
}


def decode_value(value: Any, kind: type) -> Any:
    """Return a value of JSON as a column of a Python type has it.

    Columns of any other type than UUID, bytes, datetime, bool, int and str hold JSON.
    """
    if value is None:
        return None
    if kind not in _DECODERS:
        return value
    expected, decode = _DECODERS[kind]
    if type(value) is not expected:
        raise DamagedObject(f"A journal line holds {value!r} in place of a {kind}.")
    try:
        return decode(value)
    except (ValueError, OverflowError) as error:
        raise DamagedObject(f"A journal line holds {value!r}, no {kind}.") from error


_DECODERS: dict[type, tuple[type, Any]] = {
    UUID: (str, UUID),
    bytes: (str, bytes.fromhex),
    datetime: (int, lambda value: _EPOCH + timedelta(microseconds=value)),
    bool: (bool, bool),
    int: (int, int),
    str: (str, str),
}


# Lines -----------------------------------------------------------------------


def encode(changes: Iterable[Change]) -> Iterator[bytes]:
    """Yield bodies that hold all changes, each sorted and within an entry's limit.

    There is always one, if only to say that there is nothing. No more than one body
    is in memory at a time.
    """
    lines: list[tuple[str, str, bytes]] = []
    length = 0
    for change in changes:
        line = encode_line(change)
        if length + len(line) > MAX_BODY:
            yield _joined(lines)
            lines, length = [], 0
        lines.append((change.table, change.key, line))
        length += len(line)
    yield _joined(lines)


def _joined(lines: list[tuple[str, str, bytes]]) -> bytes:
    return b"".join(line for _, _, line in sorted(lines))


def encode_line(change: Change) -> bytes:
    """Return the line of one change, its end included."""
    text = json.dumps(
        [change.table, change.key, change.row],
        ensure_ascii=False,
        sort_keys=True,
        allow_nan=False,
        separators=(",", ":"),
    )
    line = text.encode() + b"\n"
    if len(line) > MAX_BODY:
        raise ValueError(f"A row of {change.table} is too long for the journal.")
    return line


def decode(body: bytes) -> list[Change]:
    """Return the changes of a body, or raise DamagedObject."""
    if body and not body.endswith(b"\n"):
        raise DamagedObject("The last line of a journal entry is cut short.")
    changes = [_decode_line(line) for line in body.split(b"\n")[:-1]]
    keys = [(change.table, change.key) for change in changes]
    if keys != sorted(set(keys)):
        raise DamagedObject("The lines of a journal entry are not in their order.")
    return changes


def _decode_line(line: bytes) -> Change:
    try:
        found = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DamagedObject("A line of a journal entry is no JSON.") from error
    match found:
        case [str(table), str(key), None | dict() as row]:
            return Change(table, key, row)
    raise DamagedObject("A line of a journal entry does not say what changed.")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value of JSON.")
