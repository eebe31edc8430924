"""A member in memory: the contract of `member.py` for tests and models."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

from raid.errors import (
    DamagedObject,
    MemberFull,
    MemberMissing,
    ObjectExists,
    ObjectMissing,
    UnknownVersion,
)
from raid.keys import QUARANTINE, parse_superblock_key
from raid.member import NEAR, RESERVE, Buffer, ObjectInfo, Space
from raid.superblock import Superblock

_NOTHING: tuple[str, bytes | None] = ("", None)


class MemoryMember:
    """A member whose objects live in a dict and end with the process."""

    run_units = 1
    weight = NEAR

    def __init__(
        self,
        label: str = "memory",
        *,
        capacity: int = 1 << 40,
        reserve: int = RESERVE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.label = label
        self.objects: dict[str, bytes] = {}
        self.quarantine: list[tuple[str, bytes]] = []
        # Under which name each of these is listed, and when it was moved.
        self._moved: list[tuple[str, float]] = []
        self._modified: dict[str, float] = {}
        self._capacity = capacity
        self._reserve = reserve
        self._clock = clock
        self._identity: tuple[UUID, UUID] | None = None
        self._verified = _NOTHING
        self._lock = threading.RLock()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        replace: bool = False,
        essential: bool = False,
        fresh: bool = False,  # noqa: ARG002
    ) -> None:
        """Store an object; see `Member.put`."""
        data = b"".join(parts)
        with self._lock:
            self.check()
            old = self.objects.get(key)
            if old == data:
                return
            if old is not None and not replace:
                raise ObjectExists(self.label, key)
            room = self.space().free - (0 if essential else self._reserve)
            if len(data) > room:
                raise MemberFull(self.label, f"Member {self.label} is full.")
            if old is not None:
                self._put_aside(key, old)
            self.objects[key] = data
            if parse_superblock_key(key):
                self._verified = _NOTHING
            self._modified[key] = self._clock()

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""
        with self._lock:
            self.check()
            data = self._get(key)
        return data[offset : None if length is None else offset + length]

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of an object."""
        with self._lock:
            self.check()
            return ObjectInfo(key, len(self._get(key)), self._modified[key])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose keys start with the prefix, sorted by key."""
        with self._lock:
            self.check()
            keys = sorted(key for key in self.objects if key.startswith(prefix))
            found = [
                ObjectInfo(key, len(self.objects[key]), self._modified[key])
                for key in keys
            ]
            if prefix.startswith(QUARANTINE):
                found = sorted(self._aside(prefix), key=lambda info: info.key)
        yield from found

    def _aside(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield what lies in quarantine, in the order in which it came."""
        for (_, data), (name, moved) in zip(self.quarantine, self._moved, strict=True):
            if name.startswith(prefix):
                yield ObjectInfo(name, len(data), moved)

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine."""
        with self._lock:
            self.check()
            if key.startswith(QUARANTINE):
                self._drop_aside(key)
            self.objects.pop(key, None)
            self._modified.pop(key, None)

    def _drop_aside(self, name: str) -> None:
        names = [known for known, _ in self._moved]
        if name in names:
            number = names.index(name)
            del self.quarantine[number], self._moved[number]

    def keeps(self, prefix: str) -> bool:  # noqa: ARG002
        """What is deleted is gone."""
        self.check()
        return False

    def sync(self, prefix: str) -> None:  # noqa: ARG002
        """Everything is as durable as it will be."""
        self.check()

    def set_aside(self, key: str) -> None:
        """Move an object to quarantine; an absent one is fine."""
        with self._lock:
            self.check()
            if key in self.objects:
                self._put_aside(key, self.objects.pop(key))
                self._modified.pop(key)

    def _put_aside(self, key: str, data: bytes) -> None:
        self.quarantine.append((key, data))
        name = f"{QUARANTINE}{key.replace('/', '_')}.{uuid4().hex[:8]}"
        self._moved.append((name, self._clock()))

    def space(self) -> Space:
        """Return the room that is left of the capacity."""
        with self._lock:
            self.check()
            used = sum(map(len, self.objects.values()))
        return Space(self._capacity, max(0, self._capacity - used))

    def check(self) -> None:
        """Raise unless the newest superblock names the admitted identity."""
        if self._identity is None:
            return
        with self._lock:
            known, verified = self._verified
            if verified is not None and self.objects.get(known) is verified:
                return
            found = max(
                filter(parse_superblock_key, self.objects), key=_order, default=""
            )
            data = self.objects.get(found, b"")
            if _identity_in(data) != self._identity:
                raise MemberMissing(
                    self.label,
                    f"Member {self.label} is blank or belongs to another array.",
                )
            self._verified = found, data

    def admit(self, array: UUID, member: UUID) -> None:
        """Insist on this identity from now on in every operation."""
        self._identity, self._verified = (array, member), _NOTHING

    def _get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(self.label, key)
        return self.objects[key]


def _order(key: str) -> tuple[int, int]:
    return parse_superblock_key(key) or (0, 0)


def _identity_in(data: bytes) -> tuple[UUID, UUID] | None:
    try:
        superblock = Superblock.unpack(data)
    except (DamagedObject, UnknownVersion):
        return None
    return superblock.array, superblock.member
