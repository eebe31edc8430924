"""Bytes for tests: the same each time, and different at every place."""

import random
from functools import cache


@cache
def _noise(mebibytes: int) -> bytes:
    return random.Random(mebibytes).randbytes(mebibytes << 20)


def body(size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes that look random, others for each small seed."""
    mebibytes = max(1, (size + seed) // (1 << 20) + 1)
    return _noise(mebibytes)[seed : seed + size]
