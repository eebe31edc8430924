"""Uploads while members fail, fill up or go away: never below what is promised."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from uuid import uuid4

import pytest

from raid import halves
from raid.array import Array, ArrayState, DegradedWrite
from raid.buffers import BufferPool
from raid.errors import (
    ArrayFailed,
    ArrayReadOnly,
    MemberMissing,
    NoSpace,
    WriteRefused,
)
from raid.geometry import Code, Level
from raid.member import Member
from raid.memory import MemoryMember
from raid.reader import load_manifest
from raid.repair import check_shard, put_manifest, put_shard
from raid.shards import object_key
from raid.writer import Stored, erase, write
from support.arrays import (
    DESCRIPTION,
    LAYOUTS,
    Body,
    Clock,
    Log,
    attempts,
    get_blob,
    memory_array,
    put_blob,
    ref_of,
)
from support.bodies import body
from support.faulty import RAISING, FaultyMember

SIZES = {"inline": 5_000, "combined": 300 * 1024, "segmented": 2_500_000}


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "HALF", 1 << 19)


def _faulty(
    level: Level, width: int, degraded_write: DegradedWrite = "accept"
) -> tuple[Array, list[FaultyMember]]:
    made: list[FaultyMember] = []

    def wrap(_: int, member: Member) -> FaultyMember:
        made.append(FaultyMember(member))
        return made[-1]

    array = memory_array(
        level, width, wrap=wrap, clock=Clock(), degraded_write=degraded_write
    )
    return array, made


def _objects(member: FaultyMember) -> dict[str, bytes]:
    assert isinstance(member.inner, MemoryMember)
    found = member.inner.objects
    return {key: found[key] for key in found if key.startswith("o/")}


def _expected_keys(stored: Stored, slot: int) -> set[str]:
    keys = set()
    for number, (row, holders) in enumerate(
        zip(stored.rows, stored.holders, strict=True)
    ):
        for role, (at, who) in enumerate(zip(row.slots, holders, strict=True)):
            if at == slot and who is not None:
                keys.add(object_key(stored.manifest, number, role))
    ref = ref_of(stored)
    if slot in stored.manifest_on:
        keys.add(ref.manifest_key(slot))
    return keys


def _survives(array: Array, members: list[FaultyMember], stored: Stored) -> bool:
    """Tell whether the blob is still there with any m members gone."""
    for lost in combinations(range(len(members)), array.map.shape.m):
        for slot, member in enumerate(members):
            member.always("missing" if slot in lost else None)
        try:
            get_blob(array, stored)
        except Exception:
            return False
        finally:
            for slot, member in enumerate(members):
                member.always(None)
                array.check(slot)
    return True


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("kind", RAISING)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_member_that_fails_in_the_middle_costs_nothing(
    size: int, kind: str, level: Level, width: int
) -> None:
    data = body(size)
    nth, fired = 0, True
    while fired:
        nth += 1
        array, members = _faulty(level, width)
        victim = members[nth % width]
        victim.on_call("put", nth, kind)
        stored = put_blob(array, data)
        fired = bool(victim.fired[kind])
        if not fired:
            break
        assert get_blob(array, stored) == data
        for slot, member in enumerate(members):
            assert set(_objects(member)) == _expected_keys(stored, slot)
        _check_promise(array, members, stored)
    assert nth > 1


def _check_promise(array: Array, members: list[FaultyMember], stored: Stored) -> None:
    holders = [who for row in stored.holders for who in row]
    if stored.at_risk:
        assert array.map.shape.code is Code.COPIES
    else:
        assert None not in holders
        for slot in range(len(members)):
            array.health.ok(slot, write=True)
        assert _survives(array, members, stored)


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["missing", "full", "read-only"])
def test_a_member_that_is_gone_before_is_written_around(
    kind: str, size: int, level: Level, width: int
) -> None:
    array, members = _faulty(level, width)
    data = body(size)
    members[0].always(kind)
    put_blob(array, b"finds out")
    puts = members[0].calls["put"]
    stored = put_blob(array, data)
    assert members[0].calls["put"] == puts
    assert 0 not in stored.manifest_on
    assert get_blob(array, stored) == data
    assert stored.at_risk == (level is Level.RAID1)
    for row in stored.rows:
        assert row.shape.m == array.map.shape.m
    if level is Level.RAID5:
        assert all(0 not in row.slots for row in stored.rows)
        assert all(row.shape.k == max(1, width - 2) for row in stored.rows)


def test_what_is_owed_is_paid_byte_for_byte() -> None:
    for level, width in LAYOUTS:
        for size in SIZES.values():
            array, members = _faulty(level, width)
            members[1].always("missing")
            stored = put_blob(array, body(size))
            members[1].always(None)
            array.check(1)
            paid = _pay(array, stored)
            assert paid
            for slot, member in enumerate(members):
                for key in _objects(member):
                    assert key in _all_keys(stored, slot)
            assert _survives(array, members, stored)


def _all_keys(stored: Stored, slot: int) -> set[str]:
    keys = {ref_of(stored).manifest_key(slot)}
    for number, row in enumerate(stored.rows):
        if slot in row.slots:
            keys.add(object_key(stored.manifest, number, row.slots.index(slot)))
    return keys


def _pay(array: Array, stored: Stored) -> int:
    """Pay what a stored blob owes, as the worker does; return how many objects."""
    paid = 0
    for number, holders in enumerate(stored.holders):
        for role, who in enumerate(holders):
            if who is None:
                slot = stored.rows[number].slots[role]
                put_shard(array, slot, stored.manifest, number, role)
                check_shard(array, slot, stored.manifest, number, role)
                paid += 1
    combined = set(ref_of(stored).slots)
    for entry in array.map.slots:
        if entry.slot not in stored.manifest_on | combined:
            put_manifest(array, entry.slot, stored.manifest)
            paid += 1
    load_manifest(array, ref_of(stored), lambda damage: pytest.fail(str(damage)))
    return paid


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_refuse_keeps_the_promise_or_stores_nothing(size: int) -> None:
    array, members = _faulty(Level.RAID1, 2, "refuse")
    members[0].always("full")
    blob = uuid4()
    with pytest.raises(WriteRefused):
        put_blob(array, body(size), blob=blob)
    with pytest.raises(WriteRefused):
        put_blob(array, body(size), blob=blob)
    erase(array, blob)
    assert _objects(members[1]) == {}


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_more_than_m_away_refuses_writes(size: int, level: Level, width: int) -> None:
    array, members = _faulty(level, width)
    for slot in range(array.map.shape.m + 1):
        members[slot].always("missing")
    try:  # whoever finds out may still have stored enough manifests
        stored = put_blob(array, body(size))
        assert len(stored.manifest_on) > array.map.shape.m
    except ArrayFailed:
        pass
    for slot in range(width):
        with suppress(MemberMissing):
            array.check(slot)
    assert array.state() is ArrayState.FAILED
    with pytest.raises(ArrayFailed) as caught:
        put_blob(array, body(size))
    assert "m0" in str(caught.value)


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_no_space_only_when_no_member_can_take_it(
    size: int, level: Level, width: int
) -> None:
    array, members = _faulty(level, width)
    for member in members[1:]:
        member.always("full")
    stored = put_blob(array, body(size))
    assert stored.at_risk
    assert get_blob(array, stored) == body(size)
    members[0].always("full")
    array.health.ok(0, write=True)
    with pytest.raises(NoSpace):
        put_blob(array, body(size))
    for slot, member in enumerate(members):
        member.always(None)
        array.health.ok(slot, write=True)
    assert not put_blob(array, body(size)).at_risk


def test_a_read_only_array_takes_nothing() -> None:
    array = memory_array(Level.RAID5, 3)
    array = array.with_map(replace(array.map, readonly=True))
    with pytest.raises(ArrayReadOnly):
        put_blob(array, b"x")
    assert array.state() is ArrayState.READONLY


class CutError(Exception):
    """A body that ended before its length."""


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_cut_body_stores_nothing_that_erase_does_not_remove(size: int) -> None:
    array, members = _faulty(Level.RAID5, 4)
    blob = uuid4()
    source = Body(body(size), cut=CutError("cut"))
    log = Log()
    with pytest.raises(CutError):
        write(
            array,
            blob,
            attempts(),
            DESCRIPTION,
            source,
            log,
            BufferPool(1 << 30),
            want_sha256=False,
        )
    assert log.sealed == []
    assert erase(array, blob) == []
    assert all(_objects(member) == {} for member in members)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_refusal_at_sealing_leaves_no_manifest(size: int) -> None:
    array, members = _faulty(Level.RAID5, 4)
    log = Log(refuse=CutError("over quota"))
    blob = uuid4()
    with pytest.raises(CutError):
        put_blob(array, body(size), blob=blob, log=log)
    keys = [key for member in members for key in _objects(member)]
    assert not any(".m" in key for key in keys)
    assert bool(keys) == (size == SIZES["segmented"])
    erase(array, blob)
    assert not any(_objects(member) for member in members)


def test_erase_names_the_slots_that_it_could_not_reach() -> None:
    array, members = _faulty(Level.RAID5, 3)
    stored = put_blob(array, body(SIZES["segmented"]))
    members[2].always("missing")
    assert erase(array, stored.blob) == [2]
    assert _objects(members[0]) == _objects(members[1]) == {}
    assert _objects(members[2])


@pytest.mark.parametrize("piece", [1, 4096, 65_537, 1 << 20])
def test_bodies_come_in_pieces_of_any_size(piece: int) -> None:
    array = memory_array(Level.RAID5, 4)
    data = body(3_000 if piece == 1 else 1_300_000)
    stored = write(
        array,
        uuid4(),
        attempts(),
        DESCRIPTION,
        Body(data, piece),
        Log(),
        BufferPool(1 << 30),
        want_sha256=True,
    )
    assert stored.sha256 == hashlib.sha256(data).digest()
    assert get_blob(array, stored) == data


@pytest.mark.parametrize("size", [None, 0, 10, 700_000, 1 << 40])
def test_a_wrong_hint_of_the_size_only_changes_the_segments(size: int | None) -> None:
    array = memory_array(Level.RAID5, 3)
    data = body(1_300_000)
    stored = write(
        array,
        uuid4(),
        attempts(),
        DESCRIPTION,
        Body(data),
        Log(),
        BufferPool(1 << 30),
        want_sha256=False,
        size=size,
    )
    assert get_blob(array, stored) == data


def test_memory_is_given_back_however_an_upload_ends() -> None:
    array, members = _faulty(Level.RAID5, 4)
    pool = BufferPool(1 << 30)
    put_blob(array, body(1_300_000), pool=pool)
    for member in members:
        member.always("missing")
    with pytest.raises(ArrayFailed):
        put_blob(array, body(1_300_000), pool=pool)
    assert pool.used == 0


@pytest.mark.parametrize("size", [0, 10, 100_000, 1_200_000])
def test_a_manifest_tells_when_the_body_was_whole(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that comes for hours must not look older than what came meanwhile."""
    monkeypatch.setattr("raid.halves.HALF", 512 * 1024)
    told: list[str] = []

    class Slow(Body):
        def readinto(self, view: memoryview) -> int:
            count = super().readinto(view)
            told.append("piece" if count else "end")
            return count

    class Noting(Log):
        def sealing(self, size: int, sha256: bytes | None) -> None:
            super().sealing(size, sha256)
            told.append("sealed")

    def now() -> int:
        told.append("time")
        return 77

    stored = write(
        memory_array(Level.RAID5, 4),
        uuid4(),
        attempts(),
        DESCRIPTION,
        Slow(bytes(size)),
        Noting(),
        BufferPool(1 << 26),
        want_sha256=False,
        sealed_us=now,
    )
    assert told[-3:] == ["end", "sealed", "time"]
    assert stored.manifest.description == replace(DESCRIPTION, uploaded_us=77)
