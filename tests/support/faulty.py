"""A member that misbehaves on request, around one that does not.

A fault is armed for the n-th call of a kind, or for all calls; ``fired`` counts how
often each happened, because a fault that did not fire proves nothing.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import UUID

from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    MemberSlow,
)
from raid.member import NEAR, Buffer, Member, ObjectInfo, Space

RAISING: dict[str, type[MemberError]] = {
    "failing": MemberFailing,
    "missing": MemberMissing,
    "slow": MemberSlow,
    "denied": MemberDenied,
    "full": MemberFull,
    "read-only": MemberReadOnly,
}
WRITE_ONLY = ("full", "read-only")
LYING = ("short", "flipped", "other", "empty", "long", "shifted")
TWICE = "twice"
"""A write that is delivered two times, as after a retry."""
KINDS = (*RAISING, *LYING, TWICE)


class FaultyMember:
    """Pass calls on, except those that a fault is armed for."""

    run_units = 1
    weight = NEAR

    def __init__(self, inner: Member, seed: int = 0) -> None:
        self.inner = inner
        self.label = inner.label
        self.fired: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._always: str | None = None
        self._once: tuple[str, str, int] | None = None
        self._lock = threading.Lock()

    def always(self, kind: str | None) -> None:
        """Misbehave in every call from now on, or, with None, in none."""
        self._always = kind
        self._once = None

    def on_call(self, method: str, nth: int, kind: str) -> None:
        """Misbehave once, in the n-th call of a method counted from now."""
        self._once = (method, kind, nth)
        self.calls.clear()

    def _fault(self, method: str) -> str | None:
        with self._lock:
            self.calls[method] += 1
            kind = self._always
            if self._once is not None:
                wanted, armed, nth = self._once
                if method == wanted and self.calls[method] == nth:
                    kind, self._once = armed, None
            if kind in (*WRITE_ONLY, TWICE) and method != "put":
                return None
            if kind in LYING and method != "read":
                return None
            if kind is not None:
                self.fired[kind] += 1
            return kind

    def _raise(self, kind: str | None) -> None:
        if kind in RAISING:
            raise RAISING[kind](self.label, f"{self.label} was told to be {kind}.")

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        replace: bool = False,
        essential: bool = False,
        fresh: bool = False,
    ) -> None:
        kind = self._fault("put")
        if not (kind == "full" and essential):
            self._raise(kind)
        self.inner.put(key, parts, replace=replace, essential=essential, fresh=fresh)
        if kind == TWICE:
            self.inner.put(
                key, parts, replace=replace, essential=essential, fresh=fresh
            )

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        kind = self._fault("read")
        self._raise(kind)
        if kind == "other":
            return self._from_another(key, offset, length)
        data = self.inner.read(key, offset, length)
        if kind == "empty":
            return b""
        if kind == "long":
            return data + b"\0"
        if kind == "shifted":
            return data[1:] + data[:1]
        if kind == "short":
            return data[: len(data) // 2]
        if kind == "flipped" and data:
            return flip(data, self._random.randrange(len(data) * 8))
        return data

    def _from_another(self, key: str, offset: int, length: int | None) -> bytes:
        keys = [info.key for info in self.inner.list("o/") if info.key != key]
        if not keys:
            return b""
        return self.inner.read(self._random.choice(keys), offset, length)

    def info(self, key: str) -> ObjectInfo:
        self._raise(self._fault("info"))
        return self.inner.info(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._raise(self._fault("list"))
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self._raise(self._fault("delete"))
        self.inner.delete(key)

    def keeps(self, prefix: str) -> bool:
        self._raise(self._fault("keeps"))
        return self.inner.keeps(prefix)

    def sync(self, prefix: str) -> None:
        self._raise(self._fault("sync"))
        self.inner.sync(prefix)

    def set_aside(self, key: str) -> None:
        self._raise(self._fault("set_aside"))
        self.inner.set_aside(key)

    def space(self) -> Space:
        self._raise(self._fault("space"))
        return self.inner.space()

    def check(self) -> None:
        self._raise(self._fault("check"))
        self.inner.check()

    def admit(self, array: UUID, member: UUID) -> None:
        self.inner.admit(array, member)


def flip(data: bytes, bit: int) -> bytes:
    """Return bytes with one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
