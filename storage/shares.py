"""How a blob lies on the slots: what `blobs` keeps to answer "what if this dies"."""

from typing import NamedTuple

from raid.format import object_length
from raid.manifest import Manifest


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
    slots = sorted({slot for row in rows for slot in row.slots})
    return Shares(
        " ".join(map(str, slots)),
        min(row.shape.m for row in rows),
        sum(object_length(row.length, row.shape) for row in rows),
    )
