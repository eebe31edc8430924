"""Several workers purge side by side: none does what another is at, or stands still."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from storage import blobs, debts, purge
from storage.db import transaction, utcnow
from storage.models import Blob, Debt, Reason
from support.store import Store


@pytest.fixture
def purging(make_store: Callable[..., Store]) -> Store:
    """A storage that has let go of a hundred blobs, whose purges are due at once."""
    store = make_store(PURGE_GRACE_SECONDS="0")
    for _ in range(100):
        store.put(10)
    with transaction() as session:
        blobs.release(session, select(Blob.uuid))
    store.contents.clear()
    return store


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """What is worked at, batch by batch."""
    real, seen = purge._advance, []

    def advance(array, uuids, *arguments):  # type: ignore[no-untyped-def]
        seen.append(list(uuids))
        return real(array, uuids, *arguments)

    monkeypatch.setattr(purge, "_advance", advance)
    return seen


def test_what_one_is_at_another_leaves_alone(
    purging: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first is at its batch, and does all the rest."""
    array, real, ended = purging.runtime.array(), purge._advance, []

    def meanwhile(array, uuids, failed):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(purge, "_advance", real)
        ended.append(purge.run(array))
        ended.append(real(array, uuids, failed))
        return ended[-1]

    monkeypatch.setattr(purge, "_advance", meanwhile)
    assert purge.run(array) == purge.FIRST_BATCH
    assert ended == [100 - purge.FIRST_BATCH, purge.FIRST_BATCH]
    assert purging.rows(Blob) == purging.debts() == []


def test_two_that_look_at_the_same_moment_do_not_both_begin(
    purging: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has seen what the first then claims: it takes the next ones."""
    array, real, claims = purging.runtime.array(), purge._waiting, []

    def first(*arguments):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(purge, "_waiting", real)
        found = real(*arguments)
        claims.append(purge._claimed(found))
        assert claims[0].__enter__() == found
        return found

    monkeypatch.setattr(purge, "_waiting", first)
    assert purge.run(array) == 100 - purge.FIRST_BATCH
    claims[0].__exit__(None, None, None)
    assert purge.run(array) == purge.FIRST_BATCH


def test_what_a_killed_worker_was_at_another_ends(
    purging: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = purging.runtime.array()
    purge.begin_due()
    taken = purge._claimed(purge._waiting(array, [], 10))
    assert len(taken.__enter__()) == 10
    purge.run(array)
    assert len(purging.rows(Blob)) == 10
    later = utcnow() + timedelta(seconds=debts.CLAIM_SECONDS)
    monkeypatch.setattr(purge, "utcnow", lambda: later)
    monkeypatch.setattr("storage.kept.utcnow", lambda: later)
    assert purge.run(array) == 10
    assert purging.rows(Blob) == purging.debts() == []


def test_what_a_member_has_kept_is_tried_again_once_it_is_due(purging: Store) -> None:
    purge.begin_due()
    with transaction() as session:
        session.execute(update(Debt).values(reason=Reason.KEPT, due_at=utcnow()))
    assert purge.run(purging.runtime.array()) == 100
    assert purging.rows(Blob) == purging.debts() == []


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(1000.0, [8, 16, 32, 44]), (0.0, [8, 4, 2, 1, 1, 1])],
    ids=["quick", "slow"],
)
def test_a_slow_member_gets_small_batches(
    purging: Store,
    monkeypatch: pytest.MonkeyPatch,
    batches: list[list[UUID]],
    seconds: float,
    sizes: list[int],
) -> None:
    """The turn ends between two of them, and all other work waits for it."""
    monkeypatch.setattr(purge, "BATCH_SECONDS", seconds)
    purge.run(purging.runtime.array(), lambda: len(batches) == len(sizes))
    assert [len(batch) for batch in batches] == sizes
