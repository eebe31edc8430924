"""Parity arithmetic: XOR over machine words, into buffers that are given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raid.geometry import UNIT, WORD, last_unit, padded_length, payload_length
from raid.member import Buffer

Words = npt.NDArray[np.uint64]


def words(data: Buffer) -> Words:
    """Return a buffer as machine words, without copying."""
    return np.frombuffer(data, dtype=np.uint64)


def encode_parity(
    data: memoryview, data_length: int, k: int, out: memoryview
) -> memoryview:
    """Write the XOR of each row of a segment into `out`; return the part written.

    `data` is a segment buffer in file order, padded with zeros as `geometry.pad` does;
    `out` holds `payload_length` bytes at least. A row is finished before the next is
    begun, so that its parity stays in the processor's cache.
    """
    length = payload_length(data_length, k)
    source = words(data[: padded_length(data_length, k)])
    parity = words(out[:length])
    full = data_length // (k * UNIT)
    unit = UNIT // WORD
    for row in range(full):
        begin = row * k * unit
        _xor_row(source, begin, unit, k, parity[row * unit : (row + 1) * unit])
    if last := last_unit(data_length, k) // WORD:
        _xor_row(source, full * k * unit, last, k, parity[full * unit :])
    return out[:length]


def _xor_row(source: Words, begin: int, unit: int, k: int, out: Words) -> None:
    first = source[begin : begin + unit]
    if k == 1:
        out[:] = first
        return
    np.bitwise_xor(first, source[begin + unit : begin + 2 * unit], out=out)
    for column in range(2, k):
        at = begin + column * unit
        np.bitwise_xor(out, source[at : at + unit], out=out)


def xor_into(units: Sequence[Buffer], out: memoryview) -> None:
    """Write the XOR of units of one length into `out`: the unit that is missing."""
    target = words(out)
    first, *others = (words(unit) for unit in units)
    if not others:
        target[:] = first
        return
    np.bitwise_xor(first, others[0], out=target)
    for other in others[1:]:
        np.bitwise_xor(target, other, out=target)


def rebuild_xor(units: Sequence[Buffer]) -> bytearray:
    """Return the unit that is missing from a row: the XOR of all others."""
    out = bytearray(len(units[0]))
    xor_into(units, memoryview(out))
    return out
