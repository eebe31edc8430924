"""Keys: what is built is parsed back, and nothing else is."""

import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raid.keys import (
    JOURNAL,
    KeyKind,
    ObjectKey,
    blob_prefix,
    combined_key,
    journal_key,
    journal_prefix,
    manifest_key,
    parse_journal_key,
    parse_key,
    parse_superblock_key,
    shard_key,
    superblock_key,
    tombstone_key,
)

U64 = st.integers(0, 2**64 - 1)
BLOB = UUID("a5e0f310-77aa-4e4b-b0c4-1f2e00000001")
ROLES = st.sampled_from(["d0", "d9", "d63", "p", "q", "c0", "c12"])


@given(st.uuids(), U64, U64, ROLES)
def test_keys_are_parsed_back(blob, segment, attempt, role):
    kinds = {
        manifest_key(blob, attempt): ObjectKey(KeyKind.MANIFEST, blob, attempt),
        combined_key(blob, attempt, role): ObjectKey(
            KeyKind.COMBINED, blob, attempt, 0, role
        ),
        shard_key(blob, segment, attempt, role): ObjectKey(
            KeyKind.SHARD, blob, attempt, segment, role
        ),
        tombstone_key(blob): ObjectKey(KeyKind.TOMBSTONE, blob),
    }
    for key, parsed in kinds.items():
        assert parse_key(key) == parsed
    objects = list(kinds)[:3]
    assert all(key.startswith(blob_prefix(blob)) for key in objects)
    assert all(key.split("/")[1] == str(blob)[:2] for key in kinds)


@given(U64, U64)
def test_superblock_keys_are_parsed_back(incarnation, event):
    key = superblock_key(incarnation, event)
    assert parse_superblock_key(key) == (incarnation, event)
    assert parse_key(key) is None


@given(U64, st.integers(1, 2**64 - 1))
def test_journal_keys_are_parsed_back(incarnation, number):
    key = journal_key(incarnation, number)
    assert key.startswith(journal_prefix(incarnation))
    assert parse_journal_key(key) == (incarnation, number)
    assert parse_key(key) is None


def test_keys_look_as_documented():
    start = "o/a5/a5e0f310-77aa-4e4b-b0c4-1f2e00000001"
    assert manifest_key(BLOB, 3) == f"{start}.m3"
    assert combined_key(BLOB, 3, "d0") == f"{start}.m3.d0"
    assert shard_key(BLOB, 7, 3, "p") == f"{start}.s7.3.p"
    assert tombstone_key(BLOB) == "t/a5/a5e0f310-77aa-4e4b-b0c4-1f2e00000001"
    assert superblock_key(1, 42) == "superblock.1.42"
    assert journal_key(2, 41) == "c/2/41"


GOOD = shard_key(BLOB, 7, 3, "d0")


@pytest.mark.parametrize(
    "key",
    [
        "",
        GOOD + "\n",
        GOOD.replace("o/a5", "o/a6"),
        GOOD.upper(),
        GOOD.replace(".s7", ".s07"),
        GOOD.replace(".s7", ".s-7"),
        GOOD.replace(".s7", f".s{2**64}"),
        GOOD.replace(".s7", ".s٧"),
        GOOD.replace(".d0", ".d64"),
        GOOD.replace(".d0", ".d00"),
        GOOD.replace(".d0", ".x"),
        GOOD.replace(".d0", ""),
        GOOD.replace(".d0", ".d0.d1"),
        manifest_key(BLOB, 3) + ".",
        tombstone_key(BLOB) + ".m1",
        "../" + GOOD,
        JOURNAL + "1/1",
        GOOD.replace("-", ""),
    ],
)
def test_other_keys_are_not_ours(key):
    assert parse_key(key) is None


@pytest.mark.parametrize(
    "key",
    ["superblock.1", "superblock.01.2", f"superblock.1.{2**64}", "superblock.1.2.tmp"],
)
def test_other_superblock_keys_are_not_ours(key):
    assert parse_superblock_key(key) is None


@pytest.mark.parametrize(
    "key",
    ["c/1", "c/1/0", "c/1/01", "c/01/1", f"c/1/{2**64}", "c/1/1/1", "c/1/1\n", "d/1/1"],
)
def test_other_journal_keys_are_not_ours(key):
    assert parse_journal_key(key) is None


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_text_is_parsed_or_not(key):
    assert parse_key(key) is None
    assert parse_key(GOOD + key) is None or key.isdigit() or not key
    parse_superblock_key("superblock." + key)
    parse_journal_key("c/1/" + key)
