"""What the processes of a deployment use, sampled while it works, and where it goes."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import psutil

from support.instance import Instance

MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One look at the processes of one part: seconds, bytes and counts, summed."""

    at: float
    processes: tuple[int, ...]
    resident: int
    files: int
    threads: int


@dataclass
class Usage:
    """All looks, by part: `0 pages`, `0 transfers`, `0 worker`, and so on."""

    instances: list[Instance]
    every: float = 5.0
    seen: dict[str, list[Sample]] = field(default_factory=dict)

    @contextmanager
    def watched(self) -> Iterator["Usage"]:
        """Look during the block."""
        stop, begun = threading.Event(), time.monotonic()

        def look() -> None:
            while not stop.wait(self.every):
                self._look(time.monotonic() - begun)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _look(self, at: float) -> None:
        for number, one in enumerate(self.instances):
            for part in one.parts:
                sample = _sample(one, part, at)
                if sample is not None:
                    self.seen.setdefault(f"{number} {part}", []).append(sample)

    def together(self) -> dict[str, list[Sample]]:
        """Return the looks by kind of part, summed over the instances.

        What a process keeps for ever it keeps on all of them; a step of one, after a
        moment of much work, is its own.
        """
        kinds = {name.split()[1] for name in self.seen}
        return {
            kind: [_sum(looks) for looks in zip(*self._all(kind), strict=False)]
            for kind in sorted(kinds)
        }

    def _all(self, kind: str) -> list[list[Sample]]:
        return [some for name, some in self.seen.items() if name.split()[1] == kind]

    def told(self) -> list[str]:
        """Return a line for each part: what it had now and then, and its growth."""
        kinds = [
            f"all {kind}: {growth(samples):+.1f} % an hour in the second half"
            for kind, samples in self.together().items()
        ]
        return kinds + [
            f"{part}: {_now_and_then(samples)} MiB (threads), {growth(samples):+.1f} % "
            f"an hour in the second half; {samples[-1].files} files, at rest "
            f"{kept(samples):+g}, at most {max(one.files for one in samples)}; "
            f"{len(restarts(samples))} restarts"
            for part, samples in self.seen.items()
        ]


def _sum(looks: tuple[Sample, ...]) -> Sample:
    return Sample(
        looks[0].at,
        tuple(pid for one in looks for pid in one.processes),
        sum(one.resident for one in looks),
        sum(one.files for one in looks),
        sum(one.threads for one in looks),
    )


def _now_and_then(samples: list[Sample]) -> str:
    some = [*samples[:: max(1, len(samples) // 6)], samples[-1]]
    return " ".join(f"{one.resident / MIB:.0f} ({one.threads})" for one in some)


def _sample(one: Instance, part: str, at: float) -> Sample | None:
    try:
        family = [psutil.Process(pid) for pid in one.pids(part)]
        return Sample(
            at,
            tuple(process.pid for process in family),
            sum(process.memory_info().rss for process in family),
            sum(process.num_fds() for process in family),
            sum(process.num_threads() for process in family),
        )
    except (psutil.NoSuchProcess, KeyError):
        return None


def restarts(samples: list[Sample]) -> list[float]:
    """Return when the processes were others than before."""
    return [
        later.at
        for earlier, later in pairwise(samples)
        if earlier.processes != later.processes
    ]


def second_half(samples: list[Sample]) -> list[Sample]:
    """Return what was seen once everything was warm."""
    return samples[len(samples) // 2 :]


def growth(samples: list[Sample]) -> float:
    """Return percent of resident memory an hour, in the second half.

    The median of the slopes between all pairs (Theil and Sen), which a few peaks do not
    bend.
    """
    warm = second_half(samples)[:: max(1, len(samples) // 400)]
    slopes = [
        (b.resident - a.resident) / (b.at - a.at)
        for place, a in enumerate(warm)
        for b in warm[place + 1 :]
    ]
    if not slopes:
        return 0.0
    middle = statistics.median(one.resident for one in warm)
    return statistics.median(slopes) * 3600 / middle * 100


def kept(samples: list[Sample]) -> float:
    """Return how many descriptors more it rests with than in its second quarter.

    Each thread may open one for a moment, for a member or a client; what is never
    closed again is there at rest.
    """
    before = samples[len(samples) // 4 : len(samples) // 2]
    return _at_rest(second_half(samples)) - _at_rest(before)


def peak(samples: list[Sample]) -> float:
    """Return the most descriptors for each thread beside those that it rests with."""
    warm = second_half(samples)
    return max((s.files - _at_rest(warm)) / max(s.threads, 1) for s in warm)


def _at_rest(samples: list[Sample]) -> float:
    return statistics.median(sample.files for sample in samples)
