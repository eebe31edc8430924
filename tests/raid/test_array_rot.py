"""Bits flipped in every kind of structure on one member.

They are always found, never served, noted as damage where a read met them, and a
repair gives back the very bytes that were written.
"""

import random
from collections.abc import Iterator
from itertools import combinations, permutations
from uuid import UUID

import pytest

from raid import halves, repair
from raid.array import Array
from raid.assemble import Problem, inspect
from raid.errors import BlobDamaged, DamagedObject
from raid.format import HEADER_LENGTH, ShardHeader
from raid.geometry import Level
from raid.keys import KeyKind, parse_key, superblock_key, tombstone_key
from raid.member import Member
from raid.memory import MemoryMember
from raid.reader import Damage, load_manifest, read
from raid.writer import Stored
from support.arrays import LAYOUTS, Clock, get_blob, memory_array, put_blob, ref_of
from support.bodies import body
from support.faulty import LYING, FaultyMember, flip
from support.soak import drawn, times

SIZES = {"inline": 5_000, "combined": 300 * 1024, "segmented": 1_300_000}
FLIPS = times(3)


def _near_or_far(units: int) -> str:
    return "near" if units == 1 else "far"


@pytest.fixture(autouse=True, params=drawn([1, 12], 1), ids=_near_or_far)
def _small_segments(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(MemoryMember, "run_units", request.param)
    monkeypatch.setattr(FaultyMember, "run_units", request.param)
    monkeypatch.setattr(halves, "HALF", 1 << 19)


def _memory(array: Array, slot: int) -> MemoryMember:
    member = array.members[slot]
    assert isinstance(member, MemoryMember)
    return member


def _regions(key: str, data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the parts of an object, as bytes from and to."""
    parsed = parse_key(key)
    assert parsed is not None
    if parsed.kind is KeyKind.MANIFEST:
        yield "manifest", 0, len(data)
        return
    header = ShardHeader.unpack(data)
    table = HEADER_LENGTH + header.table_length
    yield "header", 0, HEADER_LENGTH
    yield "table", HEADER_LENGTH, table
    if header.manifest_length:
        yield "inside", table, header.payload_offset
    yield "units", header.payload_offset, len(data)


def _check(array: Array, slot: int, stored: Stored, key: str) -> None:
    """Look at one whole object, as a scrub does."""
    parsed = parse_key(key)
    assert parsed is not None
    if parsed.kind is KeyKind.MANIFEST:
        repair.check_manifest(array, slot, stored.manifest)
        return
    shape = stored.rows[parsed.segment].shape
    role = shape.roles.index(parsed.role)
    repair.check_shard(array, slot, stored.manifest, parsed.segment, role)


def _repair(array: Array, slot: int, stored: Stored, key: str) -> None:
    parsed = parse_key(key)
    assert parsed is not None
    if parsed.kind is KeyKind.MANIFEST:
        repair.put_manifest(array, slot, stored.manifest)
        return
    role = stored.rows[parsed.segment].shape.roles.index(parsed.role)
    assert repair.put_shard(array, slot, stored.manifest, parsed.segment, role)


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("form", SIZES)
def test_flipped_bits_are_found_never_served_and_repaired(
    form: str, level: Level, width: int
) -> None:
    rng = random.Random(f"{form}{level}{width}")
    array = memory_array(level, width, clock=Clock())
    data = body(SIZES[form])
    stored = put_blob(array, data)
    seen = set()
    for slot in range(width):
        objects = _memory(array, slot).objects
        for key in [key for key in objects if key.startswith("o/")]:
            _check(array, slot, stored, key)
            right = objects[key]
            for region, start, stop in _regions(key, right):
                seen.add(region)
                for _ in range(FLIPS):
                    bit = rng.randrange(start * 8, stop * 8)
                    objects[key] = flip(right, bit)
                    with pytest.raises(DamagedObject):
                        _check(array, slot, stored, key)
                    assert get_blob(array, stored) == data, (key, bit)
                    _repair(array, slot, stored, key)
                    assert objects[key] == right
    expected = {"inline": {"manifest"}, "combined": {"inside"}, "segmented": {"table"}}
    assert seen >= expected[form]


def _spoil(right: bytes, how: str, other: bytes) -> bytes:
    return {
        "cut": right[: len(right) // 2],
        "empty": b"",
        "longer": right + b"\0",
        "zeroed": bytes(len(right)),
        "another": other,
    }[how]


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("how", ["cut", "empty", "longer", "zeroed", "another"])
def test_objects_that_are_wrong_as_a_whole(how: str, level: Level, width: int) -> None:
    array = memory_array(level, width, clock=Clock())
    for size in SIZES.values():
        data = body(size)
        alike = (UUID(int=2 * size << 64), UUID(int=(2 * size + 1) << 64))
        stored, stranger = (
            put_blob(array, body(size, i), blob=blob) for i, blob in enumerate(alike)
        )
        for slot in range(width):
            objects = _memory(array, slot).objects
            own = [key for key in objects if str(stored.blob) in key]
            others = [key for key in objects if str(stranger.blob) in key]
            for key, other in zip(own, others, strict=True):
                right = objects[key]
                objects[key] = _spoil(right, how, objects[other])
                with pytest.raises(DamagedObject):
                    _check(array, slot, stored, key)
                assert get_blob(array, stored) == data
                _repair(array, slot, stored, key)
                assert objects[key] == right


def test_a_read_notes_the_damage_that_it_met() -> None:
    array = memory_array(Level.RAID5, 4, clock=Clock())
    data = body(SIZES["segmented"])
    stored = put_blob(array, data)
    row = stored.rows[1]
    key = next(k for k in _memory(array, row.slots[0]).objects if ".s1." in k)
    objects = _memory(array, row.slots[0]).objects
    objects[key] = flip(objects[key], len(objects[key]) * 8 - 1)
    met: list[Damage] = []
    assert get_blob(array, stored, damage=met) == data
    assert [(d.slot, d.segment, d.role, d.key) for d in met] == [
        (row.slots[0], 1, 0, key)
    ]
    del objects[key]
    met.clear()
    assert get_blob(array, stored, damage=met) == data
    assert [d.reason for d in met] == ["The object is missing."]


@pytest.mark.parametrize("size", SIZES.values())
def test_two_bad_members_are_an_honest_error_and_other_files_are_fine(
    size: int,
) -> None:
    array = memory_array(Level.RAID5, 4, clock=Clock())
    stored, fine = put_blob(array, body(size)), put_blob(array, body(size, 1))
    for slot in range(4):
        objects = _memory(array, slot).objects
        for key in [key for key in objects if str(stored.blob) in key]:
            objects[key] = flip(objects[key], len(objects[key]) * 8 - 1)
    with pytest.raises(BlobDamaged):
        get_blob(array, stored)
    assert get_blob(array, fine) == body(size, 1)


def _spoil_units(array: Array, slot: int, stored: Stored) -> int:
    """Turn a bit over in the last unit of every object of a blob on a member.

    Another one on each slot: two errors that are alike cancel each other out.
    """
    objects = _memory(array, slot).objects
    keys = [key for key in objects if key.startswith("o/") and str(stored.blob) in key]
    for key in keys:
        objects[key] = flip(objects[key], len(objects[key]) * 8 - 1 - slot)
    return len(keys)


WITH_Q = [(Level.RAID6, 4), (Level.RAID6, 5)]


@pytest.mark.parametrize(("level", "width"), WITH_Q)
@pytest.mark.parametrize("form", SIZES)
def test_two_parities_outlast_two_members_that_rot(
    form: str, level: Level, width: int
) -> None:
    data = body(SIZES[form])
    for bad in combinations(range(width), 2):
        array = memory_array(level, width, clock=Clock())
        stored = put_blob(array, data)
        right = [dict(_memory(array, slot).objects) for slot in range(width)]
        assert all(_spoil_units(array, slot, stored) for slot in bad)
        met: list[Damage] = []
        assert get_blob(array, stored, damage=met) == data
        assert {damage.slot for damage in met} <= set(bad)
        for slot in bad:
            for key in [key for key in right[slot] if key.startswith("o/")]:
                with pytest.raises(DamagedObject):
                    _check(array, slot, stored, key)
                _repair(array, slot, stored, key)
            assert _memory(array, slot).objects == right[slot]


@pytest.mark.parametrize(("level", "width"), WITH_Q)
@pytest.mark.parametrize("kind", LYING)
def test_two_parities_outlast_one_member_away_and_one_that_lies(
    kind: str, level: Level, width: int
) -> None:
    made: list[FaultyMember] = []

    def wrap(slot: int, member: Member) -> FaultyMember:
        made.append(FaultyMember(member, slot))
        return made[-1]

    array = memory_array(level, width, clock=Clock(), wrap=wrap)
    data = body(SIZES["segmented"])
    stored = put_blob(array, data)
    put_blob(array, body(SIZES["segmented"], 1))  # what the liar may give instead
    met_both = set()
    for away, liar in permutations(range(width), 2):
        made[away].always("missing")
        made[liar].always(kind)
        made[liar].fired.clear()
        met: list[Damage] = []
        assert get_blob(array, stored, damage=met) == data, (away, liar)
        assert {damage.slot for damage in met} <= {liar}
        if made[away].fired["missing"] and made[liar].fired[kind]:
            met_both.add((away, liar))
        made[away].fired.clear()
        for slot in (away, liar):
            made[slot].always(None)
            array.check(slot)
    assert {liar for _, liar in met_both} == set(range(width))


def test_three_bad_members_are_an_honest_error_with_two_parities() -> None:
    array = memory_array(Level.RAID6, 5, clock=Clock())
    stored = put_blob(array, body(SIZES["combined"]))
    assert all(_spoil_units(array, slot, stored) for slot in range(3))
    met: list[Damage] = []
    with pytest.raises(BlobDamaged):
        get_blob(array, stored, damage=met)
    for role, slot in enumerate(stored.rows[0].slots):
        if slot < 3:
            objects = _memory(array, slot).objects
            (key,) = (key for key in objects if key.startswith("o/"))
            del objects[key]
            with pytest.raises(BlobDamaged):
                repair.put_shard(array, slot, stored.manifest, 0, role)
            assert key not in objects


def test_right_bytes_before_the_bad_ones_are_served_and_none_after() -> None:
    array = memory_array(Level.RAID5, 3, clock=Clock())
    data = body(SIZES["segmented"])
    stored = put_blob(array, data)
    last = len(stored.rows) - 1
    for slot in range(3):
        objects = _memory(array, slot).objects
        for key in [key for key in objects if f".s{last}." in key]:
            objects[key] = bytes(len(objects[key]))
    got = bytearray()
    with pytest.raises(BlobDamaged):
        for chunk in read(array, ref_of(stored), 0, stored.size, on_damage=print):
            got += chunk
    assert data.startswith(bytes(got))
    assert len(got) == sum(row.length for row in stored.rows[:-1])


def test_a_repair_never_publishes_what_it_can_not_verify() -> None:
    array = memory_array(Level.RAID5, 3, clock=Clock())
    stored = put_blob(array, body(SIZES["combined"]))
    first, second = (_memory(array, stored.rows[0].slots[role]) for role in (0, 1))
    (gone,) = (key for key in first.objects if key.startswith("o/"))
    (bad,) = (key for key in second.objects if key.startswith("o/"))
    del first.objects[gone]
    second.objects[bad] = flip(second.objects[bad], len(second.objects[bad]) * 8 - 1)
    with pytest.raises(BlobDamaged):
        repair.put_shard(array, stored.rows[0].slots[0], stored.manifest, 0, 0)
    assert gone not in first.objects


def test_a_repair_moves_what_was_bad_aside() -> None:
    array = memory_array(Level.RAID1, 2, clock=Clock())
    stored = put_blob(array, b"content")
    member = _memory(array, 0)
    (key,) = (key for key in member.objects if key.startswith("o/"))
    member.objects[key] = bad = flip(member.objects[key], 99)
    repair.put_manifest(array, 0, stored.manifest)
    assert member.quarantine == [(key, bad)]
    repair.put_manifest(array, 0, stored.manifest)
    assert len(member.quarantine) == 1


def test_a_whole_shard_is_left_alone() -> None:
    array = memory_array(Level.RAID5, 3, clock=Clock())
    stored = put_blob(array, body(SIZES["combined"]))
    slot = stored.rows[0].slots[2]
    assert not repair.put_shard(array, slot, stored.manifest, 0, 2)


def _flips(right: bytes, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(FLIPS * 10):
        yield flip(right, rng.randrange(len(right) * 8))


def test_flipped_bits_in_a_tombstone_are_replaced() -> None:
    array = memory_array(Level.RAID1, 2, clock=Clock())
    stored = put_blob(array, b"content")

    def put() -> None:
        repair.put_tombstone(array, 0, stored.blob, stored.attempt, 12345)

    put()
    objects = _memory(array, 0).objects
    key = tombstone_key(stored.blob)
    right = objects[key]
    for wrong in _flips(right, 1):
        objects[key] = wrong
        put()
        assert objects[key] == right
    repair.put_tombstone(array, 0, stored.blob, stored.attempt + 1, 6)
    assert objects[key] == right


def test_flipped_bits_in_a_superblock_are_never_believed() -> None:
    array = memory_array(Level.RAID1, 2, clock=Clock())
    right = _memory(array, 0).objects[superblock_key(1, 1)]
    for wrong in _flips(right, 2):
        member = MemoryMember("copy")
        member.put(superblock_key(1, 1), [wrong], essential=True)
        assert inspect(member).problem in (Problem.UNREADABLE, Problem.NEWER)


def test_a_manifest_of_another_blob_is_not_accepted() -> None:
    array = memory_array(Level.RAID1, 2, clock=Clock())
    stored, other = put_blob(array, b"mine"), put_blob(array, b"theirs")
    for slot in range(2):
        objects = _memory(array, slot).objects
        mine = next(k for k in objects if str(stored.blob) in k)
        objects[mine] = next(v for k, v in objects.items() if str(other.blob) in k)
    met: list[Damage] = []
    with pytest.raises(BlobDamaged):
        load_manifest(array, ref_of(stored), met.append)
    assert len(met) == 2
