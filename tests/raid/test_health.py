"""A member that fails is rested, twice as long each time, and asked once more."""

import pytest

from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    MemberSlow,
    ObjectExists,
    ObjectMissing,
)
from raid.health import LONGEST_REST, REST, WRITE_REST, Health
from support.arrays import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.mark.parametrize(
    ("kind", "word", "reads", "writes"),
    [
        (MemberMissing, "missing", False, False),
        (MemberFailing, "missing", False, False),
        (MemberSlow, "slow", False, False),
        (MemberDenied, "access-denied", False, False),
        (MemberFull, "full", True, False),
        (MemberReadOnly, "read-only", True, False),
    ],
)
def test_each_trouble_has_its_word_and_its_rest(
    health: Health, kind: type[MemberError], word: str, reads: bool, writes: bool
) -> None:
    assert health.observed(1) is None
    health.note(1, kind("m1", "It happened."))
    assert health.observed(1) == word
    assert (health.usable(1), health.usable(1, write=True)) == (reads, writes)
    assert health.unreachable(1) is not reads
    assert health.usable(0, write=True)


def test_what_an_object_lacks_says_nothing_about_its_member(health: Health) -> None:
    health.note(1, ObjectMissing("m1", "o/x"))
    health.note(1, ObjectExists("m1", "o/x"))
    assert health.observed(1) is None
    assert health.usable(1, write=True)


def test_rests_double_up_to_a_limit(health: Health, clock: Clock) -> None:
    expected = REST
    for _ in range(8):
        health.note(1, MemberMissing("m1", "Gone."))
        health.note(1, MemberMissing("m1", "Gone, says another thread."))
        clock.now += expected - 0.01
        assert not health.usable(1)
        clock.now += 0.02
        assert health.usable(1)
        assert health.observed(1) == "missing"
        expected = min(expected * 2, LONGEST_REST)


def test_a_success_ends_it_at_once(health: Health) -> None:
    health.note(1, MemberMissing("m1", "Gone."))
    health.ok(1)
    assert health.observed(1) is None
    assert health.usable(1)


def test_a_read_says_nothing_about_room(health: Health) -> None:
    health.note(1, MemberFull("m1", "Full."))
    health.ok(1)
    assert health.observed(1) == "full"
    health.ok(1, write=True)
    assert health.observed(1) is None


def test_a_check_takes_back_what_a_check_found(health: Health) -> None:
    health.note(1, MemberReadOnly("m1", "Read-only."), by_check=True)
    health.checked(1)
    assert health.usable(1, write=True)


def test_a_check_does_not_see_what_a_write_found(health: Health, clock: Clock) -> None:
    health.note(1, MemberFull("m1", "Over quota."))
    health.note(1, MemberFull("m1", "Full, says the check too."), by_check=True)
    health.checked(1)
    assert health.observed(1) == "full"
    assert not health.usable(1, write=True)
    clock.now += WRITE_REST
    health.checked(1)
    assert health.observed(1) is None


def test_a_failing_disk_is_not_trusted_for_a_good_read(
    health: Health, clock: Clock
) -> None:
    health.note(1, MemberFailing("m1", "EIO."))
    health.checked(1)
    assert not health.usable(1)
    clock.now += REST
    health.checked(1)
    assert health.usable(1)
    assert health.observed(1) is None


def test_a_copy_without_a_slot_has_a_life_of_its_own(
    health: Health, clock: Clock
) -> None:
    """What is met with a member that was replaced stays with who still uses it."""
    for slot in (0, 1):
        health.note(slot, MemberFailing(f"m{slot}", "It is failing."))
        health.note(slot, MemberFull(f"m{slot}", "It is full."))
        for _ in range(5):
            health.pace.late(slot)
            clock.now += 1
    copy = health.without({1})
    assert (copy.observed(0), copy.failures(0)) == ("missing", 1)
    assert copy.pace.rests_for(0) == health.pace.rests_for(0) > 0
    assert copy.pace.hedges == health.pace.hedges
    assert (copy.observed(1), copy.failures(1)) == (None, 0)
    assert copy.pace.rests_for(1) == 0 < health.pace.rests_for(1)
    health.note(1, MemberFailing("m1", "It is failing."))
    health.ok(0, write=True)
    assert copy.usable(1, write=True) and copy.failures(1) == 0
    assert copy.unreachable(0)
    clock.now += 60
    copy.begin(0)
    assert not copy.usable(0) and health.usable(0)
