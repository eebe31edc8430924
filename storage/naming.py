"""What blobs are called: `storage` knows no names, so who does registers a resolver."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Named:
    """One file that a blob is the content of; `place` is for people."""

    blob: UUID
    name: str
    place: str
    owner: str


Resolver = Callable[[Collection[UUID]], list[Named]]
_resolvers: list[Resolver] = []


def register(resolver: Resolver) -> None:
    """Let a package say which files it knows of some blobs."""
    if resolver not in _resolvers:
        _resolvers.append(resolver)


def names_of(blobs: Collection[UUID]) -> dict[UUID, list[Named]]:
    """Return the files of some blobs; a blob that nobody knows has an empty list."""
    found: dict[UUID, list[Named]] = {blob: [] for blob in blobs}
    for resolver in _resolvers:
        for named in resolver(found.keys()):
            found[named.blob].append(named)
    return found
