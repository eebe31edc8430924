"""Count what each member was asked for, and how it answered: requests, bytes, seconds.

The counts belong to one process and only grow; whoever wants a rate compares two of
them. A member that is lent through `Figures` is the member itself but for its `read`
and `put`, which are timed.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from raid.errors import MemberError, ObjectExists, ObjectKept, ObjectMissing
from raid.member import Buffer, Member

_ABOUT_OBJECTS = (ObjectMissing, ObjectExists, ObjectKept)


@dataclass
class Traffic:
    """What went one way; ``seconds`` of all requests together, failed ones too."""

    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass
class Figure:
    """What one member did since the process began; ``errors`` by observed state."""

    read: Traffic = field(default_factory=Traffic)
    write: Traffic = field(default_factory=Traffic)
    errors: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Figure":
        """Return the same numbers, which do not change any more."""
        return Figure(replace(self.read), replace(self.write), Counter(self.errors))


class Figures:
    """The counts by slot; safe between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin at nothing, on a monotonic clock."""
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: dict[int, Figure] = {}

    def lend(self, slot: int, member: Member) -> Member:
        """Return the member, with what it reads and writes counted."""
        return cast(Member, _Counted(self, slot, member))

    def error(self, slot: int, error: MemberError) -> None:
        """Count an error; one about an object is none of the member's."""
        if not isinstance(error, _ABOUT_OBJECTS):
            with self._lock:
                self._of(slot).errors[error.word] += 1

    def now(self) -> dict[int, Figure]:
        """Return what was counted until now."""
        with self._lock:
            return {slot: figure.copy() for slot, figure in self._slots.items()}

    def timed(self, slot: int, way: str, do: Callable[[], bytes | int]) -> Any:
        """Do a request, and count it whatever comes of it; returns what it returns."""
        began, size = self._clock(), 0
        try:
            done = do()
            size = done if isinstance(done, int) else len(done)
            return done
        finally:
            seconds = self._clock() - began
            with self._lock:
                traffic: Traffic = getattr(self._of(slot), way)
                traffic.requests += 1
                traffic.bytes += size
                traffic.seconds += seconds

    def _of(self, slot: int) -> Figure:
        return self._slots.setdefault(slot, Figure())


class _Counted:
    """A member whose reads and writes are counted; all else is the member's own."""

    def __init__(self, figures: Figures, slot: int, member: Member) -> None:
        self._figures, self._slot, self._member = figures, slot, member

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read, and count it."""
        ask = self._member.read
        found: bytes = self._figures.timed(
            self._slot, "read", lambda: ask(key, offset, length)
        )
        return found

    def put(self, key: str, parts: Sequence[Buffer], **options: Any) -> None:
        """Store, and count it."""

        def store() -> int:
            self._member.put(key, parts, **options)
            return sum(len(part) for part in parts)

        self._figures.timed(self._slot, "write", store)
