"""What was written can be read, with any m members gone, at every size that matters."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raid import halves
from raid.array import Array
from raid.errors import BlobUnreachable
from raid.geometry import UNIT, Code, Level, Shape, shape_of
from raid.halves import capacity_for
from raid.manifest import INLINE_LIMIT, Form
from raid.memory import MemoryMember
from raid.writer import Stored
from support.arrays import LAYOUTS, WIDE, Clock, Log, get_blob, memory_array, put_blob
from support.bodies import body
from support.faulty import FaultyMember
from support.soak import drawn

FAR = 12
"""The units that one read of a far member fetches."""
SMALL = 1024 * 1024
"""The most data of a segment in these tests, so that a few of them stay small."""


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "HALF", SMALL)


def _capacity(shape: Shape) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halves, "HALF", SMALL)
        return capacity_for(shape, None)


def _sizes(level: Level, width: int) -> list[int]:
    shape = shape_of(level, width)
    row, segment = shape.k * UNIT, _capacity(shape)
    edges = {INLINE_LIMIT, INLINE_LIMIT + 8, UNIT, row, segment, 2 * segment}
    near = {edge + by for edge in edges for by in (-1, 0, 1)}
    return sorted(near | {0, 1, 7, 300 * 1024, 2 * segment + 100 * 1024})


ALL = (*LAYOUTS, *WIDE)
CASES = [(*layout, size) for layout in ALL for size in _sizes(*layout)]


def _faulty(
    level: Level, width: int, *, far: bool = False
) -> tuple[Array, list[FaultyMember]]:
    made: list[FaultyMember] = []

    def wrap(_: int, member: MemoryMember) -> FaultyMember:
        made.append(FaultyMember(member))
        made[-1].run_units = FAR if far else 1
        return made[-1]

    return memory_array(level, width, wrap=wrap, clock=Clock()), made


def _reads_without(
    array: Array, members: list[FaultyMember], lost: tuple[int, ...], stored: Stored
) -> bytes:
    for slot in lost:
        members[slot].always("missing")
    try:
        return get_blob(array, stored)
    finally:
        for slot in lost:
            members[slot].always(None)
            array.check(slot)


@pytest.mark.parametrize(
    ("level", "width", "size", "far"),
    [
        *((*case, False) for case in CASES),
        *((*case, True) for case in drawn(CASES, len(CASES) // 4)),
    ],
)
def test_any_loss_of_up_to_m_members_is_survived(
    level: Level, width: int, size: int, far: bool
) -> None:
    array, members = _faulty(level, width, far=far)
    data = body(size)
    log = Log()
    stored = put_blob(array, data, log=log)
    assert (stored.size, stored.at_risk) == (size, False)
    assert log.sealed[-1] == (size, stored.sha256)
    for count in range(array.map.shape.m + 1):
        for lost in combinations(range(width), count):
            assert _reads_without(array, members, lost, stored) == data, lost
            assert (
                get_blob(array, stored, size // 3, size // 2)
                == data[size // 3 : size // 2]
            )
    assert size == 0 or any(member.fired["missing"] for member in members)


@pytest.mark.parametrize(("level", "width"), ALL)
@pytest.mark.parametrize("size", [1000, 300 * 1024, 3 * 1024 * 1024])
@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_more_losses_are_an_honest_error_or_the_right_bytes(
    level: Level, width: int, size: int, far: bool
) -> None:
    array, members = _faulty(level, width, far=far)
    data = body(size)
    stored = put_blob(array, data)
    for lost in combinations(range(width), array.map.shape.m + 1):
        try:
            assert _reads_without(array, members, lost, stored) == data
        except BlobUnreachable as error:
            assert len(error.members) >= 1
            assert stored.form is not Form.INLINE or len(lost) == width
        else:
            assert stored.form is Form.INLINE or _keeps_a_copy(stored, lost)


def _keeps_a_copy(stored: Stored, lost: tuple[int, ...]) -> bool:
    """Tell whether luck left a copy of every segment, as it may with raid10."""
    return all(
        row.shape.code is Code.COPIES and not set(row.slots) <= set(lost)
        for row in stored.rows
    )


@pytest.mark.parametrize(("level", "width"), ALL)
def test_inline_files_are_read_from_the_last_member(level: Level, width: int) -> None:
    array, members = _faulty(level, width)
    stored = put_blob(array, b"small")
    assert stored.manifest_on == set(range(width))
    for kept in range(width):
        lost = tuple(slot for slot in range(width) if slot != kept)
        assert _reads_without(array, members, lost, stored) == b"small"


@pytest.mark.parametrize(("level", "width"), ALL)
def test_forms_follow_the_size(level: Level, width: int) -> None:
    array = memory_array(level, width)
    segment = capacity_for(array.map.shape, None)
    for size, form in (
        (0, Form.EMPTY),
        (1, Form.INLINE),
        (INLINE_LIMIT, Form.INLINE),
        (INLINE_LIMIT + 1, Form.COMBINED),
        (segment, Form.COMBINED),
        (segment + 1, Form.SEGMENTED),
    ):
        log = Log()
        stored = put_blob(array, body(size), log=log)
        assert stored.form is form, size
        assert [row[1] for row in log.rows] == (
            [0, segment] if form is Form.SEGMENTED else []
        )
        assert (stored.sha256 is None) == (form is Form.SEGMENTED)


@given(data=st.data())
@settings(deadline=None)
def test_any_range_of_anything_is_read(data: st.DataObject) -> None:
    level, width = data.draw(st.sampled_from(ALL))
    array, members = _faulty(level, width, far=data.draw(st.booleans()))
    size = data.draw(st.integers(0, 3 * 1024 * 1024))
    content = body(size)
    stored = put_blob(array, content, want_sha256=data.draw(st.booleans()))
    lost = data.draw(st.sets(st.integers(0, width - 1), max_size=array.map.shape.m))
    for slot in lost:
        members[slot].always("missing")
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size + 10))
    assert get_blob(array, stored, start, stop) == content[start:stop]
