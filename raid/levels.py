"""Parity arithmetic over whole units, into buffers that are given.

p of a row is the exclusive or of its data units, q the sum of 2^j d_j in the field of
`galois`. A row is finished before the next is begun, so that it stays in the
processor's cache.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from raid.galois import POLYNOMIAL, multiples, weights
from raid.geometry import (
    UNIT,
    WORD,
    Code,
    Shape,
    last_unit,
    padded_length,
    payload_length,
)
from raid.member import Buffer

Words = npt.NDArray[np.uint64]

_CARRY = POLYNOMIAL & 0xFF
"""What a byte gets when doubling it moves a bit out of it."""


def words(data: Buffer) -> Words:
    """Return a buffer as machine words, without copying."""
    return np.frombuffer(data, dtype=np.uint64)


def encode_parities(
    shape: Shape, data: memoryview, data_length: int, out: memoryview
) -> list[memoryview]:
    """Write the parities of a segment into `out`, one after the other; return them.

    `data` is a segment buffer in file order, padded with zeros as `geometry.pad` does;
    `out` holds `payload_length` bytes for each parity at least. Copies have none.
    """
    if shape.code is Code.COPIES:
        return []
    length = payload_length(data_length, shape.k)
    source = words(data[: padded_length(data_length, shape.k)])
    made = [out[i * length : (i + 1) * length] for i in range(shape.m)]
    parities = [words(one) for one in made]
    scratch = np.empty(min(UNIT, length) // WORD, np.uint64)
    for at, unit in _rows(data_length, shape.k):
        begin = at * shape.k
        columns = [
            source[begin + j * unit : begin + (j + 1) * unit] for j in range(shape.k)
        ]
        _xor(columns, parities[0][at : at + unit])
        if shape.code is Code.PQ:
            _horner(columns, parities[1][at : at + unit], scratch[:unit])
    return made


def _rows(data_length: int, k: int) -> list[tuple[int, int]]:
    """Return where the units of each row start in a payload and how long they are."""
    full = data_length // (k * UNIT)
    unit = UNIT // WORD
    rows = [(row * unit, unit) for row in range(full)]
    if last := last_unit(data_length, k) // WORD:
        rows.append((full * unit, last))
    return rows


def _xor(units: Sequence[Words], out: Words) -> None:
    first, *others = units
    if not others:
        out[:] = first
        return
    np.bitwise_xor(first, others[0], out=out)
    for other in others[1:]:
        np.bitwise_xor(out, other, out=out)


def _horner(units: Sequence[Words], out: Words, scratch: Words) -> None:
    """Write d0 + 2 (d1 + 2 (d2 + ...)), a sum of two units or more."""
    *others, total = units
    for unit in reversed(others):
        _double(total, out, scratch)
        np.bitwise_xor(out, unit, out=out)
        total = out


def _double(source: Words, out: Words, scratch: Words) -> None:
    """Write twice every byte of the source; both may be one buffer.

    A byte added to itself is shifted left. Bytes whose highest bit is set are negative
    numbers: each gives a 1, times the carry, two bytes at once as neither overflows.
    """
    np.less(source.view(np.int8), 0, out=scratch.view(np.bool_))
    carries = scratch.view(np.uint16)
    np.multiply(carries, _CARRY, out=carries)
    shifted = source.view(np.uint8)
    np.add(shifted, shifted, out=out.view(np.uint8))
    np.bitwise_xor(out, scratch, out=out)


def rebuild(shape: Shape, column: int, units: Mapping[int, Buffer]) -> bytes:
    """Return a unit made of k other units of its row, by their columns."""
    if shape.code is Code.XOR:
        return bytes(rebuild_xor(list(units.values())))
    (unused,) = set(range(shape.width)) - {column, *units}
    if (column, unused) == (shape.k + 1, shape.k):
        return _sum_of_powers([units[j] for j in range(shape.k)])
    factors = weights(shape.k, column, unused, units)
    return bytes(
        rebuild_xor(
            [
                unit
                if factors[at] == 1
                else bytes(unit).translate(multiples(factors[at]))
                for at, unit in units.items()
            ]
        )
    )


def _sum_of_powers(units: Sequence[Buffer]) -> bytes:
    """Return q as it is encoded, much faster than with a table for each power."""
    out = np.empty(len(units[0]) // WORD, np.uint64)
    _horner([words(unit) for unit in units], out, np.empty_like(out))
    return out.tobytes()


def rebuild_xor(units: Sequence[Buffer]) -> bytearray:
    """Return the exclusive or of units of one length."""
    out = bytearray(len(units[0]))
    _xor([words(unit) for unit in units], words(out))
    return out
