"""A scrub of one blob: what is bad is found and named, what is away is not accused."""

import random
from dataclasses import replace
from typing import Any

import pytest

from raid import halves, scrub
from raid.array import Array
from raid.errors import (
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
)
from raid.geometry import Code, Level
from raid.keys import parse_key
from raid.memory import MemoryMember
from raid.scrub import Kind, Look, look_at_manifests, look_at_segment
from raid.superblock import StoredState
from raid.writer import Stored
from support.arrays import LAYOUTS, Clock, memory_array, put_blob
from support.bodies import body
from support.faulty import FaultyMember, flip
from support.soak import times

SIZES = {"empty": 0, "inline": 5_000, "combined": 300 * 1024, "segmented": 1_300_000}


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "HALF", 1 << 19)


def look(array: Array, stored: Stored, seed: int = 0) -> Look:
    """Look at the whole blob."""
    found = look_at_manifests(array, stored.manifest)
    pick = random.Random(seed).randrange
    for number in range(len(stored.rows)):
        found.add(look_at_segment(array, stored.manifest, number, pick))
    return found


def objects_of(array: Array, slot: int) -> dict[str, bytes]:
    """The objects of a member in memory."""
    member: Any = array.members[slot]
    inner: MemoryMember = getattr(member, "inner", member)
    return inner.objects


def keys(array: Array, slot: int, stored: Stored) -> list[str]:
    """What a member holds of a blob."""
    return [key for key in objects_of(array, slot) if f"/{stored.blob}." in key]


def said(found: Look) -> list[tuple[int, str, Kind]]:
    return [(f.damage.slot, f.damage.key, f.kind) for f in found.findings]


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES.values())
def test_it_reads_every_byte_once_and_finds_nothing(
    size: int, level: Level, width: int
) -> None:
    array = memory_array(level, width, clock=Clock())
    stored = put_blob(array, body(size))
    found = look(array, stored)
    held = [
        objects_of(array, s)[k] for s in range(width) for k in keys(array, s, stored)
    ]
    assert (found.findings, found.unreachable, found.owed) == ([], [], 0)
    assert found.objects == len(held)
    assert found.bytes == sum(map(len, held))


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES.values())
def test_every_flipped_bit_is_found(size: int, level: Level, width: int) -> None:
    """Wherever it is: header, table, manifest, unit, data or parity."""
    rng = random.Random(f"{size}{level}{width}")
    array = memory_array(level, width, clock=Clock())
    stored = put_blob(array, body(size))
    for slot in range(width):
        for key in keys(array, slot, stored):
            right = objects_of(array, slot)[key]
            near = min(4096, len(right)) * 8
            for bit in [rng.randrange(near), rng.randrange(len(right) * 8)] * times(1):
                objects_of(array, slot)[key] = flip(right, bit)
                assert said(look(array, stored)) == [(slot, key, Kind.BAD)], bit
            objects_of(array, slot)[key] = right


def _spoil(right: bytes, how: str, other: bytes) -> bytes | None:
    return {
        "gone": None,
        "cut": right[: len(right) // 2],
        "empty": b"",
        "longer": right + b"\0",
        "zeroed": bytes(len(right)),
        "another": other,
    }[how]


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("gone", Kind.MISSING),
        ("cut", Kind.SIZE),
        ("empty", Kind.SIZE),
        ("longer", Kind.SIZE),
        ("zeroed", Kind.BAD),
        ("another", Kind.BAD),
    ],
)
def test_objects_that_are_wrong_as_a_whole_are_named(how: str, kind: Kind) -> None:
    array = memory_array(Level.RAID5, 4, clock=Clock())
    for size in SIZES.values():
        stored, stranger = put_blob(array, body(size)), put_blob(array, body(size, 1))
        for slot in range(4):
            held = objects_of(array, slot)
            others = keys(array, slot, stranger)
            for key, other in zip(keys(array, slot, stored), others, strict=True):
                right = held.pop(key)
                wrong = _spoil(right, how, held[other])
                if wrong is not None:
                    held[key] = wrong
                assert said(look(array, stored)) == [(slot, key, kind)]
                held[key] = right


def test_two_objects_that_changed_places_are_both_bad() -> None:
    array = memory_array(Level.RAID5, 4, clock=Clock())
    stored = put_blob(array, body(SIZES["segmented"]))
    held = objects_of(array, 0)
    first, second = [key for key in keys(array, 0, stored) if ".s" in key][:2]
    held[first], held[second] = held[second], held[first]
    found = {(slot, key) for slot, key, _ in said(look(array, stored))}
    assert found == {(0, first), (0, second)}


def test_a_member_away_is_not_accused() -> None:
    """Gone from the map's members, resting, or failing under the look itself."""
    clock = Clock()
    array = memory_array(Level.RAID5, 4, clock=clock, wrap=lambda _, m: FaultyMember(m))
    stored = put_blob(array, body(SIZES["segmented"]))
    count = len(keys(array, 2, stored))
    found = look(array.without([2]), stored)
    assert (found.findings, found.unreachable) == ([], [2] * count)
    member: Any = array.members[2]
    for trouble in ("missing", "denied", "slow", "failing"):
        clock.now += 1000
        member.always(trouble)
        found = look(array, stored)
        assert member.fired[trouble] > 0
        assert (found.findings, found.unreachable) == ([], [2] * count), trouble
    member.always(None)
    clock.now += 1000
    array.health.note(2, MemberMissing("m2", "It is away."))
    assert look(array, stored).unreachable == [2] * count


def test_a_passing_error_is_no_finding() -> None:
    array = memory_array(
        Level.RAID5, 4, clock=Clock(), wrap=lambda _, m: FaultyMember(m)
    )
    stored = put_blob(array, body(SIZES["combined"]))
    member: Any = array.members[1]
    for trouble in ("slow", "missing", "failing"):
        member.on_call("read", 1, trouble)
        found = look(array, stored)
        assert member.fired[trouble] == 1
        assert (found.findings, found.unreachable) == ([], [])


@pytest.mark.parametrize("also", [None, MemberFull, MemberReadOnly])
def test_a_bad_sector_is_damage_of_one_object(
    also: type[MemberError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member is in order, but this object can't be read, however often asked.

    One that takes nothing more can be read as well.
    """
    array = memory_array(Level.RAID5, 4, clock=Clock())
    stored = put_blob(array, body(SIZES["segmented"]))
    victim = keys(array, 3, stored)[0]
    real, fired = MemoryMember.read, []

    def read(self: MemoryMember, key: str, *where: Any) -> bytes:
        if key == victim and self.label == "m3":
            fired.append(key)
            raise MemberFailing(self.label, "A bad sector.")
        return real(self, key, *where)

    def check(self: Array, slot: int) -> None:
        if also is not None:
            raise also(self.label(slot), "No more.")

    monkeypatch.setattr(MemoryMember, "read", read)
    monkeypatch.setattr(Array, "check", check)
    assert said(look(array, stored)) == [(3, victim, Kind.BAD)]
    assert len(fired) == 2


@pytest.mark.parametrize("state", [StoredState.STALE, StoredState.REBUILDING])
def test_what_a_member_lacks_that_is_not_in_sync_is_owed(state: StoredState) -> None:
    array = memory_array(Level.RAID5, 4, clock=Clock())
    stored = put_blob(array, body(SIZES["segmented"]))
    slots = list(array.map.slots)
    slots[1] = replace(slots[1], state=state)
    catching_up = array.with_map(replace(array.map, slots=tuple(slots)))
    gone, bad = keys(array, 1, stored)[:2]
    held = objects_of(array, 1)
    del held[gone]
    held[bad] = flip(held[bad], 0)
    found = look(catching_up, stored)
    assert found.owed == 1
    assert said(found) == [(1, bad, Kind.BAD)], "what it has must be right all the same"


def test_a_huge_shard_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; every unit is looked at, and a byte too many is seen."""
    monkeypatch.setattr(scrub, "UNITS_AT_ONCE", 2)
    monkeypatch.setattr(halves, "HALF", 1 << 22)
    array = memory_array(Level.RAID1, 2, clock=Clock())
    stored = put_blob(array, body(1_400_000))
    (key,) = keys(array, 0, stored)
    right = objects_of(array, 0)[key]
    most: list[int] = []
    real = MemoryMember.read

    def read(self: MemoryMember, *where: Any) -> bytes:
        data = real(self, *where)
        most.append(len(data))
        return data

    monkeypatch.setattr(MemoryMember, "read", read)
    assert look(array, stored).bytes == 2 * len(right)
    assert max(most) < 600_000 < len(right) and len(most) == 6
    for at in range(0, len(right), len(right) // 9):
        objects_of(array, 0)[key] = flip(right, at * 8)
        assert said(look(array, stored)) == [(0, key, Kind.BAD)]
    objects_of(array, 0)[key] = right + b"\0"
    assert said(look(array, stored)) == [(0, key, Kind.SIZE)]


@pytest.mark.parametrize(
    ("level", "which", "word"),
    [(Level.RAID5, 0, "p"), (Level.RAID6, 0, "p"), (Level.RAID6, 1, "q")],
)
@pytest.mark.parametrize("size", [300 * 1024, 1_300_000])
def test_a_wrong_encoder_that_tags_its_wrong_parity_is_found(
    size: int, level: Level, which: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tag is right; only the equation tells."""
    array = memory_array(level, 4, clock=Clock())
    _encode_wrongly(monkeypatch, which)
    stored = put_blob(array, body(size))
    monkeypatch.undo()
    found = look(array, stored)
    assert {f.kind for f in found.findings} == {Kind.PARITY}
    assert len(found.findings) == len(stored.rows)
    assert found.lost == 0
    for finding in found.findings:
        parsed = parse_key(finding.damage.key)
        assert parsed is not None and parsed.role == word


def _encode_wrongly(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    from raid import shards

    real = shards.encode_parities

    def wrong(*said: Any) -> list[memoryview]:
        made = real(*said)
        spoilt = made[which]
        for at in range(0, len(spoilt), 8):
            spoilt[at] ^= 1
        return made

    monkeypatch.setattr(shards, "encode_parities", wrong)


def test_the_parity_is_only_judged_by_data_that_was_verified() -> None:
    """Bad data says nothing about the parity."""
    array = memory_array(Level.RAID5, 4, clock=Clock())
    stored = put_blob(array, body(SIZES["combined"]))
    row = stored.rows[0]
    assert row.shape.code is Code.XOR
    (key,) = keys(array, row.slots[0], stored)
    held = objects_of(array, row.slots[0])
    held[key] = flip(held[key], len(held[key]) * 8 - 1)
    assert said(look(array, stored)) == [(row.slots[0], key, Kind.BAD)]


@pytest.mark.parametrize("width", [3, 4])
def test_narrow_segments_and_copies_are_looked_at_as_they_lie(width: int) -> None:
    """The member that was away lacks the manifest and no role."""
    array = memory_array(Level.RAID5, width, clock=Clock())
    stored = put_blob(array.without([0]), body(SIZES["segmented"]))
    found = look(array, stored)
    assert [(slot, kind) for slot, _, kind in said(found)] == [(0, Kind.MISSING)]
    assert found.objects == sum(len(keys(array, s, stored)) for s in range(width))
