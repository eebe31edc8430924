"""The arithmetic of `benchmarks.durability`: one formula, and two simulations of it.

The model. Each of n members is lost for good at a constant rate, independently of the
others. A rebuild takes an exponential time. The worker gives each job of the array one
step after the other, so two rebuilds at once take twice as long together: the rate of
repair is the same however many members are down. Data is lost when those that are down
at one moment are more than the level bears (`raid.geometry.survives` says so).

The formula is the mean time to absorption of that chain of states (the same one as in
W. Burkhard and J. Menon, "MDS Disk Array Reliability", University of California, 1992),
solved by eliminating one state after the other, with sums of positive terms only. Where
repair is much faster than loss it becomes the well-known

    MTTF^2 / (n (n-1) MTTR)             one member may go (RAID-5)
    MTTF^3 / (n (n-1) (n-2) MTTR^2)     two may (RAID-6)

of P. Chen, E. Lee, G. Gibson, R. Katz and D. Patterson, "RAID: High-Performance,
Reliable Secondary Storage" (ACM Computing Surveys 26, 1994). With repairs that do not
share a worker, two parities would be twice as good as that (arXiv 1310.4702 compares).
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from raid.geometry import Level, Shape, shape_of, survives

DAYS = 365.25
WIDE = 2.5758
"""Standard deviations of a normal figure that hold 99 percent."""


@dataclass(frozen=True)
class Case:
    """An array in the model; times in years but for `repair_days`."""

    level: Level
    width: int
    annual_loss: float
    """The chance that a member is lost for good within a year."""
    repair_days: float
    """From the loss of a member until its successor holds everything, on average."""
    common: float = 0.0
    """How often a year one event takes more members at once than the level bears."""

    def __post_init__(self) -> None:
        """Refuse what the model does not describe."""
        self.level.check(self.width)
        if self.level is Level.RAID10 and self.width % 2:
            raise ValueError("The model knows raid10 over whole pairs only.")
        if not 0 < self.annual_loss < 1 or self.repair_days <= 0 or self.common < 0:
            raise ValueError("The rates of the model must be positive.")

    @cached_property
    def shape(self) -> Shape:
        """Return the shape of a segment of this array."""
        return shape_of(self.level, self.width)

    @property
    def failures(self) -> float:
        """Return how often a year a member that is there is lost."""
        return -math.log1p(-self.annual_loss)

    @property
    def repairs(self) -> float:
        """Return how many rebuilds a year end while there is something to rebuild."""
        return DAYS / self.repair_days

    def alone(self) -> "Case":
        """Return this array without common causes."""
        return replace(self, common=0.0)


@dataclass(frozen=True)
class _State:
    """Rates out of a state: one more down, one repaired, everything lost."""

    worse: float
    better: float
    lost: float


def _states(case: Case) -> Iterator[_State]:
    """Yield the states of a chain that have not lost anything yet."""
    n, rate = case.width, case.failures
    pairs = case.level is Level.RAID10
    for down in range(n // 2 + 1 if pairs else case.shape.m + 1):
        better = case.repairs if down else 0.0
        if pairs:
            # Of each pair that lacks one, the other is left, and it must not go.
            worse, lost = (n - 2 * down) * rate, down * rate
        elif down < case.shape.m:
            worse, lost = (n - down) * rate, 0.0
        else:
            worse, lost = 0.0, (n - down) * rate
        yield _State(worse, better, lost + case.common)


def mean_years(case: Case) -> float:
    """Return the closed formula: the mean time until something is lost, in years.

    With h(i) for the mean time from state i, each state before the last is written as
    h(i) = time + (1 - sunk) h(i + 1). Both are sums and quotients of positive numbers,
    so nothing cancels however rare the loss is.
    """
    time, sunk, reach, total = 0.0, 0.0, 1.0, 0.0
    for state in _states(case):
        out = state.worse + state.lost + state.better * sunk
        time = (1 + state.better * time) / out
        sunk = (state.lost + state.better * sunk) / out
        passed = state.worse / out
        total += reach * time
        reach *= passed
    return total


def textbook_years(case: Case) -> float:
    """Return what Chen and others say, for levels with parity or copies on all."""
    down = math.prod(case.width - i for i in range(case.shape.m + 1))
    return case.repairs**case.shape.m / (down * case.failures ** (case.shape.m + 1))


@dataclass(frozen=True)
class Estimate:
    """What a simulation found, and the half of its 99 percent interval."""

    mean: float
    half: float

    def holds(self, value: float) -> bool:
        """Tell whether a value lies within the interval."""
        return abs(value - self.mean) <= self.half


# Plain: members and clocks, until something is lost ---------------------------


def simulate(case: Case, runs: int, seed: int) -> Estimate:
    """Live through whole lives of arrays; for rates at which losses do happen."""
    draw = random.Random(seed)
    lives = [_life(case, draw) for _ in range(runs)]
    mean = sum(lives) / runs
    spread = sum((life - mean) ** 2 for life in lives) / (runs - 1)
    return Estimate(mean, WIDE * math.sqrt(spread / runs))


def _wait(draw: random.Random, rate: float) -> float:
    """Draw an exponential time; by `random()` alone, which no release changes."""
    return -math.log1p(-draw.random()) / rate if rate else math.inf


def _life(case: Case, draw: random.Random) -> float:
    """Return after how many years one array loses something.

    Each member has its own time to go, and the worker its own queue: nothing here
    knows the states or the rates of the formula.
    """
    ends = [_wait(draw, case.failures) for _ in range(case.width)]
    event = _wait(draw, case.common)
    queue: list[int] = []
    ready = math.inf
    while True:
        slot = min(range(case.width), key=ends.__getitem__)
        now = min(ends[slot], ready, event)
        if now == event:
            return now
        if now == ready:
            ends[queue.pop(0)] = now + _wait(draw, case.failures)
            ready = now + _wait(draw, case.repairs) if queue else math.inf
            continue
        queue.append(slot)
        ends[slot] = math.inf
        if not survives(case.shape, range(case.width), queue):
            return now
        if len(queue) == 1:
            ready = now + _wait(draw, case.repairs)


# Rare: cycles that are pushed towards a loss, and weighed ----------------------


def simulate_rare(case: Case, cycles: int, seed: int) -> Estimate:
    """Estimate the same where losses are far too rare to wait for.

    A cycle goes from all members well to all members well again, or to a loss. In each
    degraded state a loss of the next member is drawn as often as a repair, and the
    cycle is weighed by how much too often that was (balanced failure biasing: V.
    Nicola, P. Shahabuddin, M. Nakayama, "Techniques for fast simulation of models of
    highly dependable systems", IEEE Transactions on Reliability 50, 2001). The mean
    time is that of a cycle over the chance that it ends in a loss. Common causes need
    no such help, and are left out.
    """
    draw = random.Random(seed)
    whole = 1 / (case.width * case.failures)
    found = [_cycle(case, draw) for _ in range(cycles)]
    times = [whole + time for time, _ in found]
    losses = [weight for _, weight in found]
    time, loss = sum(times) / cycles, sum(losses) / cycles
    mean = time / loss
    errors = ((t - mean * w) ** 2 for t, w in zip(times, losses, strict=True))
    spread = sum(errors) / (cycles - 1)
    return Estimate(mean, WIDE * math.sqrt(spread / cycles) / loss)


def _cycle(case: Case, draw: random.Random) -> tuple[float, float]:
    """Return the weighed time of a cycle's degraded part, and its weight if lost."""
    down = [int(draw.random() * case.width)]
    weight, time = 1.0, 0.0
    while down:
        left = case.width - len(down)
        rate = left * case.failures
        out = rate + case.repairs
        time += weight / out
        if draw.random() < 0.5:
            weight *= 2 * case.repairs / out
            down.pop(0)
            continue
        weight *= 2 * rate / out
        there = [slot for slot in range(case.width) if slot not in down]
        down.append(there[int(draw.random() * left)])
        if not survives(case.shape, range(case.width), down):
            return time, weight
    return time, 0.0
