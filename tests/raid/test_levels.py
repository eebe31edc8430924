"""Parity: whichever unit is lost, the others give it back.

p and q are also those of ISA-L, an independent library, reached through PyECLib: its
Vandermonde code with two parities has the same polynomial and generator.
"""

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyeclib.ec_iface import ECDriver

from raid.galois import multiples, over, times
from raid.geometry import (
    UNIT,
    Code,
    Shape,
    pad,
    padded_length,
    payload_length,
    role_views,
    unit_views,
)
from raid.levels import encode_parities, rebuild, rebuild_xor

LENGTHS = st.integers(1, 200) | st.builds(
    lambda units, off: units * UNIT + off, st.integers(1, 7), st.integers(-30, 30)
)
LENGTHS_OF_ROW = st.integers(1, 40_000)


def xor(k: int) -> Shape:
    return Shape(k, 1, Code.XOR)


def pq(k: int) -> Shape:
    return Shape(k, 2, Code.PQ)


def encoded(length: int, shape: Shape, seed: int) -> list[list[memoryview]]:
    """Return the units of every column: data, then parities."""
    k = shape.k
    buffer = memoryview(bytearray(b"\xee") * (padded_length(length, k) + 64))
    buffer[:length] = random.Random(seed).randbytes(length)
    pad(buffer, length, k)
    used = shape.m * payload_length(length, k)
    out = memoryview(bytearray(b"\xaa") * (used + 64))
    parities = encode_parities(shape, buffer, length, out)
    assert b"".join(parities) == out[:used]
    assert bytes(out[used:]) == b"\xaa" * 64
    columns = [role_views(buffer, length, k, j) for j in range(k)]
    return [*columns, *(unit_views(parity, length, k) for parity in parities)]


@given(st.integers(1, 6), LENGTHS, st.integers(0, 1 << 30))
@settings(max_examples=80, deadline=None)
def test_any_lost_unit_is_rebuilt(k, length, seed):
    for row in zip(*encoded(length, xor(k), seed), strict=True):
        for lost in range(k + 1):
            others = {i: unit for i, unit in enumerate(row) if i != lost}
            assert rebuild(xor(k), lost, others) == row[lost]


@pytest.mark.parametrize("k", range(1, 7))
def test_parity_equals_the_plain_sum_of_integers(k):
    for row in zip(*encoded(k * UNIT + 11, xor(k), k), strict=True):
        total = 0
        for unit in row[:-1]:
            total ^= int.from_bytes(unit)
        assert total == int.from_bytes(row[-1])


def test_units_that_lie_at_odd_addresses_are_rebuilt_too():
    store = memoryview(b"x" + bytes(range(64)) + bytes(range(64, 128)))
    first, second = store[1:65], store[65:129]
    plain = bytes(a ^ b for a, b in zip(first, second, strict=True))
    assert rebuild_xor([first, second]) == plain


def test_a_single_unit_is_its_own_parity():
    assert rebuild_xor([bytes(range(16))]) == bytes(range(16))


def test_copies_have_no_parity():
    buffer = memoryview(bytearray(16))
    assert encode_parities(Shape(1, 2, Code.COPIES), buffer, 11, buffer[:0]) == []


# Two parities -------------------------------------------------------------------


def by_isa_l(units: list[bytes]) -> list[bytes]:
    """Return p and q of the data units of a row as ISA-L computes them."""
    driver = ECDriver(k=len(units), m=2, ec_type="isa_l_rs_vand")
    fragments = driver.encode(b"".join(units))
    header = len(fragments[0]) - len(units[0])
    payloads = [fragment[header:] for fragment in fragments]
    assert payloads[: len(units)] == units
    return payloads[len(units) :]


@given(st.integers(2, 30), LENGTHS, st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_p_and_q_are_those_of_an_independent_library(k, length, seed):
    for row in zip(*encoded(length, pq(k), seed), strict=True):
        *data, p, q = map(bytes, row)
        room = -len(data[0]) % 16  # ISA-L wants fragments of whole 16 bytes
        made = by_isa_l([unit + bytes(room) for unit in data])
        assert [unit[: len(p)] for unit in made] == [p, q]


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_any_two_lost_units_are_rebuilt(k):
    for row in zip(*encoded(UNIT * k + 8 * k + 3, pq(k), k), strict=True):
        units = dict(enumerate(row))
        for made, unused in permutations(range(k + 2), 2):
            inputs = {i: u for i, u in units.items() if i not in (made, unused)}
            assert rebuild(pq(k), made, inputs) == units[made], (made, unused)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_two_lost_units_of_any_width_are_rebuilt(data):
    k = data.draw(st.integers(2, 62))
    row = [column[0] for column in encoded(data.draw(LENGTHS_OF_ROW), pq(k), k)]
    columns = st.lists(st.integers(0, k + 1), min_size=2, max_size=2, unique=True)
    made, unused = data.draw(columns)
    inputs = {i: u for i, u in enumerate(row) if i not in (made, unused)}
    assert rebuild(pq(k), made, inputs) == row[made]


ELEMENTS = st.integers(0, 255)


@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_the_field_is_a_field(a, b, c):
    assert times(a, b) == times(b, a)
    assert times(a, b ^ c) == times(a, b) ^ times(a, c)
    assert times(times(a, b), c) == times(a, times(b, c))
    assert times(a, 1) == a and times(a, 0) == 0
    assert b == 0 or times(over(a, b), b) == a
    assert multiples(a)[b] == times(a, b)
    assert multiples(2)[a] == (a << 1 if a < 128 else (a << 1) ^ 0x11D)
