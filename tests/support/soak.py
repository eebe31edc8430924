"""How long to go on: a little in the gate, a lot under `make soak`."""

import os
import random
from collections import Counter

FACTOR = int(os.environ.get("SOAK", "1"))


def times(count: int) -> int:
    """Return a count for the gate, multiplied when a soak was asked for."""
    return count * FACTOR


def runs(gate: int, soak: int) -> int:
    """Return the count for the gate or for a soak; PROOF_RUNS overrides both."""
    return int(os.environ.get("PROOF_RUNS", soak if FACTOR > 1 else gate))


def seed() -> int:
    """Return a fresh seed, or the one that PROOF_SEED asks to have again."""
    return int(os.environ.get("PROOF_SEED", "0")) or random.randrange(1, 1 << 30)


def bound(name: str, count: int, begun: int, fired: Counter[str] | None = None) -> str:
    """Say what a run without a failure proves, and no more."""
    told = f"{name}: seed {begun}, {count} runs"
    if fired:
        told += ", " + ", ".join(f"{kind} {n}" for kind, n in sorted(fired.items()))
    return f"{told}; 0 failures in {count} runs bounds the rate at {3 / count:.2g}"
