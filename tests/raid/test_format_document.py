"""The format document says what the code does: tables, pictures, worked example."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from raid import format as fmt
from raid import journal, manifest, rows, superblock
from raid.geometry import Level, placement, shape_of, unit_span
from support import reference as ref
from support import worked_example as example

TEXT = (Path(__file__).parents[2] / "docs" / "on-disk-format.md").read_text()
TABLES = re.findall(
    r"<!-- table (\w+) (\d+) -->\n\| offset.*\n\|[-:|]+\n((?:\|.*\n)+)", TEXT
)
DUMPS = dict(re.findall(r"```hex ([\w ]+)\n(.*?)```", TEXT, re.DOTALL))
STRUCTS = {
    "preamble": fmt.PREAMBLE,
    "entry": fmt._ENTRY,
    "shard": fmt._HEADER,
    "manifest": manifest._FIXED,
    "page": manifest._PAGE,
    "row": rows._ROW,
    "superblock": superblock._FIXED,
    "member": superblock._ENTRY,
    "tombstone": superblock._TOMBSTONE,
    "journal": journal._FIXED,
}


def fields(table: str) -> list[tuple[int, int]]:
    cells = [line.split("|") for line in table.splitlines()]
    return [(int(cell[1]), int(cell[2])) for cell in cells]


def undump(dump: str) -> bytes:
    data = b""
    for line in dump.splitlines():
        match = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+) *(?:\|.*)?", line)
        assert match, line
        assert int(match[1], 16) == len(data)
        data += bytes.fromhex(match[2])
    return data


def test_every_structure_has_a_table():
    assert {name for name, _, _ in TABLES} == set(STRUCTS)
    assert len(TABLES) == len(STRUCTS)


@pytest.mark.parametrize(("name", "size", "table"), TABLES, ids=lambda value: value[:9])
def test_a_table_has_neither_gap_nor_overlap(name, size, table):
    at = 0
    for offset, length in fields(table):
        assert offset == at
        at += length
    assert at == int(size)
    sealed = 32 if name == "tombstone" else 0
    assert at == STRUCTS[name].size + sealed


@pytest.mark.parametrize("name", example.OBJECTS)
def test_the_worked_example_is_what_the_engine_packs(name):
    assert undump(DUMPS[name]) == example.OBJECTS[name]


def test_the_worked_example_is_complete():
    assert set(DUMPS) == set(example.OBJECTS)
    assert example.SEGMENT.row.slots == (2, 0, 1)
    (key,) = (key for key in example.STORED[2] if key.endswith(".d0"))
    assert f"`{key}`" in TEXT


def test_the_worked_example_is_what_the_reference_packs():
    segment = ref.Segment(example.ARRAY, example.BLOB, 0, 1, (2, 1, 2), example.CONTENT)
    for role, name in enumerate(("shard d0", "shard d1", "shard p")):
        assert segment.shard(role) == undump(DUMPS[name])


def test_the_picture_of_rows_and_columns_is_right():
    length = 3 * 262_144 + 1000
    for row, cells in re.findall(r"^row (\d)  (.*) d0 xor d1 xor d2$", TEXT, re.M):
        spans = re.findall(r"([\d,]+) \.\. ([\d,]+)", cells)
        assert len(spans) == 3
        for column, (first, last) in enumerate(spans):
            start, stop = unit_span(length, 3, int(row), column)
            assert int(first.replace(",", "")) == start
            assert int(last.replace(",", "")) == min(stop, length) - 1


def test_the_picture_of_placement_is_right():
    pictures = re.findall(r"^.* slot 0 .*\n((?:segment \d .*\n)+)", TEXT, re.M)
    drawn = [[line.split()[1:] for line in one.splitlines()] for one in pictures]
    raids = (Level.RAID5, 4), (Level.RAID6, 5), (Level.RAID10, 4), (Level.RAID10, 5)
    assert [len(lines) for lines in drawn] == [4, 3, 4, 5]
    for (level, width), lines in zip(raids, drawn, strict=True):
        shape = shape_of(level, width)
        for number, *cells in lines:
            slots = placement(UUID(int=0), int(number), range(width), shape)
            words = {slot: shape.roles[role] for role, slot in enumerate(slots)}
            assert cells == [words.get(slot, "-") for slot in range(width)]


def test_codes_of_states_are_documented():
    listed = re.search(r"stored state: (.*) \|", TEXT)
    assert listed is not None
    assert listed[1] == ", ".join(
        f"{state.code} {state.value}" for state in superblock.StoredState
    )
