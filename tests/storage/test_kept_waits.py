"""What a member keeps of a purged blob is tried again ever less often."""

from collections.abc import Callable
from uuid import UUID

import pytest

from raid.errors import MemberSlow
from storage import kept, purge
from storage.models import Blob, Reason
from support.clock import Clock
from support.store import Store

pytestmark = pytest.mark.sqlite


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock of this process."""
    return Clock(monkeypatch)


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """A storage whose purges are due at once."""
    return make_store(PURGE_GRACE_SECONDS="0")


@pytest.fixture
def purging(store: Store) -> UUID:
    """A blob whose purge has begun."""
    blob = store.put(10).uuid
    store.let_go(blob)
    purge.begin_due()
    return blob


@pytest.fixture
def keepers(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[UUID]]:
    """The members that keep what is purged, by slot, and what they were asked for."""
    real, asked = kept.erase, {3: []}

    def erase(array, slot, blob):  # type: ignore[no-untyped-def]
        if slot not in asked:
            return real(array, slot, blob)
        asked[slot].append(blob)
        return False

    monkeypatch.setattr(kept, "erase", erase)
    return asked


def test_the_days_of_the_tries(
    store: Store, wall: Clock, purging: UUID, keepers: dict[int, list[UUID]]
) -> None:
    """Most end with the versions of a bucket, after a month; one try comes then."""
    days, array = [], store.runtime.array()
    for day in range(64):
        before = len(keepers[3])
        for _ in range(2):
            purge.run(array)
        days += [day] * (len(keepers[3]) - before)
        wall.jump(days=1)
    assert days == [0, 1, 2, 4, 8, 16, 32, 62]
    keepers.clear()
    store.make_due()
    assert purge.run(array) == 1
    assert store.rows(Blob) == store.debts() == []


def test_who_begins_to_keep_later_is_asked_from_its_own_beginning(
    store: Store, wall: Clock, purging: UUID, keepers: dict[int, list[UUID]]
) -> None:
    """It failed at first: that is no sign of how long it will keep what it has."""
    array = store.runtime.array()
    for _ in range(9):
        store.make_due()
        purge._put_off([(debt.member_uuid, purging) for debt in store.debts()])
    store.make_due()
    purge.run(array)
    wall.jump(days=1)
    purge.run(array)
    assert len(keepers[3]) == 2


def test_a_member_that_fails_meanwhile_waits_no_longer_for_that(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    purging: UUID,
    keepers: dict[int, list[UUID]],
) -> None:
    array, keeps = store.runtime.array(), kept.erase
    purge.run(array)

    def fail(*_: object) -> bool:
        raise MemberSlow("m", "It does not answer.")

    monkeypatch.setattr(kept, "erase", fail)
    for _ in range(3):
        store.make_due()
        purge.run(array)
    (debt,) = store.debts()
    assert (debt.reason, debt.tries) == (Reason.KEPT, 1)
    monkeypatch.setattr(kept, "erase", keeps)
    store.make_due()
    purge.run(array)
    (debt,) = store.debts()
    assert (debt.reason, debt.tries) == (Reason.KEPT, 2)
    assert debt.due_at - debt.created_at < 2 * kept.WAITS[0]


@pytest.mark.parametrize("ahead", [3, 10, 3000], ids="{} days".format)
def test_a_clock_that_was_ahead_lets_none_wait_for_longer(
    store: Store,
    wall: Clock,
    purging: UUID,
    keepers: dict[int, list[UUID]],
    ahead: int,
) -> None:
    """It was tried in that time; once the clock is right, it is tried at once."""
    array = store.runtime.array()
    purge.run(array)
    wall.jump(days=ahead)
    purge.run(array)
    assert len(keepers[3]) == 2
    wall.right()
    keepers.clear()
    assert purge.run(array) == 1
    assert store.rows(Blob) == store.debts() == []
