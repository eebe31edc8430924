"""The frozen vectors: packed again by the engine and by the reference, and read."""

from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from uuid import UUID

import pytest

from raid.array import Array, ArrayMap, SlotEntry
from raid.buffers import BufferPool
from raid.errors import DamagedObject
from raid.format import HEADER_LENGTH, SegmentTable, ShardHeader
from raid.geometry import UNIT, Code, Level, Shape, pieces, shape_of
from raid.health import Health
from raid.keys import KeyKind, parse_key, parse_superblock_key
from raid.levels import rebuild
from raid.manifest import Description, Form, Manifest, SegmentRow
from raid.memory import MemoryMember
from raid.superblock import (
    MemberEntry,
    StoredState,
    Superblock,
    Tombstone,
)
from raid.tags import unit_key, unit_tag
from raid.writer import write
from support import golden
from support import reference as ref
from support.arrays import EXECUTOR, Body, Log, attempts
from support.golden import ARRAY, CASES, MEMBERS, UPLOADED, Case
from support.packing import pack_blob, pack_segment

Stored = dict[str, bytes]


def packed_by_the_engine(case: Case) -> dict[int, Stored]:
    k, m, code = case.shape
    slots = list(case.slots)
    segments = [
        pack_segment(ARRAY, case.blob, i, attempt, Shape(k, m, Code(code)), data, slots)
        for i, ((_, attempt), data) in enumerate(
            zip(case.parts, case.contents(), strict=True)
        )
    ]
    _, members = pack_blob(
        ARRAY,
        case.blob,
        case.attempt,
        Description(*case.words, UPLOADED),
        segments,
        combined=case.combined,
        inline=case.content() if case.inline else b"",
        sha256=case.digest,
        slots=list(range(case.width)),
    )
    for slot, objects in members.items():
        objects[f"superblock.1.{slot + 1}"] = superblock(case, slot).pack()
    return members


def whole_shape(case: Case) -> Shape:
    number, k, m = golden.level_of(case)
    shape = shape_of(Level(f"raid{number}"), case.width)
    assert (shape.k, shape.m) == (k, m)
    return shape


def superblock(case: Case, slot: int) -> Superblock:
    number, _, _ = golden.level_of(case)
    states = {True: StoredState.IN_SYNC, False: StoredState.STALE}
    return Superblock(
        ARRAY,
        MEMBERS[slot],
        slot,
        Level(f"raid{number}"),
        whole_shape(case),
        1,
        slot + 1,
        UPLOADED + slot,
        tuple(
            MemberEntry(MEMBERS[i], i, states[i in case.slots], f"file:///srv/d{i}")
            for i in range(case.width)
        ),
        case.name == "inline",
    )


def find_manifest(objects: Stored, digest: bytes | None = None) -> Manifest | None:
    """Find a blob's manifest as a reader without a database does: by the keys."""
    for key, data in objects.items():
        parsed = parse_key(key)
        if parsed and parsed.kind is KeyKind.MANIFEST:
            return Manifest.unpack(data, digest)
        if parsed and parsed.kind is KeyKind.COMBINED:
            header = ShardHeader.unpack(data)
            start = HEADER_LENGTH + header.table_length
            return Manifest.unpack(data[start : start + header.manifest_length])
    return None


def find_role(members: dict[int, Stored], manifest: Manifest, number: int, role: int):
    """Return the units of one role, verified, or None when its member is away."""
    row = manifest.segments[number]
    word = row.shape.roles[role]
    for key, data in members.get(row.slots[role], {}).items():
        parsed = parse_key(key)
        if parsed and (parsed.segment, parsed.role) == (number, word):
            return verified_units(manifest, row, number, role, data)
    return None


def verified_units(
    manifest: Manifest, row: SegmentRow, number: int, role: int, data: bytes
) -> list[bytes]:
    carried = manifest.length if manifest.form is Form.COMBINED else 0
    header = ShardHeader.unpack(data)
    assert header == row.header(ARRAY, manifest.blob, number, role, carried)
    assert header.object_length == len(data)
    table = data[HEADER_LENGTH : HEADER_LENGTH + header.table_length]
    tags = SegmentTable.unpack(table, row.length, row.shape, row.digest)
    payload = data[header.payload_offset :]
    units = [payload[at : at + UNIT] for at in range(0, len(payload), UNIT)]
    byte = row.shape.role_byte(role)
    key = unit_key(ARRAY, manifest.blob, number, row.attempt, byte)
    for i, unit in enumerate(units):
        assert unit_tag(key, unit, i) == tags.tag(i, row.shape.column(role))
    return units


def read_segment(members: dict[int, Stored], manifest: Manifest, number: int) -> bytes:
    row = manifest.segments[number]
    roles = [find_role(members, manifest, number, r) for r in range(row.shape.width)]
    if row.shape.code is Code.COPIES:
        return b"".join(next(units for units in roles if units))[: row.length]
    for role in range(row.shape.k):
        if roles[role] is None:
            there = [r for r in range(row.shape.width) if roles[r] is not None]
            used = there[: row.shape.k]
            rows = zip(*(roles[r] for r in used), strict=True)
            roles[role] = [
                rebuild(row.shape, role, dict(zip(used, units, strict=True)))
                for units in rows
            ]
    cut = pieces(row.length, row.shape.k, 0, row.length)
    return b"".join(roles[p.column][p.row][p.start : p.stop] for p in cut)


def read_blob(members: dict[int, Stored]) -> bytes:
    manifest = next(filter(None, map(find_manifest, members.values())))
    numbers = range(len(manifest.segments))
    segments = (read_segment(members, manifest, number) for number in numbers)
    return b"".join(segments) + manifest.inline


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reference_packs_the_frozen_vector(case):
    assert golden.reference_members(case) == golden.frozen_members(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_packs_the_frozen_vector(case):
    frozen = golden.frozen_members(case)
    for objects in frozen.values():
        for key in [key for key in objects if key.startswith("t/")]:
            del objects[key]
    assert packed_by_the_engine(case) == frozen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_frozen_vector_reads_with_any_member_gone(case):
    frozen = golden.frozen_members(case)
    redundancy = min(case.shape[1], case.width - 1)
    for gone in [(), *combinations(range(case.width), redundancy)]:
        left = {slot: frozen[slot] for slot in frozen if slot not in gone}
        assert sha256(read_blob(left)).digest() == sha256(case.content()).digest()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_formulas_of_the_document_rebuild_what_the_engine_encodes(k):
    segment = pack_segment(
        ARRAY, UUID(int=k), 0, 1, Shape(k, 2, Code.PQ), ref.data(k * 24), list(range(9))
    )
    units = list(segment.payloads)
    assert ref.q_of(units[:k]) == units[k + 1]
    for x, y in combinations(range(k + 1), 2):
        lost = [b"" if i in (x, y) else unit for i, unit in enumerate(units)]
        assert ref.lost_two(lost, x, y) == (units[x], units[y])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_frozen_superblocks_read(case):
    for slot, objects in golden.frozen_members(case).items():
        (key,) = filter(parse_superblock_key, objects)
        assert parse_superblock_key(key) == (1, slot + 1)
        assert Superblock.unpack(objects[key]) == superblock(case, slot)


SMALL = [case for case in CASES if len(case.parts) < 2]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_the_writer_stores_what_the_reference_packs(case):
    """Through the whole writer, which always knows the SHA-256 of a short blob."""
    states = {True: StoredState.IN_SYNC, False: StoredState.STALE}
    slots = tuple(
        SlotEntry(i, MEMBERS[i], states[i in case.slots], f"file:///srv/d{i}")
        for i in range(case.width)
    )
    level = Level(f"raid{golden.level_of(case)[0]}")
    array_map = ArrayMap(ARRAY, level, whole_shape(case), 1, 1, slots)
    members = {i: MemoryMember(f"m{i}") for i in range(case.width)}
    array = Array(array_map, members, Health(lambda: 0.0), EXECUTOR, "accept")
    write(
        array,
        case.blob,
        attempts(case.attempt),
        Description(*case.words, UPLOADED),
        Body(case.content()),
        Log(),
        BufferPool(1 << 30),
        want_sha256=True,
    )
    expected = golden.reference_members(replace(case, receipt=True))
    for slot in case.slots:
        blobs = {key for key in expected[slot] if key.startswith("o/")}
        assert members[slot].objects == {key: expected[slot][key] for key in blobs}


def test_the_frozen_tombstone_reads_and_packs():
    (case,) = (case for case in CASES if case.name == "narrow")
    stored = golden.frozen_members(case)[2][f"t/{str(case.blob)[:2]}/{case.blob}"]
    tombstone = Tombstone.unpack(stored)
    assert tombstone == Tombstone(ARRAY, case.blob, case.attempt, UPLOADED)
    assert tombstone.pack() == stored


def test_names_and_receipt_are_in_the_frozen_manifest():
    (case,) = (case for case in CASES if case.name == "inline")
    manifest = find_manifest(golden.frozen_members(case)[0])
    assert manifest is not None
    assert manifest.description == Description(*golden.NAMES, UPLOADED)
    assert manifest.sha256 == sha256(case.content()).digest()


def test_another_intact_manifest_is_refused_by_its_digest():
    (case,) = (case for case in CASES if case.name == "inline")
    with pytest.raises(DamagedObject, match="not the one expected"):
        find_manifest(golden.frozen_members(case)[0], bytes(32))
