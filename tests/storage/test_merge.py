"""The journal wins where both speak; nothing that only one of them knows is lost."""

from typing import Any

from storage.journal.catalogue import Catalogue, Row
from storage.journal.lines import Change
from storage.journal.merge import Target, merge


def user(number: int, name: str, born: int = 1) -> Row:
    return {"id": number, "name": name, "name_key": name, "created_at": born}


def entry(name: str, owner: int = 1) -> Row:
    return {"name": name, "owner_id": owner}


def journal(*early: Change, late: tuple[Change, ...] = ()) -> Catalogue:
    made = Catalogue()
    for change in early:
        made.apply(change)
    for change in late:
        made.apply(change, late=True)
    return made


def put(table: str, key: str, row: Row | None) -> Change:
    return Change(table, key, row)


def names(target: Target) -> dict[str, Any]:
    return {key: row["name"] for key, row in target.catalogue.entries.items()}


BASE = (put("users", "1", user(1, "ann")), put("entries", "a", entry("a")))


def test_the_journal_wins_where_both_changed_a_row() -> None:
    theirs = journal(*BASE, late=(put("entries", "a", entry("theirs")),))
    local = {("entries", "a"): entry("mine")}
    assert names(merge(theirs, local, all_late=False)) == {"a": "theirs"}


def test_what_only_this_database_changed_stands() -> None:
    local = {("entries", "a"): entry("mine")}
    assert names(merge(journal(*BASE), local, all_late=False)) == {"a": "mine"}
    gone = {("entries", "a"): None}
    assert names(merge(journal(*BASE), gone, all_late=False)) == {}


def test_without_a_common_past_the_journal_wins() -> None:
    local = {("entries", "a"): entry("mine"), ("entries", "b"): entry("b")}
    found = merge(journal(*BASE), local, all_late=True)
    assert names(found) == {"a": "a", "b": "b"}


def test_what_the_journal_says_is_gone_is_gone() -> None:
    theirs = journal(*BASE, late=(put("entries", "a", None),))
    local = {("entries", "a"): entry("mine")}
    assert names(merge(theirs, local, all_late=False)) == {}
    assert (
        names(merge(journal(*BASE, put("entries", "a", None)), local, all_late=True))
        == {}
    )


def test_a_number_given_out_twice_makes_two_accounts() -> None:
    theirs = journal(*BASE, late=(put("users", "2", user(2, "carol", 5)),))
    local = {("users", "2"): user(2, "dave", 6), ("entries", "d"): entry("d", 2)}
    found = merge(theirs, local, all_late=False)
    users = {key: row["name"] for key, row in found.catalogue.users.items()}
    assert users == {"1": "ann", "2": "carol", "3": "dave"}
    assert found.catalogue.users["3"]["id"] == 3
    assert found.catalogue.entries["d"]["owner_id"] == 3
    assert "dave with number 2 was made here" in found.notes[0]


def test_an_entry_of_theirs_keeps_its_owner() -> None:
    late = (
        put("users", "2", user(2, "carol", 5)),
        put("entries", "c", entry("c", 2)),
    )
    local = {("users", "2"): user(2, "dave", 6), ("entries", "c"): entry("c", 2)}
    found = merge(journal(*BASE, late=late), local, all_late=False)
    assert found.catalogue.entries["c"]["owner_id"] == 2


def test_a_name_given_out_twice_is_numbered() -> None:
    theirs = journal(*BASE, put("users", "5", user(5, "ann-2")))
    found = merge(theirs, {("users", "9"): user(9, "ann", 7)}, all_late=False)
    assert found.catalogue.users["9"]["name"] == "ann-3"
    assert found.catalogue.users["9"]["name_key"] == "ann-3"


def test_a_long_name_that_is_taken_is_replaced() -> None:
    long = "n" * 64
    theirs = journal(put("users", "1", user(1, long)))
    found = merge(theirs, {("users", "2"): user(2, long, 7)}, all_late=False)
    assert found.catalogue.users["2"]["name"] == "account-2"


def test_an_account_that_both_know_is_one() -> None:
    theirs = journal(*BASE)
    local = {("users", "1"): user(1, "ann") | {"email": "new"}}
    assert merge(theirs, local, all_late=False).catalogue.users["1"]["email"] == "new"
    theirs = journal(*BASE)
    assert "email" not in merge(theirs, local, all_late=True).catalogue.users["1"]


def test_a_table_of_a_newer_release_is_noted() -> None:
    theirs = journal(*BASE, put("shares", "x", {"id": "x"}))
    assert theirs.unknown == {"shares"}
