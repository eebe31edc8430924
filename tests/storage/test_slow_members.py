"""Late members: shown, left out of reads, and never waited for by a page."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from raid.pace import TOO_OFTEN
from storage import queries
from storage.members.local import LocalMember
from storage.runtime import runtime
from support.page import Page
from support.people import Person
from support.store import KIB, Store

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("calm")]


def _be_late(slot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raid.pace._ONCE", 0.0)
    pace = runtime().health.pace
    assert pace.allow(3, 700 * KIB)
    for _ in range(int(TOO_OFTEN)):
        pace.late(slot)


def test_a_member_that_rests_is_shown_and_the_array_stays_clean(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(300 * KIB)
    _be_late(2, monkeypatch)
    status = queries.status()
    assert status is not None
    assert (status.state, status.away) == ("clean", 0)
    member = status.members[2]
    assert member.observed == "slow"
    assert "read in its place" in (member.problem or "")
    assert (status.hedges.saved, status.hedges.hedged) == (5, 3)
    store.put(300 * KIB)
    store.check()
    assert not store.debts()


def test_the_page_says_what_late_answers_came_to(
    calm: None, admin: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Late answers" not in Page(admin.get("/array/").text).visible
    with app.app_context():
        _be_late(1, monkeypatch)
    said = Page(admin.get("/array/").text).visible
    assert "5 reads made good by other members" in said
    assert "3 requests more" in said
    assert "other members are read in its place" in said


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the calls that members get."""
    made: list[str] = []

    def noted(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: LocalMember, *args: Any, **more: Any) -> Any:
            made.append(name)
            return inner(self, *args, **more)

        return call

    for name in ("put", "read", "info", "list", "delete", "check", "space"):
        monkeypatch.setattr(LocalMember, name, noted(name, getattr(LocalMember, name)))
    yield made


@pytest.mark.parametrize(
    "path",
    [
        *("/files/", "/files/trash", "/array/", "/array/live", "/array/events"),
        *("/auth/password", "/healthz", "/readyz"),
    ],
)
def test_a_page_that_moves_no_bytes_asks_no_member(
    path: str, app: Flask, admin: Person, calls: list[str]
) -> None:
    admin.get("/array/")
    calls.clear()
    assert admin.get(path).status_code == 200
    assert calls == []
    with app.app_context():
        Store(app).put(300 * KIB)
    assert "put" in calls


def test_signing_in_asks_no_member(admin: Person, calls: list[str]) -> None:
    admin.log_out()
    calls.clear()
    assert admin.log_in("root").status_code == 303
    assert admin.signed_in()
    assert calls == []
