"""What people are told: the status, its JSON, the banner, the page."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from storage import words
from storage.members.local import LocalMember
from storage.models import MemberRow
from support.people import Person
from support.store import KIB, Store

KEYS = {
    *("uuid", "level", "state", "members", "blobs", "bytes"),
    *("at_risk", "damaged", "jobs"),
}
MEMBER_KEYS = {"slot", "uuid", "url", "state", "observed", "owed"}


def test_json_is_the_contract(store: Store, app: Flask) -> None:
    """Every key of the contract, with its type; states are the design's words."""
    store.put(1000)
    store.put(300 * KIB)
    result = app.test_cli_runner().invoke(args=["array", "status", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert set(told) >= KEYS
    assert (told["level"], told["state"]) == ("raid5", "clean")
    assert (told["blobs"], told["bytes"]) == (2, 1000 + 300 * KIB)
    assert (told["at_risk"], told["damaged"], told["jobs"]) == (0, 0, [])
    assert told["uuid"] == str(store.array_row().uuid)
    assert [member["slot"] for member in told["members"]] == [0, 1, 2, 3]
    for member in told["members"]:
        assert set(member) >= MEMBER_KEYS
        assert (member["state"], member["observed"]) == ("in_sync", None)
        assert member["owed"] == 0
        assert member["url"].startswith("file:")


def test_json_with_a_member_away(store: Store, app: Flask) -> None:
    """The command looks for itself."""
    store.lose(1)
    store.put(1000)
    store.restart()
    result = app.test_cli_runner().invoke(args=["array", "status", "--json"])
    told = json.loads(result.output)
    assert told["state"] == "degraded"
    one = told["members"][1]
    assert (one["state"], one["observed"], one["owed"]) == ("stale", "missing", 1)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("level", "width", "line"),
    [
        ("raid1", 3, "raid1, 3 members, a copy on each"),
        ("raid5", 4, "raid5, 4 members, 3 data + 1 redundant"),
        ("raid6", 5, "raid6, 5 members, 3 data + 2 redundant"),
        ("raid10", 4, "raid10, 4 members, 2 copies of everything, in pairs"),
        ("raid10", 5, "raid10, 5 members, 2 copies of everything, on neighbours"),
    ],
)
def test_the_shape_is_said_as_fits_the_level(
    make_store: Callable[..., Store], level: str, width: int, line: str
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    text = store.app.test_cli_runner().invoke(args=["array", "status"]).output
    assert line in text.splitlines()


def test_status_for_people(store: Store, app: Flask) -> None:
    """One sentence first, then the members with place and debts."""
    run = app.test_cli_runner().invoke
    text = run(args=["array", "status"]).output
    assert text.startswith("Clean. Every file survives the loss of any one of these")
    store.lose(2)
    store.put(1000)
    text = run(args=["array", "status"]).output
    assert text.startswith("Degraded. One of four storage members is away.")
    assert "missing" in text
    assert "members/2" in text


def test_commands_without_an_array(make_app: Callable[..., Flask]) -> None:
    """They say what to do; so do the pages."""
    app = make_app(members=False)
    result = app.test_cli_runner().invoke(args=["array", "status"])
    assert result.exit_code == 1
    assert "flask array create" in result.output
    with app.app_context():
        from storage import queries

        assert queries.status() is None
        told = queries.banner()
        assert told is not None
        assert "no storage yet" in told.sentence


def test_create_by_command(make_app: Callable[..., Flask]) -> None:
    """`array create` formats empty places, once."""
    app = make_app(members=False)
    run = app.test_cli_runner().invoke
    result = run(args=["array", "create"])
    assert result.exit_code == 0, result.output
    again = run(args=["array", "create"])
    assert again.exit_code == 1
    assert "already" in again.output or "empty places" in again.output
    assert run(args=["array", "create", "--level", "raid9"]).exit_code == 1
    refused = run(args=["array", "create", "--level", "raid0"])
    assert refused.exit_code == 1
    assert "one lost member is the loss of every file" in refused.output


SENTENCES = [
    (
        *("raid5", 4, [1], "degraded"),
        "One of four storage members is away. All files are readable and new ones "
        "are safe on the other three.",
    ),
    (
        *("raid5", 4, [1, 2], "failed"),
        "Two storage members are away, and some files can't be read until one of "
        "them returns. Nothing is lost and nothing will be deleted.",
    ),
    (
        *("raid5", 4, [0, 1, 2], "failed"),
        "Three storage members are away, and some files can't be read until two of "
        "them return. Nothing is lost and nothing will be deleted.",
    ),
    (
        *("raid1", 2, [0], "degraded"),
        "Only one storage member is reachable. New files are kept, but not yet twice. "
        "An administrator has been told.",
    ),
    (
        *("raid1", 3, [0], "degraded"),
        "One of three storage members is away. All files are readable and new ones "
        "are kept on the other two.",
    ),
    (
        *("raid1", 3, [0, 1], "degraded"),
        "Only one storage member is reachable. New files are kept, but not yet twice. "
        "An administrator has been told.",
    ),
    (
        *("raid5", 5, [4], "degraded"),
        "One of five storage members is away. All files are readable and new ones "
        "are safe on the other four.",
    ),
    (
        *("raid5", 3, [2], "degraded"),
        "One of three storage members is away. All files are readable and new ones "
        "are safe on the other two.",
    ),
    (
        *("raid6", 6, [1, 4], "degraded"),
        "Two of six storage members are away. All files are readable and new ones "
        "are safe on the other four.",
    ),
    (
        *("raid6", 4, [0, 3], "degraded"),
        "Two of four storage members are away. All files are readable and new ones "
        "are kept on the other two.",
    ),
    (
        *("raid10", 4, [2], "degraded"),
        "One of four storage members is away. All files are readable and new ones "
        "are safe on the other three.",
    ),
]


@pytest.mark.sqlite
@pytest.mark.parametrize(("level", "width", "away", "state", "sentence"), SENTENCES)
def test_the_banner(
    make_store: Callable[..., Store],
    level: str,
    width: int,
    away: list[int],
    state: str,
    sentence: str,
) -> None:
    """One sentence for everybody, in words."""
    store = make_store(width, ARRAY_LEVEL=level)
    store.put(300 * KIB)
    assert store.banner() == ""
    for slot in away:
        store.lose(slot)
    assert store.banner() == sentence
    assert store.status().state == state
    for slot in away:
        store.bring_back(slot)
    assert store.banner() == ""


@pytest.mark.sqlite
def test_the_banner_while_catching_up(store: Store) -> None:
    """Back and not yet in sync: nobody is away."""
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    assert store.banner() == (
        "One of four storage members is back and catching up. All files are readable "
        "and new ones are safe on all four."
    )
    store.settle()
    assert store.banner() == ""


@pytest.mark.sqlite
def test_the_banner_when_writes_are_refused(make_store: Callable[..., Store]) -> None:
    """DEGRADED_WRITE=refuse says when uploads come back."""
    store = make_store(2, ARRAY_LEVEL="raid1", DEGRADED_WRITE="refuse")
    store.lose(0)
    assert store.banner() == (
        "One of two storage members is away. All files are readable, but nothing new "
        "can be stored until it returns."
    )


def test_numbers_are_words() -> None:
    """Up to twelve."""
    assert [words.number(n) for n in (0, 1, 12, 13)] == ["no", "one", "twelve", "13"]
    assert words.clean(6, 2) == (
        "Every file survives the loss of any two of these six members."
    )


def test_no_member_is_asked_while_a_page_is_made(
    store: Store, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banner and array page use what was seen before."""
    store.put(1000)
    store.status()
    for name in ("check", "space", "read", "list", "info"):
        monkeypatch.setattr(LocalMember, name, _forbidden)
    page = admin.get("/array/")
    assert page.status_code == 200
    assert b"Clean." in page.data
    assert admin.get("/files/").status_code == 200


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a member was asked")


def test_the_page_is_for_administrators(alice: Person, client: FlaskClient) -> None:
    """For others it does not exist."""
    assert alice.get("/array/").status_code == 404
    assert client.get("/array/").status_code == 302


def test_the_page_before_the_first_look(
    store: Store, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a start nothing was seen yet: it shows what the rows say."""
    store.restart()
    monkeypatch.setattr(LocalMember, "check", _forbidden)
    assert admin.get("/array/").status_code == 200


def test_space_comes_from_the_last_look(store: Store) -> None:
    """Known where a member answered, unknown where it did not."""
    store.lose(0)
    found = store.status()
    assert found.members[0].free is found.members[0].used is None
    assert found.members[1].free and found.members[1].total
    assert found.away == 1
    assert found.members[0].problem
    assert len(store.rows(MemberRow)) == 4


def test_the_page_tells_what_is_wrong(store: Store, admin: Person) -> None:
    """Degraded, with the member and what it is owed."""
    store.lose(1)
    store.put(1000)
    store.status()
    text = admin.get("/array/").get_data(as_text=True)
    assert "Degraded." in text
    assert "One of four storage members is away" in text


@pytest.mark.sqlite
def test_the_banner_promises_no_file_whose_only_copy_is_away(
    make_store: Callable[..., Store],
) -> None:
    """Stored while one member was there; now the other is."""
    store = make_store(2, ARRAY_LEVEL="raid1")
    store.lose(0)
    store.put(300 * KIB)
    store.bring_back(0)
    store.lose(1)
    assert "Some files can't be read until it returns" in store.banner()
    assert "All files are readable" not in store.banner()
    store.bring_back(1)
    store.settle()
    assert store.banner() == ""


@pytest.mark.sqlite
def test_the_banner_frightens_nobody_when_only_new_files_wait(store: Store) -> None:
    """A small file is whole on every member."""
    store.put(1000)
    store.lose(1)
    store.lose(2)
    assert store.banner() == (
        "Two storage members are away. All files are readable, and nothing new can be "
        "stored until one of them returns."
    )


FACTS = words.Facts(4, 1, 1, 3, 0, refuse=False)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "All files are readable and new ones are safe on the other three."),
        ({"unreadable": 2}, "can't be read until it returns, all others are readable"),
        ({"unreadable": 2, "lost": 2}, "Some files are damaged and can't be read, all"),
        ({"unreadable": 1, "away": 0}, "Some files are damaged and can't be read, all"),
        ({"unreadable": 1, "writable": 1}, "reachable. Some files can't be read until"),
        ({"writable": 4, "returning": 1}, "is back and catching up. All files"),
        ({"writable": 4, "returning": 1, "rebuilding": 1}, "is being rebuilt. All"),
    ],
)
def test_degraded_in_words(changed: dict[str, int], says: str) -> None:
    """No fact is left out of the sentence."""
    assert says in words.degraded(replace(FACTS, **changed))


@pytest.mark.sqlite
def test_failed_and_read_only_in_words() -> None:
    """What is lost for good is not said to come back."""
    gone = replace(FACTS, away=2, writable=2, unreadable=5, lost=5)
    assert "will not come back" in words.failed(gone)
    assert "Nothing is lost" not in words.failed(gone)
    assert "Nothing is lost" in words.failed(replace(gone, lost=0))
    assert "Files can be read" in words.readonly(FACTS)
    assert "Some files can't be read" in words.readonly(gone)
    assert words.clean(4, 1, 3) == (
        "Every file but three survives the loss of any one of these four members."
    )
