"""What the engine asks of a member: a flat store of write-once objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

Buffer = bytes | bytearray | memoryview

RESERVE = 64 * 1024 * 1024
"""Bytes kept free on every member for superblocks, journal and tombstones."""

NEAR = 1000
"""The weight of a disk; that of a bucket stands in its URL, and is 100 if not."""

UNLIMITED = 1 << 60
"""The room, in bytes, of a member that knows of no bound, such as a bucket."""


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object: `modified` is in seconds by the store's own clock."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True)
class Space:
    """Room on a member, in bytes; `UNLIMITED` where no bound is known."""

    total: int
    free: int


class Member(Protocol):
    """One bucket with a prefix, or one directory on a disk.

    Every method raises a `MemberError`. Only `ObjectMissing` means that an object is
    absent; every other error says nothing about what the member holds.
    """

    label: str
    run_units: int
    """Adjacent units worth fetching in one read; more than one where it is far."""
    weight: int
    """How near and cheap it is: reads prefer the higher one."""

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        replace: bool = False,
        essential: bool = False,
        fresh: bool = False,
    ) -> None:
        """Store the joined parts durably, or raise and leave nothing.

        Equal bytes under an existing key are fine, other bytes raise `ObjectExists`;
        `replace` moves the old object to quarantine first. Only `essential` objects
        (superblocks, tombstones) may use the reserve. A ``fresh`` key is new and random
        and nobody else's, so nothing has to be asked before it is written.
        """

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object; short only at the object's end."""

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of an object."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose keys start with the prefix, sorted by key."""

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine.

        Raises `ObjectKept` where nothing may be deleted.
        """

    def keeps(self, prefix: str) -> bool:
        """Tell whether what was deleted under a prefix stays as an older version.

        `list` and `read` do not see it any more; whoever owns the store can.
        """

    def sync(self, prefix: str) -> None:
        """Make durable what is seen under a prefix, which ends in a folder of keys.

        Whoever stored it may have been killed before it was. Call it before anything
        is built on an object's being there already.
        """

    def set_aside(self, key: str) -> None:
        """Move an object to quarantine; an absent one is fine.

        What lies in quarantine is listed under `QUARANTINE`, with the time at which it
        was moved, and is deleted like any other object.
        """

    def space(self) -> Space:
        """Return the room on the member."""

    def check(self) -> None:
        """Raise unless the member is present with its admitted identity."""

    def admit(self, array: UUID, member: UUID) -> None:
        """Insist on this identity from now on in every operation."""
