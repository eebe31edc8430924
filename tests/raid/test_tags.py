"""Tags: recomputed with the plain package from the words of the documentation."""

import struct
from uuid import UUID

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from raid.tags import digest, unit_key, unit_tag

U64 = st.integers(0, 2**64 - 1)
PLACE = (UUID(int=1), UUID(int=2), 3, 4, 5)


@given(st.uuids(), st.uuids(), U64, U64, st.integers(0, 255), st.binary(max_size=99))
def test_a_tag_is_what_the_documentation_says(
    array, blob, segment, attempt, role, unit
):
    material = (
        array.bytes
        + blob.bytes
        + segment.to_bytes(8, "little")
        + attempt.to_bytes(8, "little")
        + bytes([role])
    )
    context = "holdfast 2026-11 unit tag v1"
    key = blake3(material, derive_key_context=context).digest(length=32)
    index = 7
    message = unit + struct.pack("<I", index) + struct.pack("<I", len(unit))
    expected = blake3(message, key=key).digest(length=32)
    assert unit_key(array, blob, segment, attempt, role) == key
    assert unit_tag(key, unit, index) == expected


def test_a_known_tag_never_changes():
    key = unit_key(*PLACE)
    assert key.hex() == (
        "b6bf1be3103d23b6ee1e4f1f3b0bd6a73a9e94ebf4d915b3e7a7f097a59db1cf"
    )
    assert unit_tag(key, b"holdfast", 0).hex() == (
        "1e7598a093ecf122ea6b3792aafbea3a60eecf80640717d04463d5a5eaa2182b"
    )


@pytest.mark.parametrize("part", range(5))
def test_every_part_of_the_place_changes_the_key(part):
    other = list(PLACE)
    other[part] = UUID(int=9) if part < 2 else 9
    assert unit_key(*other) != unit_key(*PLACE)


@given(st.binary(min_size=1, max_size=64), st.integers(0, 1000))
def test_index_and_length_are_part_of_a_tag(unit, index):
    key = unit_key(*PLACE)
    tag = unit_tag(key, unit, index)
    assert tag != unit_tag(key, unit, index + 1)
    assert tag != unit_tag(key, unit + b"\0", index)
    assert tag != unit_tag(key, unit[:-1], index)


def test_a_view_is_tagged_like_its_bytes():
    key, data = unit_key(*PLACE), bytearray(b"0123456789")
    assert unit_tag(key, memoryview(data)[2:5], 1) == unit_tag(key, b"234", 1)
    assert digest(memoryview(data)) == digest(bytes(data))
