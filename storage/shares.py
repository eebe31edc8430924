"""How a blob lies on the slots: what `blobs` keeps to answer "what if this dies"."""

from typing import NamedTuple

from raid.format import object_length
from raid.manifest import Manifest

_LONGEST = 1000
"""An index holds the text, and has no room for everything."""
_APART = " | "


class Shares(NamedTuple):
    """The values of the columns `slots`, `redundancy` and `share` of a blob."""

    slots: str
    redundancy: int | None
    share: int


def shares_of(manifest: Manifest) -> Shares:
    """Return which slots hold a role of a blob, and how much one role holds.

    An inline or empty blob has no roles: every member holds the whole of it.
    """
    rows = manifest.segments
    if not rows:
        return Shares("", None, 0)
    return Shares(
        _lie_on({frozenset(row.slots) for row in rows}),
        min(row.shape.m for row in rows),
        sum(object_length(row.length, row.shape) for row in rows),
    )


def _lie_on(sets: set[frozenset[int]]) -> str:
    """Return the slots of each segment, those that differ apart: 0 1 | 2 3.

    What lies within another need not be said: it is lost with it, or later.
    """
    apart = [sorted(one) for one in sets if not any(one < other for other in sets)]
    text = _APART.join(" ".join(map(str, one)) for one in sorted(apart))
    if len(text) > _LONGEST:
        return " ".join(map(str, sorted(frozenset().union(*sets))))
    return text


def slots_of(text: str) -> tuple[frozenset[int], ...]:
    """Return the sets of slots that `shares_of` wrote down."""
    return tuple(frozenset(map(int, one.split())) for one in text.split(_APART))
