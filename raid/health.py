"""Remember what each member did last, so that a sick one is rested and not asked.

This is the *observed* state of the design: it belongs to one process, is never
stored, and says nothing about what a member holds. Trouble with writing (full,
read-only) leaves a member readable; any other trouble rests it altogether.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from raid.errors import (
    MemberError,
    MemberFailing,
    MemberFull,
    MemberReadOnly,
    MemberSlow,
    ObjectExists,
    ObjectKept,
    ObjectMissing,
)
from raid.pace import Pace

REST = 2.0
WRITE_REST = 15.0
"""A write that met a full or read-only member costs more to try than a question."""
LONGEST_REST = 60.0
WINDOW = 600.0
"""Seconds for which a failure of a device counts against it."""
TRIAL = 15.0
"""Seconds for which one request may try a member that has rested, and no other."""

_ABOUT_OBJECTS = (ObjectMissing, ObjectExists, ObjectKept)
_ABOUT_WRITES = (MemberFull, MemberReadOnly)


@dataclass
class _Trouble:
    """One kind of trouble of one member, and until when it is left alone."""

    error: MemberError
    rest: float
    until: float
    by_check: bool
    trial: float = 0.0
    """Until when a request is given to find out whether it is over."""


class Health:
    """Keep the observed state of the members, by slot; safe between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start with every member in good standing, on a monotonic clock."""
        self._clock = clock
        self._lock = threading.Lock()
        self.pace = Pace(clock)
        self._reach: dict[int, _Trouble] = {}
        self._write: dict[int, _Trouble] = {}
        self._failures: dict[int, list[float]] = {}

    def note(self, slot: int, error: MemberError, *, by_check: bool = False) -> None:
        """Rest a member after an error; an error about one object is none."""
        if isinstance(error, _ABOUT_OBJECTS):
            self._end_trial(slot)
            return
        about_writes = isinstance(error, _ABOUT_WRITES)
        with self._lock:
            known = self._write if about_writes else self._reach
            first = WRITE_REST if about_writes else REST
            before = known.get(slot)
            known[slot] = self._trouble(before, error, first, by_check)
            if isinstance(error, MemberFailing) and not by_check:
                self._count_failure(slot, before)

    def _end_trial(self, slot: int) -> None:
        """Let the next one try: the member answered, though not about itself."""
        trouble = self._reach.get(slot)
        if trouble is not None:
            trouble.trial = 0.0

    def _trouble(
        self, before: _Trouble | None, error: MemberError, rest: float, by_check: bool
    ) -> _Trouble:
        """Return the next rest: the same while one lasts, doubled after it."""
        now = self._clock()
        if before is None:
            return _Trouble(error, rest, now + rest, by_check)
        by_check = by_check and before.by_check
        if now < before.until:  # another thread met the same trouble
            return _Trouble(error, before.rest, before.until, by_check)
        rest = min(before.rest * 2, LONGEST_REST)
        return _Trouble(error, rest, now + rest, by_check)

    def _count_failure(self, slot: int, before: _Trouble | None) -> None:
        """Count what begins a rest: threads that met it together met it once."""
        now = self._clock()
        if before is None or now >= before.until:
            recent = [at for at in self._failures.get(slot, ()) if at > now - WINDOW]
            self._failures[slot] = [*recent, now]

    def failures(self, slot: int) -> int:
        """Return how often a member's device failed of late, in reads and writes."""
        with self._lock:
            since = self._clock() - WINDOW
            return sum(at > since for at in self._failures.get(slot, ()))

    def forget(self, slot: int) -> None:
        """Forget all of a slot: its member was taken back."""
        self.pace.forget(slot)
        with self._lock:
            for known in (self._reach, self._write, self._failures):
                known.pop(slot, None)

    def without(self, slots: Collection[int]) -> "Health":
        """Return a copy that knows nothing of some slots: other members sit there.

        Who still uses the members that sat there notes here how those are.
        """
        new = Health(self._clock)
        new.pace = self.pace.without(slots)
        with self._lock:
            new._reach = {slot: replace(one) for slot, one in self._reach.items()}
            new._write = {slot: replace(one) for slot, one in self._write.items()}
            new._failures = dict(self._failures)
        for slot in slots:
            new.forget(slot)
        return new

    def begin(self, slot: int) -> None:
        """Note that a request begins; after a rest one tries and the others wait."""
        if slot not in self._reach:
            return
        with self._lock:
            trouble = self._reach.get(slot)
            now = self._clock()
            if trouble is not None and now >= max(trouble.until, trouble.trial):
                trouble.trial = now + TRIAL

    def ok(self, slot: int, *, write: bool = False) -> None:
        """Forget trouble after a success.

        A check or a read proves little about a disk that fails under writes, so
        only a write, or a rest that has ended, clears that.
        """
        if slot not in self._reach and slot not in self._write:
            return
        with self._lock:
            reach = self._reach.get(slot)
            if reach is not None and (write or not self._is_lasting(reach)):
                del self._reach[slot]
            if write:
                self._write.pop(slot, None)

    def checked(self, slot: int) -> None:
        """Note that a whole check passed: reachable, and writable as it seems.

        What a write found out, a check can't see (a quota, a bad disk), so that lasts
        until its rest has ended.
        """
        self.ok(slot)
        with self._lock:
            write = self._write.get(slot)
            if write is not None and (write.by_check or self._clock() >= write.until):
                del self._write[slot]

    def _is_lasting(self, trouble: _Trouble) -> bool:
        failing = isinstance(trouble.error, MemberFailing)
        return failing and self._clock() < trouble.until

    def observed(self, slot: int) -> str | None:
        """Return the design's word for what is wrong with a member, or None."""
        error = self.error(slot)
        return None if error is None else error.word

    def error(self, slot: int) -> MemberError | None:
        """Return the last trouble of a member that no success has ended.

        One that rests because it was late too often is in trouble, too.
        """
        trouble = self._reach.get(slot) or self._write.get(slot)
        if trouble is not None:
            return trouble.error
        rest = self.pace.rests_for(slot)
        return _too_late(slot, rest) if rest else None

    def unreachable(self, slot: int) -> bool:
        """Tell whether the last word of a member was that it can't be used."""
        return slot in self._reach

    def usable(self, slot: int, *, write: bool = False) -> bool:
        """Tell whether a member may be asked now; one that has rested may."""
        now = self._clock()
        for known in (self._reach, self._write) if write else (self._reach,):
            trouble = known.get(slot)
            if trouble is not None and now < max(trouble.until, trouble.trial):
                return False
        return True


def _too_late(slot: int, rest: float) -> MemberSlow:
    minutes = max(1, round(rest / 60))
    return MemberSlow(
        f"slot {slot}",
        "Its answers come too late too often, so other members are read in its place "
        f"for another {minutes} min; new files still go there.",
    )
