"""How likely it is that an array loses something: a model, and never a promise.

    python -m benchmarks.durability [--common RATE] [--seed N]

The first table is what docs/scale.md holds: losses in a million years of one array, by
level, width, annual loss of a member and time of a rebuild, by the closed formula of
`benchmarks.chances`. The formula takes members to be lost independently. They are not,
so no figure stands without what a common cause adds: one event that takes more members
than the level bears, such as the end of an account, of a provider, or one mistake of
one operator. Its rate is an **assumption**, given by `--common` as events a year.

The second table is the check of the formula: whole lives of arrays at rates at which
losses do happen, and weighed cycles at the rates of the first table. It exits with 1
when the formula lies outside of a 99 percent interval.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from benchmarks import chances
from benchmarks.chances import Case
from raid.geometry import Level

COMMON = 0.001
"""Once in a thousand years: an assumption; docs/scale.md says where it comes from."""

YEARS = 1_000_000
SEED = 1
LIVES, CYCLES = 1000, 5000

LAYOUTS = (
    (Level.RAID1, 2),
    (Level.RAID1, 3),
    (Level.RAID5, 4),
    (Level.RAID5, 8),
    (Level.RAID6, 6),
    (Level.RAID6, 8),
    (Level.RAID10, 8),
)
USUAL = (0.04, 2.0)
OTHERS = ((0.01, 2.0), (0.13, 2.0), (0.04, 0.5), (0.04, 7.0), (0.04, 30.0))
VARIED = ((Level.RAID5, 4), (Level.RAID6, 6))
HASTY = (0.5, 90.0)
HASTE = 20
"""Annual loss and days of repair at which arrays do not live long; and how much more
often than assumed a common cause comes there, so that it is simulated, too."""


@dataclass(frozen=True)
class Figure:
    """What the model says of one array; it can't be said without the common cause."""

    case: Case

    def __post_init__(self) -> None:
        """Refuse a figure that takes members to be independent."""
        if not self.case.common:
            raise ValueError(
                "No figure without a common cause: independent members are a wish."
            )

    @property
    def members(self) -> float:
        """Return losses in a million years by members that happen to go together."""
        return YEARS / chances.mean_years(self.case.alone())

    @property
    def common(self) -> float:
        """Return losses in a million years by one event."""
        return YEARS * self.case.common

    @property
    def together(self) -> float:
        """Return losses in a million years by either."""
        return YEARS / chances.mean_years(self.case)

    def line(self) -> str:
        """Return the row of the table."""
        case = self.case
        what = f"{case.level} x {case.width}"
        given = f"{case.annual_loss * 100:g} % | {case.repair_days:g} d"
        figures = (self.members, self.common, self.together)
        return f"| {what} | {given} | " + " | ".join(map(rough, figures)) + " |"


def rough(value: float) -> str:
    """Return a figure with two digits: a model has no more.

    >>> [rough(value) for value in (109.3, 0.2442, 12345.0)]
    ['110', '0.24', '12,000']
    """
    digits = float(f"{value:.1e}")
    return f"{digits:,.0f}" if digits >= 10 else f"{digits:g}"


def cases(common: float) -> Iterator[Case]:
    """Yield the arrays of the first table."""
    for level, width in LAYOUTS:
        yield Case(level, width, *USUAL, common)
    for level, width in VARIED:
        for given in OTHERS:
            yield Case(level, width, *given, common)


HEAD = (
    "| array | annual loss of a member | rebuild | members alone "
    "| common cause (assumed) | together |\n|---|---:|---:|---:|---:|---:|"
)


def table(common: float = COMMON) -> str:
    """Return the first table: losses in a million years of one array, a model."""
    return "\n".join([HEAD, *(Figure(case).line() for case in cases(common))])


@dataclass(frozen=True)
class Check:
    """A formula beside its simulation."""

    case: Case
    way: str
    found: chances.Estimate
    common: float

    @property
    def formula(self) -> float:
        """Return what the formula says."""
        return chances.mean_years(self.case)

    @property
    def agrees(self) -> bool:
        """Tell whether the formula lies in the interval of the simulation."""
        return self.found.holds(self.formula)

    def line(self) -> str:
        """Return the row of the table; mean years until a loss, by both ways."""
        case, found = self.case, self.found
        what = f"{case.level} x {case.width} | {self.way}"
        span = " to ".join(
            map(years, (found.mean - found.half, found.mean + found.half))
        )
        word = "yes" if self.agrees else "NO"
        whole = years(chances.mean_years(replace(case, common=self.common)))
        common = f"{whole}, at {self.common:g} a year"
        return f"| {what} | {years(self.formula)} | {span} | {word} | {common} |"


def years(value: float) -> str:
    """Return a time with four digits, which is enough to compare."""
    return f"{float(f'{value:.3e}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def checks(
    layouts: Iterable[tuple[Level, int]] = LAYOUTS,
    common: float = COMMON,
    seed: int = SEED,
) -> Iterator[Check]:
    """Yield the checks: lives with common causes, and cycles at the usual rates."""
    for level, width in layouts:
        often = HASTE * common
        hasty = Case(level, width, *HASTY, often)
        yield Check(hasty, "lives", chances.simulate(hasty, LIVES, seed), often)
        usual = Case(level, width, *USUAL)
        found = chances.simulate_rare(usual, CYCLES, seed)
        yield Check(usual, "cycles", found, common)


CHECK_HEAD = (
    "| array | simulated | formula, years | simulation, 99 % interval | agrees "
    "| years with the common cause (assumed) |\n|---|---|---:|---:|---|---:|"
)


def main() -> int:
    """Print both tables; exit 1 when the formula and a simulation differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--common", type=float, default=COMMON, help="events a year")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    if options.common <= 0:
        parser.error("a figure without a common cause is not printed")
    print("A model, not a promise: losses in a million years of one array.\n")
    print(table(options.common))
    print(f"\nThe formula against simulations (seed {options.seed}); these rows check")
    print("arithmetic and say nothing about an array: see the table above for that.\n")
    print(CHECK_HEAD)
    agree = True
    for check in checks(common=options.common, seed=options.seed):
        print(check.line(), flush=True)
        agree &= check.agrees
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
