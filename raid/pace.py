"""How long far members take, which read is late, and what asking others may cost.

Times are smoothed as TCP smooths its round trips (RFC 6298): a mean and a deviation of
each member. What is late is measured against the members in the middle, so that a slow
one never sets the measure. Like health, this belongs to one process and is not stored.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

LEAST_PATIENCE = 0.1
"""Seconds that any read is given."""
FIRST_PATIENCE = 1.0
"""The same before a member has answered once."""
MARGIN = 2.0
SHARE = 0.05
"""How many reads one read pays for: at most one in twenty is asked for twice."""
BURST = 100.0
"""Reads that may be asked for twice before that counts."""
BYTES_A_DAY = 10 << 30
"""The most bytes that a process asks for twice within 24 hours."""
DAY = 86_400.0
TOO_OFTEN = 5.0
"""Reads that are late, beside four timely ones for each, until a member rests."""
SLOW_REST = 600.0
"""Seconds for which others are read in place of a member that is too often late."""
_ONCE = 1.0
_TIMELY = TOO_OFTEN / 20


@dataclass
class _Times:
    """The smoothed time of one member's reads, in seconds."""

    mean: float
    deviation: float

    @property
    def most(self) -> float:
        """Return what a read takes at most, if nothing is wrong."""
        return self.mean + 4 * self.deviation

    def add(self, seconds: float) -> None:
        """Weigh in a read, as the RFC does."""
        self.deviation += (abs(seconds - self.mean) - self.deviation) / 4
        self.mean += (seconds - self.mean) / 8


@dataclass(frozen=True)
class Hedges:
    """What asking others came to, since the process began.

    ``hedged`` reads were asked of others because a member was late, ``saved`` times
    they came first; ``refused`` times the budget was spent.
    """

    hedged: int = 0
    hedged_bytes: int = 0
    saved: int = 0
    refused: int = 0


class Pace:
    """Keep the times of the members, by slot; safe between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing yet; the clock is monotonic and in seconds."""
        self.clock = clock
        self._lock = threading.Lock()
        self._times: dict[int, _Times] = {}
        self._lateness: dict[int, float] = {}
        self._late_at: dict[int, float] = {}
        self._rests: dict[int, float] = {}
        self._left = BURST
        self._day, self._today = clock(), 0
        self.hedges = Hedges()

    def took(self, slot: int, seconds: float) -> None:
        """Note how long a read took that came."""
        timely = seconds <= self.patience()
        with self._lock:
            self._left = min(BURST, self._left + SHARE)
            known = self._times.get(slot)
            if known is None:
                self._times[slot] = _Times(seconds, seconds / 2)
            else:
                known.add(seconds)
            if timely and slot in self._lateness:
                self._lateness[slot] = max(0.0, self._lateness[slot] - _TIMELY)

    def patience(self) -> float:
        """Return after how many seconds a read is late."""
        with self._lock:
            each = sorted(times.most for times in self._times.values())
        if not each:
            return FIRST_PATIENCE
        return max(LEAST_PATIENCE, MARGIN * each[(len(each) - 1) // 2])

    def late(self, slot: int) -> None:
        """Note a read that was late and that others made good.

        Reads that met the same trouble within a second met it once.
        """
        with self._lock:
            self.hedges = _more(self.hedges, saved=1)
            now = self.clock()
            if now - self._late_at.get(slot, -_ONCE) < _ONCE:
                return
            self._late_at[slot] = now
            score = self._lateness.get(slot, 0.0) + 1
            if score >= TOO_OFTEN:
                self._rests[slot] = now + SLOW_REST
                score = TOO_OFTEN - 1  # after the rest, one late read is enough
            self._lateness[slot] = score

    def rests_for(self, slot: int) -> float:
        """Return for how many seconds more others are read in a member's place."""
        return max(0.0, self._rests.get(slot, 0.0) - self.clock())

    def forget(self, slot: int) -> None:
        """Forget all of a slot: its member was taken back."""
        with self._lock:
            for known in (self._times, self._lateness, self._late_at, self._rests):
                known.pop(slot, None)

    def without(self, slots: Collection[int]) -> "Pace":
        """Return a copy that knows nothing of some slots: other members sit there."""
        new = Pace(self.clock)
        with self._lock:
            new._times = {slot: replace(times) for slot, times in self._times.items()}
            new._lateness = dict(self._lateness)
            new._late_at = dict(self._late_at)
            new._rests = dict(self._rests)
            new._left, new.hedges = self._left, self.hedges
            new._day, new._today = self._day, self._today
        for slot in slots:
            new.forget(slot)
        return new

    def allow(self, reads: int, size: int) -> bool:
        """Pay for asking others ``reads`` times for ``size`` bytes, or say no."""
        with self._lock:
            if self.clock() - self._day >= DAY:
                self._day, self._today = self.clock(), 0
            if self._left < reads or self._today + size > BYTES_A_DAY:
                self.hedges = _more(self.hedges, refused=1)
                return False
            self._left -= reads
            self._today += size
            self.hedges = _more(self.hedges, hedged=reads, hedged_bytes=size)
            return True


def _more(old: Hedges, **more: int) -> Hedges:
    return Hedges(**{name: old.__dict__[name] + more.get(name, 0) for name in _NAMES})


_NAMES = tuple(Hedges.__dataclass_fields__)
