"""How long to go on: a little in the gate, a lot under `make soak`."""

import os
import random
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

FACTOR = int(os.environ.get("SOAK", "1"))
WHOLE = FACTOR > 1 or os.environ.get("WHOLE") == "1"
"""Nothing is drawn, and everything is taken."""
DRAW = os.environ.setdefault("PROOF_DRAW", str(random.randrange(1 << 30)))
"""What this run draws its cases with: the processes of one run inherit it."""

Case = TypeVar("Case")


def times(count: int) -> int:
    """Return a count for the gate, multiplied when a soak was asked for."""
    return count * FACTOR


def runs(gate: int, soak: int) -> int:
    """Return the count for the gate or for a soak; PROOF_RUNS overrides both."""
    return int(os.environ.get("PROOF_RUNS", soak if FACTOR > 1 else gate))


def drawn(cases: Iterable[Case], gate: int) -> list[Case]:
    """Return so many of some cases, drawn anew, or all where nothing is left out."""
    known = list(cases)
    if WHOLE:
        return known
    return random.Random(DRAW).sample(known, gate)


def is_drawn(name: str, share: float) -> bool:
    """Tell whether this run takes a case that a share of the gates takes."""
    return WHOLE or random.Random(f"{DRAW} {name}").random() < share


def steps(end: int, stride: int = 3) -> range:
    """Return the numbers from 1 on in a soak; in the gate some, begun anywhere."""
    if WHOLE:
        return range(1, end)
    return range(random.Random(DRAW).randint(1, stride), end, stride)


def seed() -> int:
    """Return a fresh seed, or the one that PROOF_SEED asks to have again."""
    return int(os.environ.get("PROOF_SEED", "0")) or random.randrange(1, 1 << 30)


def bound(name: str, count: int, begun: int, fired: Counter[str] | None = None) -> str:
    """Say what a run without a failure proves, and no more."""
    told = f"{name}: seed {begun}, {count} runs"
    if fired:
        told += ", " + ", ".join(f"{kind} {n}" for kind, n in sorted(fired.items()))
    return f"{told}; 0 failures in {count} runs bounds the rate at {3 / count:.2g}"
