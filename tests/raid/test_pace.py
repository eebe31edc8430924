"""What is late, who rests for it, and what asking others may cost."""

import pytest

from raid.health import Health
from raid.pace import (
    BURST,
    BYTES_A_DAY,
    DAY,
    FIRST_PATIENCE,
    LEAST_PATIENCE,
    SHARE,
    SLOW_REST,
    TOO_OFTEN,
    Pace,
)
from support.arrays import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock)


def _steady(pace: Pace, seconds: dict[int, float], reads: int = 50) -> None:
    for _ in range(reads):
        for slot, each in seconds.items():
            pace.took(slot, each)


def test_a_read_is_given_long_before_anything_is_known(pace: Pace) -> None:
    assert pace.patience() == FIRST_PATIENCE


def test_quick_members_are_given_a_moment_all_the_same(pace: Pace) -> None:
    _steady(pace, {0: 0.001, 1: 0.002})
    assert pace.patience() == LEAST_PATIENCE


def test_a_slow_member_does_not_set_the_measure(pace: Pace) -> None:
    _steady(pace, {0: 0.2, 1: 0.2, 2: 0.2, 3: 5.0})
    assert 0.39 < pace.patience() < 0.5


def test_what_varies_is_given_more(pace: Pace) -> None:
    for number in range(100):
        pace.took(0, 0.1 if number % 2 else 0.3)
    assert pace.patience() > 2 * 0.3


def _be_late(pace: Pace, clock: Clock, times: int, slot: int = 1) -> None:
    for _ in range(times):
        clock.now += 2
        pace.late(slot)


def test_a_member_that_is_late_too_often_rests(pace: Pace, clock: Clock) -> None:
    _be_late(pace, clock, int(TOO_OFTEN) - 1)
    assert pace.rests_for(1) == 0
    _be_late(pace, clock, 1)
    assert pace.rests_for(1) == SLOW_REST
    assert pace.rests_for(0) == 0
    clock.now += SLOW_REST
    assert pace.rests_for(1) == 0
    _be_late(pace, clock, 1)  # it was not given another five
    assert pace.rests_for(1) == SLOW_REST


def test_reads_that_are_late_together_are_late_once(pace: Pace, clock: Clock) -> None:
    clock.now = 50
    for _ in range(20):
        clock.now += 0.01
        pace.late(1)
    assert pace.rests_for(1) == 0
    assert pace.hedges.saved == 20


def test_timely_reads_make_good(pace: Pace, clock: Clock) -> None:
    for _ in range(20):
        _be_late(pace, clock, 1)
        for _ in range(4):
            pace.took(1, 0.001)
    assert pace.rests_for(1) == 0
    for _ in range(20):
        _be_late(pace, clock, 1)
        pace.took(1, 0.001)
    assert pace.rests_for(1) > 0


def test_the_budget_is_a_share_of_the_reads(pace: Pace) -> None:
    for _ in range(int(BURST)):
        assert pace.allow(1, 10)
    assert not pace.allow(1, 10)
    _steady(pace, {0: 0.01}, reads=int(2 / SHARE))
    assert pace.allow(1, 10)
    assert not pace.allow(2, 10)
    hedges = pace.hedges
    assert (hedges.hedged, hedges.refused) == (BURST + 1, 2)
    assert hedges.hedged_bytes == (BURST + 1) * 10


def test_the_budget_has_a_bound_for_each_day(pace: Pace, clock: Clock) -> None:
    assert pace.allow(1, BYTES_A_DAY)
    assert not pace.allow(1, 1)
    clock.now += DAY
    assert pace.allow(1, 1)


def test_another_member_in_the_slot_begins_anew(pace: Pace, clock: Clock) -> None:
    _steady(pace, {1: 3.0})
    _be_late(pace, clock, int(TOO_OFTEN))
    pace.forget(1)
    assert pace.rests_for(1) == 0
    assert pace.patience() == FIRST_PATIENCE


def test_a_member_that_rests_is_slow_and_is_neither_away_nor_unusable() -> None:
    clock = Clock()
    health = Health(clock)
    _be_late(health.pace, clock, int(TOO_OFTEN))
    assert health.observed(1) == "slow"
    assert "for another 10 min" in str(health.error(1))
    assert not health.unreachable(1)
    assert health.usable(1)
    assert health.usable(1, write=True)
    assert health.failures(1) == 0
    health.forget(1)
    assert health.observed(1) is None
