"""Parity: whichever unit is lost, the others give it back."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid.geometry import (
    UNIT,
    pad,
    padded_length,
    payload_length,
    role_views,
    unit_views,
)
from raid.levels import encode_parity, rebuild_xor, xor_into

LENGTHS = st.integers(1, 200) | st.builds(
    lambda units, off: units * UNIT + off, st.integers(1, 7), st.integers(-30, 30)
)


def encoded(length: int, k: int, seed: int) -> list[list[memoryview]]:
    """Return the units of every column: data, then parity."""
    buffer = memoryview(bytearray(b"\xee") * (padded_length(length, k) + 64))
    buffer[:length] = random.Random(seed).randbytes(length)
    pad(buffer, length, k)
    out = memoryview(bytearray(b"\xaa") * (payload_length(length, k) + 64))
    parity = encode_parity(buffer, length, k, out)
    assert len(parity) == payload_length(length, k)
    assert bytes(out[len(parity) :]) == b"\xaa" * 64
    columns = [role_views(buffer, length, k, j) for j in range(k)]
    return [*columns, unit_views(parity, length, k)]


@given(st.integers(1, 6), LENGTHS, st.integers(0, 1 << 30))
@settings(max_examples=80, deadline=None)
def test_any_lost_unit_is_rebuilt(k, length, seed):
    for row in zip(*encoded(length, k, seed), strict=True):
        for lost in range(k + 1):
            others = [unit for i, unit in enumerate(row) if i != lost]
            assert rebuild_xor(others) == row[lost]


@pytest.mark.parametrize("k", range(1, 7))
def test_parity_equals_the_plain_sum_of_integers(k):
    for row in zip(*encoded(k * UNIT + 11, k, k), strict=True):
        total = 0
        for unit in row[:-1]:
            total ^= int.from_bytes(unit)
        assert total == int.from_bytes(row[-1])


def test_units_that_lie_at_odd_addresses_are_rebuilt_too():
    store = memoryview(b"x" + bytes(range(64)) + bytes(range(64, 128)))
    first, second = store[1:65], store[65:129]
    out = memoryview(bytearray(67))[3:67]
    xor_into([first, second], out)
    assert bytes(out) == bytes(a ^ b for a, b in zip(first, second, strict=True))


def test_a_single_unit_is_its_own_parity():
    assert rebuild_xor([bytes(range(16))]) == bytes(range(16))
