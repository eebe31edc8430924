"""Members that go away and come back are events, told once."""

from collections.abc import Iterator

import pytest

from storage import absences, membership, upkeep
from storage.models import Event
from storage.runtime import Runtime
from support.store import Store

pytestmark = pytest.mark.sqlite
WORDS = ("member_away", "member_back")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(absences, "SETTLED_SECONDS", 0.0)
    yield


def _look(store: Store) -> None:
    store.runtime.check_members()
    store.runtime.forget_map()
    upkeep.watch_members(store.runtime.array())


def _told(store: Store) -> list[tuple[str, int | None]]:
    return [(row.word, row.slot) for row in store.rows(Event) if row.word in WORDS]


def test_it_is_told_once_that_a_member_is_away_and_once_that_it_is_back(
    store: Store,
) -> None:
    _look(store)
    assert _told(store) == []
    store.lose(2)
    for _ in range(3):
        _look(store)
    assert _told(store) == [("member_away", 2)]
    (event,) = (row for row in store.rows(Event) if row.word == "member_away")
    assert "not there" in event.fields["why"]
    store.bring_back(2)
    for _ in range(3):
        _look(store)
    assert _told(store) == [("member_away", 2), ("member_back", 2)]


def test_a_worker_that_starts_anew_knows_what_was_told(store: Store) -> None:
    store.lose(1)
    _look(store)
    store.restart()
    for _ in range(2):
        _look(store)
    assert _told(store) == [("member_away", 1)]
    store.bring_back(1)
    store.restart()
    _look(store)
    assert _told(store) == [("member_away", 1), ("member_back", 1)]


def test_two_workers_tell_it_once(store: Store) -> None:
    """Each has asked the events when it started, and sees the same."""
    workers = store.runtime, Runtime(store.app)

    def look() -> None:
        for one in workers * 2:
            store.app.extensions["holdfast_runtime"] = one
            _look(store)

    look()
    store.lose(2)
    look()
    assert _told(store) == [("member_away", 2)]
    store.bring_back(2)
    look()
    assert _told(store) == [("member_away", 2), ("member_back", 2)]
    store.app.extensions["holdfast_runtime"] = workers[0]
    workers[1].close()


def test_a_short_absence_is_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absences, "SETTLED_SECONDS", 60.0)
    store.lose(0)
    _look(store)
    store.bring_back(0)
    _look(store)
    assert _told(store) == []


def test_a_member_that_was_failed_is_not_away_besides(store: Store) -> None:
    membership.fail(3)
    _look(store)
    assert _told(store) == []
