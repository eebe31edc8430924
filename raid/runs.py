"""Read a range in runs of a few rows, one on its way while another is sent.

On disks one thread loads the run after the present one. Far members are asked for a
run in one read for each role, and one that is late is made good by others: see
`raid.race`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from itertools import groupby

from raid.array import Array
from raid.errors import RaidError
from raid.geometry import UNIT, Piece
from raid.manifest import Manifest
from raid.preference import is_far
from raid.race import Race
from raid.segments import Damage, SegmentReader

_NEAR_RUN = 1536 * 1024
_FIRST_FAR_RUN = 3 * 1024 * 1024
_FAR_RUN = 3 * _FIRST_FAR_RUN
"""Bytes of a run, short in the first segment: nobody waits long for the first byte.

A request costs more than a megabyte. A download has two runs in memory at most.
"""


@dataclass
class _Run:
    """A few adjacent units of a segment, read at once."""

    array: Array
    segment: SegmentReader
    pieces: list[Piece]
    chunks: list[bytes] = field(default_factory=list)
    error: RaidError | None = None

    def begin(self) -> None:
        """Start to read, in another thread."""

    def load(self) -> None:
        """Read and verify the units; those before a bad one may still be served."""
        try:
            for piece in self.pieces:
                self.chunks.append(self.segment.bytes_of(piece))
        except RaidError as error:
            self.error = error

    def drop(self) -> None:
        """End what `begin` started."""


@dataclass
class _Near(_Run):
    """A run on disks: one thread reads and verifies all of it.

    A run that no thread has begun by the time it is wanted is loaded by who wants it,
    so a busy executor makes a download slower but never makes it wait.
    """

    _future: Future[None] | None = None

    def begin(self) -> None:
        """Load the run in another thread."""
        self._future = self.array.executor.submit(_Run.load, self)

    def load(self) -> None:
        """Have the run loaded."""
        if self._future is None or self._future.cancel():
            super().load()
        else:
            self._future.result()

    def drop(self) -> None:
        """Wait: whoever stops reading leaves nothing running."""
        if self._future is not None and not self._future.cancel():
            wait([self._future])


@dataclass
class _Far(_Run):
    """A run on far members: a race for its units, and one for the table if needed."""

    _roles: list[int] = field(default_factory=list)
    _race: Race | None = None
    _heads: Race | None = None

    def begin(self) -> None:
        """Ask the members for all units of the run."""
        if self._race is not None:
            return
        columns = {piece.column for piece in self.pieces}
        segment = self.segment
        self._roles, first = segment.roles_for(columns)
        if self._rows.start and segment.needs_table:
            asks = [segment.ask_for_table(role) for role in self._roles]
            self._heads = Race(self.array, asks, 1, lambda came: 0 if came else 1)
        asks = [segment.ask_for(self._rows, role) for role in self._roles]
        self._race = Race(
            self.array,
            asks,
            first,
            lambda came: segment.lacking(columns, [self._roles[n] for n in came]),
        )

    @property
    def _rows(self) -> range:
        return range(self.pieces[0].row, self.pieces[-1].row + 1)

    def load(self) -> None:
        """Take what came, and read alone what did not."""
        self.begin()
        if self._heads is not None:
            for role, head in self._ended(self._heads).items():
                self.segment.hold_table(role, head)
        if self._race is not None:
            self.segment.hold(self._rows, self._ended(self._race))
        super().load()
        self.segment.drop_held()

    def _ended(self, race: Race) -> dict[int, bytes]:
        race.finish()
        for number, error in race.failed.items():
            self.segment.lost(self._roles[number], error)
        for number in race.late:
            self.segment.leave_out(self._roles[number])
        return {self._roles[number]: data for number, data in race.came.items()}

    def drop(self) -> None:
        """Leave the reads to themselves: a member that hangs keeps nobody."""
        for race in (self._heads, self._race):
            if race is not None:
                race.drop()


def read_runs(
    array: Array,
    manifest: Manifest,
    start: int,
    stop: int,
    on_damage: Callable[[Damage], None],
) -> Iterator[bytes]:
    """Yield verified bytes start..stop of a blob; see `raid.reader.read`."""
    far = is_far(array)
    runs = _runs(array, manifest, start, stop, _Far if far else _Near)
    ahead: deque[_Run] = deque()
    try:
        run: _Run | None = next(runs)
        while run is not None:
            if far:
                run.begin()
                _begin_next(ahead, runs)
            run.load()
            if not far and run.error is None:
                _begin_next(ahead, runs)
            yield from run.chunks
            run.chunks.clear()
            for damage in run.segment.take_damage():
                on_damage(damage)
            if run.error is not None:
                raise run.error
            run = ahead.popleft() if ahead else None
    finally:
        for left in ahead:
            left.drop()


def _begin_next(ahead: deque[_Run], runs: Iterator[_Run]) -> None:
    if not ahead and (run := next(runs, None)) is not None:
        run.begin()
        ahead.append(run)


def _runs(
    array: Array, manifest: Manifest, start: int, stop: int, kind: type[_Run]
) -> Iterator[_Run]:
    """Yield what a range covers in runs of whole rows, of about one size."""
    size = _FIRST_FAR_RUN if kind is _Far else _NEAR_RUN
    for span in manifest.spans(start, stop):
        segment = SegmentReader(array, manifest, span.number)
        rows = max(1, size // (segment.k * UNIT))
        size = _FAR_RUN if kind is _Far else _NEAR_RUN
        covered = segment.pieces(span.start, span.stop)
        for _, run in groupby(covered, lambda piece: piece.row // rows):  # noqa: B023
            yield kind(array, segment, list(run))
