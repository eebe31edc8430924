"""Histories of files that many people write and read, checked as atomic registers.

A file under one name is a register: a download gives what the last upload put there. A
history of operations that overlap in time is right if they could have happened one
after the other, each at some moment between its begin and its end (linearizable).
Every write here puts a value of its own, and for such histories the question is easy:
Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26 (1997), theorem 4.2.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

START = ""
"""The value of a register that nobody wrote to."""


@dataclass(frozen=True)
class Operation:
    """A write or a read of one register; moments are seconds of one clock."""

    register: str
    value: str
    begin: float
    end: float
    is_write: bool


@dataclass
class _Zone:
    """A write with all reads of its value."""

    value: str
    begin: float
    first_end: float
    last_begin: float

    @property
    def is_forward(self) -> bool:
        """Tell whether it must hold the register for a while; else only a moment."""
        return self.first_end < self.last_begin

    @property
    def span(self) -> tuple[float, float]:
        """The time that it must hold, or the time in which its moment lies."""
        return tuple(sorted((self.first_end, self.last_begin)))  # type: ignore[return-value]


def anomalies(history: list[Operation]) -> list[str]:
    """Return what no order of the operations explains, in words."""
    found = []
    for register in sorted({one.register for one in history}):
        found += _of_one([one for one in history if one.register == register])
    return found


def _of_one(history: list[Operation]) -> list[str]:
    zones, found = _zones(history)
    spans = sorted(zones, key=lambda zone: zone.span)
    furthest: _Zone | None = None
    for zone in (zone for zone in spans if zone.is_forward):
        if furthest is not None and zone.span[0] < furthest.span[1]:
            found.append(f"{zone.value} and {furthest.value} both hold at one time")
        if furthest is None or zone.span[1] > furthest.span[1]:
            furthest = zone
    forward = [zone for zone in spans if zone.is_forward]
    for zone in (zone for zone in spans if not zone.is_forward):
        begin, end = zone.span
        within = (one for one in forward if one.span[0] < begin and end < one.span[1])
        found += [f"{zone.value} has no moment while {w.value} holds" for w in within]
    return found


def _zones(history: list[Operation]) -> tuple[list[_Zone], list[str]]:
    """Group the operations by value; a read of what is not written yet is wrong."""
    found = []
    zones = {START: _Zone(START, -math.inf, -math.inf, -math.inf)}
    for one in history:
        if one.is_write:
            assert one.value not in zones, "each write has a value of its own"
            zones[one.value] = _Zone(one.value, one.begin, one.end, one.begin)
    for one in history:
        if one.is_write:
            continue
        zone = zones.get(one.value)
        if zone is None:
            found.append(f"{one.value!r} was read and never written")
        elif one.end < zone.begin:
            found.append(f"{one.value!r} was read before it was written")
        else:
            zone.first_end = min(zone.first_end, one.end)
            zone.last_begin = max(zone.last_begin, one.begin)
    return list(zones.values()), found


@dataclass
class Recorder:
    """Writes a history down while many threads make it."""

    clock: Callable[[], float] = time.monotonic
    history: list[Operation] = field(default_factory=list)
    _unsure: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def writing(self, register: str, value: str) -> Iterator[None]:
        """Note a write; one that raises may have happened, or happen later."""
        begin = self.clock()
        try:
            yield
        except BaseException:
            with self._lock:
                self._unsure.append(Operation(register, value, begin, math.inf, True))
            raise
        self._note(Operation(register, value, begin, self.clock(), True))

    def read(self, register: str, read: Callable[[], str]) -> str:
        """Do a read and note it."""
        begin = self.clock()
        value = read()
        self._note(Operation(register, value, begin, self.clock(), False))
        return value

    def _note(self, one: Operation) -> None:
        with self._lock:
            self.history.append(one)

    def anomalies(self) -> list[str]:
        """Check it; an unsure write counts once somebody has read its value."""
        seen = {(one.register, one.value) for one in self.history if not one.is_write}
        happened = [one for one in self._unsure if (one.register, one.value) in seen]
        return anomalies(self.history + happened)
