"""Reads of far members at once, of which some stand in for late or failed ones.

Whoever starts a race may do something else until it needs what comes. No thread waits
for another in here: each read is a call of its own on the executor, and one that no
thread has begun by the time it is late is done by whoever waits for it.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from raid.array import Array
from raid.errors import MemberError


@dataclass(frozen=True)
class Ask:
    """A read of one object: ``length`` bytes from ``offset``, or all from there."""

    slot: int
    key: str
    offset: int = 0
    length: int | None = None


class Race:
    """Reads on their way; what comes is in ``came``, by the number of its ask."""

    def __init__(
        self,
        array: Array,
        asks: Sequence[Ask],
        first: int,
        lacking: Callable[[Collection[int]], int],
    ) -> None:
        """Start the first so many asks; the others stand in, in their order.

        ``lacking`` says how many more are needed beside those of some numbers.
        """
        self.asks = asks
        self.came: dict[int, bytes] = {}
        self.failed: dict[int, MemberError] = {}
        self.late: set[int] = set()
        self._array = array
        self._pace = array.health.pace
        self._lacking = lacking
        self._running: dict[Future[bytes], int] = {}
        self._next = 0
        self._hedged = False
        self._begun = self._pace.clock()
        self._start(first)

    def finish(self) -> None:
        """Wait until enough has come, or all that can."""
        while self._running and self._lacking(self.came):
            self._wait()
            self._replace()
        self._part()

    def drop(self) -> None:
        """Leave alone what is on its way; nobody waits for it."""
        for future in self._running:
            future.cancel()
        self._running.clear()

    def _start(self, count: int) -> None:
        stop = min(self._next + count, len(self.asks))
        for number in range(self._next, stop):
            future = self._array.executor.submit(_read, self._array, self.asks[number])
            self._running[future] = number
        self._next = stop

    def _wait(self) -> None:
        patience = None
        if not self._hedged:
            ends = self._begun + self._pace.patience()
            patience = max(0.0, ends - self._pace.clock())
        done, _ = wait(self._running, patience, FIRST_COMPLETED)
        for future in done:
            self._note(self._running.pop(future), future)
        if not done:
            self._overdue()

    def _note(self, number: int, future: Future[bytes]) -> None:
        try:
            self.came[number] = future.result()
        except MemberError as error:
            self.failed[number] = error

    def _overdue(self) -> None:
        """Do what no thread has begun; then ask others, once, if that is paid for."""
        waiting = [future for future in self._running if future.cancel()]
        for future in waiting:
            number = self._running.pop(future)
            try:
                self.came[number] = _read(self._array, self.asks[number])
            except MemberError as error:
                self.failed[number] = error
        if waiting:
            return
        self._hedged = True
        needed = self._lacking(self.came)
        others = self.asks[self._next : self._next + needed]
        size = sum(ask.length or 0 for ask in others)
        if len(others) == needed and self._pace.allow(needed, size):
            self.late = set(self._running.values())
            self._start(needed)

    def _replace(self) -> None:
        """Start as many as failed, and are needed."""
        hoped = self.came.keys() | set(self._running.values())
        self._start(self._lacking(hoped))

    def _part(self) -> None:
        """Note who was too late, and leave him to it."""
        self.late &= set(self._running.values())
        for number in self.late:
            self._pace.late(self.asks[number].slot)
        self.drop()


def _read(array: Array, ask: Ask) -> bytes:
    clock = array.health.pace.clock
    since = clock()
    with array.using(ask.slot) as member:
        data = member.read(ask.key, ask.offset, ask.length)
    if member.run_units > 1:  # far ones are not measured against disks
        array.health.pace.took(ask.slot, clock() - since)
    return data
