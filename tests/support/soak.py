"""How long to go on: a little in the gate, a lot under `make soak`."""

import os

FACTOR = int(os.environ.get("SOAK", "1"))


def times(count: int) -> int:
    """Return a count for the gate, multiplied when a soak was asked for."""
    return count * FACTOR
