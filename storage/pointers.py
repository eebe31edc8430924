"""What points at blobs: the packages above say how their rows name them.

A blob that is written anew gets another uuid, and every row that names the old one has
to name the new one in the same transaction. Whose rows these are, this package doesn't
know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from storage import maps


@dataclass(frozen=True)
class Pointers:
    """The rows of one package that name blobs.

    `lock` takes whatever that package locks before it changes such rows, and is called
    before the member map is locked. `repoint` makes the rows name another blob and
    returns how many there were.
    """

    lock: Callable[[maps.AnySession, UUID], None]
    repoint: Callable[[maps.AnySession, UUID, UUID], int]


_pointers: dict[str, Pointers] = {}


def register(name: str, pointers: Pointers) -> None:
    """Let a package say how its rows name blobs."""
    _pointers[name] = pointers


def lock(session: maps.AnySession, blob: UUID) -> None:
    """Lock everything that names a blob."""
    for one in _pointers.values():
        one.lock(session, blob)


def repoint(session: maps.AnySession, old: UUID, new: UUID) -> int:
    """Make every row name the new blob; returns how many named the old one."""
    return sum(one.repoint(session, old, new) for one in _pointers.values())
