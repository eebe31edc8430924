"""Far members: few reads, those that are late made good, the near ones preferred."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raid import halves, pace
from raid.array import Array
from raid.errors import MemberSlow, ObjectMissing
from raid.geometry import UNIT, Level
from raid.memory import MemoryMember
from raid.pace import TOO_OFTEN
from raid.segments import Damage
from raid.writer import Stored
from support.arrays import Clock, array_over, get_blob, put_blob
from support.bodies import body

SEGMENT = 3 * 4 * UNIT
SIZE = 2 * SEGMENT + 1000
SIZES = {"small": 1000, "combined": 300 * 1024, "segmented": SIZE}


class FarMember(MemoryMember):
    """A member that counts its reads, and answers none while it is told to hang."""

    run_units = 12
    weight = 100

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.reads: list[tuple[str, int, int | None]] = []
        self.hung = 0
        self._goes = threading.Event()
        self._goes.set()

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        if key.startswith("o/"):
            self.reads.append((key, offset, length))
            if not self._goes.is_set():
                self.hung += 1
                assert self._goes.wait(20), "A reader waited for it."
                raise MemberSlow(self.label, "It hung.")
        return super().read(key, offset, length)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Answer no read of an object until the end."""
        self._goes.clear()
        try:
            yield
        finally:
            self._goes.set()


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "HALF", SEGMENT)
    monkeypatch.setattr(pace, "FIRST_PATIENCE", 0.05)


def _far(level: Level, width: int) -> tuple[Array, list[FarMember]]:
    members = [FarMember(f"m{slot}") for slot in range(width)]
    return array_over(level, members), members


def _reads(members: list[FarMember]) -> int:
    return sum(len(member.reads) for member in members)


def _slots(stored: Stored, segment: int = 0) -> tuple[int, ...]:
    return stored.rows[segment].slots


def test_a_role_of_a_segment_is_one_read_and_brings_the_table() -> None:
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    assert get_blob(array, stored) == body(SIZE)
    # The manifest; of two whole segments three roles each; of a short one one unit.
    assert _reads(members) == 1 + 3 + 3 + 3
    assert _reads([members[_slots(stored)[3]]]) <= 3


def test_a_range_in_the_middle_costs_the_table_and_its_units() -> None:
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    start = 2 * 3 * UNIT + UNIT + 5
    assert get_blob(array, stored, start, start + 10) == body(SIZE)[start : start + 10]
    assert sorted(length or 0 for m in members for *_, length in m.reads)[-1] == UNIT
    assert _reads(members) == 3


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    ("level", "width"), [(Level.RAID5, 4), (Level.RAID6, 5), (Level.RAID1, 2)]
)
def test_a_member_that_hangs_keeps_no_reader(
    level: Level, width: int, size: int
) -> None:
    array, members = _far(level, width)
    stored = put_blob(array, body(size))
    hung = 0
    for member in members:
        with member.hanging():
            assert get_blob(array, stored) == body(size)
        hung += member.hung
        array.health.forget(members.index(member))
    assert hung
    assert array.health.pace.hedges.saved


def test_a_member_that_hangs_rests_and_is_asked_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_ONCE", 0.0)
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    slow = members[_slots(stored)[0]]
    slot = members.index(slow)
    with slow.hanging():
        while not array.health.pace.rests_for(slot):
            assert get_blob(array, stored) == body(SIZE)
        assert array.health.observed(slot) == "slow"
        # On a busy machine others are late as well, and then it would be asked.
        monkeypatch.setattr(pace, "LEAST_PATIENCE", 3600.0)
        before, hedged = len(slow.reads), array.health.pace.hedges
        assert get_blob(array, stored) == body(SIZE)
        assert len(slow.reads) == before
        assert array.health.pace.hedges == hedged  # that is no hedge and costs nothing
    assert before >= TOO_OFTEN
    assert slot in array.writable()


def test_who_rests_is_asked_when_nobody_else_has_it() -> None:
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    first, second = _slots(stored)[:2]
    array.health.pace._rests[first] = float("inf")
    members[second].objects.clear()
    assert get_blob(array, stored) == body(SIZE)


def test_without_a_budget_the_late_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "BURST", 0.0)
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    slow = members[_slots(stored)[0]]
    with slow.hanging():
        timer = threading.Timer(0.3, slow._goes.set)
        timer.start()
        assert get_blob(array, stored) == body(SIZE)
        timer.join()
    hedges = array.health.pace.hedges
    assert hedges.refused
    assert (hedges.hedged, hedges.saved) == (0, 0)


def test_a_busy_executor_is_not_taken_for_a_late_member() -> None:
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    over = threading.Event()
    busy = [array.executor.submit(over.wait, 30) for _ in range(8)]
    try:
        assert get_blob(array, stored) == body(SIZE)
    finally:
        over.set()
    assert all(future.result() for future in busy)
    assert array.health.pace.hedges.hedged == 0
    assert _reads(members)


def test_absence_that_is_met_ahead_is_damage() -> None:
    array, members = _far(Level.RAID5, 4)
    stored = put_blob(array, body(SIZE))
    slot = _slots(stored)[0]
    for key in [key for key in members[slot].objects if ".s0." in key]:
        del members[slot].objects[key]
        with pytest.raises(ObjectMissing):
            members[slot].read(key)
    met: list[Damage] = []
    assert get_blob(array, stored, damage=met) == body(SIZE)
    assert [(one.slot, one.segment) for one in met] == [(slot, 0)]


def test_whoever_stops_reading_asks_for_no_more() -> None:
    from raid.reader import read
    from support.arrays import ref_of

    array, members = _far(Level.RAID5, 4)
    size = 6 * SEGMENT
    stored = put_blob(array, body(size))
    reading = read(array, ref_of(stored), 0, size, on_damage=pytest.fail)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert _reads(members) <= 1 + 3 * 3


def test_copies_are_read_from_the_nearest() -> None:
    array, members = _far(Level.RAID1, 3)
    members[1].weight = 101
    stored = put_blob(array, body(SIZE))
    assert get_blob(array, stored) == body(SIZE)
    assert [bool(member.reads) for member in members] == [False, True, False]


def test_parity_nearby_is_better_than_data_far_away() -> None:
    array, members = _far(Level.RAID5, 4)
    members[2].weight = 1
    stored = put_blob(array, body(SIZE))
    assert get_blob(array, stored) == body(SIZE)
    assert not members[2].reads
    with members[0].hanging():  # now it is needed
        assert get_blob(array, stored) == body(SIZE)
    assert members[0].hung
    assert members[2].reads


def test_disks_are_preferred_to_buckets() -> None:
    members: list[MemoryMember] = [MemoryMember("a"), MemoryMember("b")]
    far = [FarMember("c"), FarMember("d")]
    array = array_over(Level.RAID6, [*members, *far])
    stored = put_blob(array, body(SIZE))
    assert get_blob(array, stored) == body(SIZE)
    assert _reads(far) == 0
    assert array.health.pace.patience() == pace.FIRST_PATIENCE  # nobody far was asked


def test_after_a_rest_one_request_tries_and_the_others_leave_it_alone() -> None:
    clock = Clock()
    array = array_over(
        Level.RAID5, [FarMember(f"m{slot}") for slot in range(4)], clock=clock
    )
    array.health.note(0, MemberSlow("m0", "It hung."))
    clock.now += 1000
    assert array.health.usable(0)
    with array.using(0):
        assert not array.health.usable(0)
    assert array.health.usable(0)
    assert array.health.observed(0) is None
