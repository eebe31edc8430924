"""How long to go on: a little in the gate, a lot under `make soak`."""

import os
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

FACTOR = int(os.environ.get("SOAK", "1"))


def times(count: int) -> int:
    """Return a count for the gate, multiplied when a soak was asked for."""
    return count * FACTOR


def runs(gate: int, soak: int) -> int:
    """Return the count for the gate or for a soak; PROOF_RUNS overrides both."""
    return int(os.environ.get("PROOF_RUNS", soak if FACTOR > 1 else gate))


class Drawn:
    """All of some cases in a soak, and so many of them in the gate, drawn anew.

    A test takes `turns` as its parameters and asks for the case of its turn: every
    process of a run has to collect tests of the same names.
    """

    def __init__(self, cases: Iterable[Any], gate: int) -> None:
        self.cases = list(cases)
        self.turns = range(len(self.cases) if FACTOR > 1 else gate)
        if FACTOR == 1:
            random.Random(seed()).shuffle(self.cases)

    def __getitem__(self, turn: int) -> Any:
        print(f"drawn: {self.cases[turn]}")
        return self.cases[turn]


def seed() -> int:
    """Return a fresh seed, or the one that PROOF_SEED asks to have again."""
    return int(os.environ.get("PROOF_SEED", "0")) or random.randrange(1, 1 << 30)


def bound(name: str, count: int, begun: int, fired: Counter[str] | None = None) -> str:
    """Say what a run without a failure proves, and no more."""
    told = f"{name}: seed {begun}, {count} runs"
    if fired:
        told += ", " + ", ".join(f"{kind} {n}" for kind, n in sorted(fired.items()))
    return f"{told}; 0 failures in {count} runs bounds the rate at {3 / count:.2g}"
