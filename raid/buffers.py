"""Bound and reuse the memory that segments pass through.

One pool serves a process. What it lends are views of anonymous mappings, which,
unlike the heap, go back to the system whole and at once. When the limit is
reached the next taker waits, and with it the socket that it would have read.
"""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_GRAIN = 1 << 20


class BufferPool:
    """Lend buffers of at most ``limit_bytes`` together."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty; memory is mapped when it is first asked for."""
        self.limit = limit_bytes
        self._free: dict[int, list[mmap.mmap]] = {}
        self.mapped = 0
        self._used = 0
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Return how many bytes are lent out now."""
        return self._used

    @contextmanager
    def take(self, size: int) -> Iterator[memoryview]:
        """Lend a buffer of ``size`` bytes, whose content is anything.

        A buffer larger than the whole limit is lent alone: waiting would never
        end. Views that the borrower made must be gone when the block ends.
        """
        span = -(-size // _GRAIN) * _GRAIN
        area = self._acquire(span)
        view = memoryview(area)
        try:
            with view[:size] as lent:
                yield lent
        finally:
            view.release()
            self._give_back(span, area)

    def _acquire(self, span: int) -> mmap.mmap:
        with self._changed:
            while self._used and self._used + span > self.limit:
                self._changed.wait()
            self._used += span
            try:
                return self._map(span)
            except OSError:
                self._used -= span
                self._changed.notify_all()
                raise

    def _map(self, span: int) -> mmap.mmap:
        kept = self._free.get(span)
        if kept:
            return kept.pop()
        self._close_idle(span)
        area = mmap.mmap(-1, span, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.mapped += span
        return area

    def _close_idle(self, span: int) -> None:
        """Drop idle buffers of other sizes until ``span`` fits the limit.

        The last view that an error still holds unmaps its buffer, not we.
        """
        for size, kept in self._free.items():
            while kept and self.mapped + span > self.limit:
                kept.pop()
                self.mapped -= size

    def _give_back(self, span: int, area: mmap.mmap) -> None:
        """Return the pages to the system and keep the mapping.

        Mapping anew costs more than the pages: a small file touches a few of
        them, and a large one reuses its buffer for every segment.
        """
        area.madvise(mmap.MADV_DONTNEED)
        with self._changed:
            self._used -= span
            self._free.setdefault(span, []).append(area)
            self._changed.notify_all()
