"""The field GF(2^8) of the second parity: polynomial 0x11d, generator 2, as Linux md.

Sums are exclusive ors. The parities of a row are two equations over its units:

    d0 + d1 + ... + p = 0        2^0 d0 + 2^1 d1 + ... + q = 0

H. P. Anvin, "The mathematics of RAID-6", derives from them what each lost pair is; here
one formula says it for all pairs, see `weights`.
"""

from collections.abc import Iterable
from functools import cache

POLYNOMIAL = 0x11D
_ORDER = 255
"""How many different powers the generator has."""


def _powers() -> list[int]:
    powers, value = [], 1
    for _ in range(_ORDER):
        powers.append(value)
        value <<= 1
        if value > _ORDER:
            value ^= POLYNOMIAL
    return powers


_EXP = _powers()
_LOG = {value: power for power, value in enumerate(_EXP)}


def times(a: int, b: int) -> int:
    """Return the product of two elements."""
    return _EXP[(_LOG[a] + _LOG[b]) % _ORDER] if a and b else 0


def over(a: int, b: int) -> int:
    """Return the quotient of two elements; b is not 0."""
    return _EXP[(_LOG[a] - _LOG[b]) % _ORDER] if a else 0


@cache
def multiples(factor: int) -> bytes:
    """Return the products of a factor and every byte, a table for `bytes.translate`."""
    return bytes(times(factor, value) for value in range(256))


def weights(k: int, made: int, unused: int, columns: Iterable[int]) -> dict[int, int]:
    """Return by what each column of a row is multiplied to make another one.

    Columns are data, then p, then q. The first equation is multiplied by what the
    unused column has in the second, the second by what it has in the first. Their sum
    is an equation without the unused column, and it is solved for the one to make.
    """
    first, second = _in_equations(k, unused)

    def weight(column: int) -> int:
        a, b = _in_equations(k, column)
        return times(a, second) ^ times(b, first)

    return {column: over(weight(column), weight(made)) for column in columns}


def _in_equations(k: int, column: int) -> tuple[int, int]:
    """Return by what a column is multiplied in the equations of p and of q."""
    if column < k:
        return 1, _EXP[column]
    return (1, 0) if column == k else (0, 1)
