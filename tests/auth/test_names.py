"""Rows A14 and A15: names that are the same, and fields that are nobody's business."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth import services
from auth.errors import BadUserName, NoSuchUser
from auth.models import User
from auth.names import LONGEST_NAME, clean_name, fold
from auth.queries import find_user, user_named
from storage.db import db
from support.people import OTHER, Person


def test_a14_extra_fields_are_ignored(app, person):
    more = {
        "is_admin": "1",
        "role": "admin",
        "id": "1",
        "quota": "1",
        "used_bytes": "9",
    }
    assert (
        person.register("ada", **more, quota_bytes="1", disabled_at="").status_code
        == 303
    )
    with app.app_context():
        user = db.session.scalars(db.select(User)).one()
    assert not user.is_admin
    assert user.quota_bytes is None
    assert user.used_bytes == 0
    assert user.disabled_at is None
    assert person.get("/admin").status_code == 404


@pytest.mark.parametrize(
    "same", ["alice", "Alice", "ALICE", "alice ", " alice", "ａlice"]
)
def test_a15_names_that_read_the_same_are_one(app, person, same):
    assert person.register("alice").status_code == 303
    other = Person(app)
    refused = other.register(same)
    assert refused.status_code == 400
    assert "taken" in refused.text
    assert not other.signed_in()
    assert other.log_in(same).status_code == 303


def test_a15_names_of_other_letters_are_distinct(app, person):
    person.register("alice")
    other = Person(app)
    assert other.register("аlice").status_code == 303
    with app.app_context():
        keys = set(db.session.scalars(db.select(User.name_key)))
    assert len(keys) == 2


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "bad",
    [
        "",
        " ",
        "a/../b",
        "..",
        "-x",
        "a b",
        "a\nb",
        "a\x00b",
        "a\u202eb",
        "a\u200db",
        "ali\ufe0fce",
        "\u3164",
        "ali\u00adce",
        "x" * (LONGEST_NAME + 1),
        "x" * 100_000,
        "<b>",
    ],
)
def test_a15_other_names_are_refused(person, bad):
    refused = person.register(bad)
    assert refused.status_code == 400
    assert not person.signed_in()


@pytest.mark.parametrize(
    "good",
    [
        "a",
        "Ada.Lovelace-2_x@home",
        "日本語",
        "हिन्दी",
        "Łukasz",
        "ß",
        "x" * LONGEST_NAME,
    ],
)
def test_names_of_every_script_are_welcome(person, good):
    assert person.register(good).status_code == 303
    assert f"<u>{good}</u>" in person.get("/files/").text
    person.log_out()
    assert person.log_in(good.upper()).status_code == 303


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_a15_folding_rests_and_a_kept_name_stays_itself(text):
    assert fold(fold(text)) == fold(text)
    try:
        name = clean_name(text)
    except BadUserName:
        return
    assert clean_name(name) == name
    assert fold(name) == fold(text) == fold(name.upper()) or not name.isascii()
    assert len(fold(name)) <= 255
    assert len(name) <= LONGEST_NAME


@pytest.mark.sqlite
@pytest.mark.parametrize("bad", ["x", "@x", "x@", "a b@x", "x@y\n.z", "x" * 260 + "@y"])
def test_an_address_that_cannot_be_one_is_refused(person, bad):
    refused = person.register("ada", email=bad)
    assert refused.status_code == 400
    assert "e-mail" in refused.text
    assert person.register("ada", email=" ada@example.org ").status_code == 303


def test_a16_there_is_no_account_at_first(person):
    for name in ("admin", "root", "holdfast", "user"):
        for password in (name, "password", "admin", ""):
            assert person.log_in(name, password).status_code == 400
    assert not person.signed_in()
    assert person.register("admin").status_code == 303
    assert person.signed_in()
    assert person.get("/admin").status_code == 404


def test_two_people_who_want_one_name_at_once(app, person, monkeypatch):
    """The check says it is free; the unique key still has the last word."""
    person.register("ada")
    asked = []
    monkeypatch.setattr(services, "find_user", asked.append)
    other = Person(app)
    refused = other.register("Ada", OTHER)
    assert asked == ["Ada"]
    assert refused.status_code == 400
    assert "taken" in refused.text
    assert not other.signed_in()
    monkeypatch.undo()
    assert other.log_in("ada").status_code == 303


@pytest.mark.parametrize("odd", ["\x00", "a\x00b", "a\nb", "\x7f", "x" * 9999])
def test_an_odd_name_at_login_is_only_wrong(person, odd):
    person.register("ada")
    person.log_out()
    refused = person.log_in(odd)
    assert refused.status_code == 400
    assert "do not match" in refused.text
    assert person.log_in("ada").status_code == 303


def test_a_name_that_is_no_text_is_nobody(app):
    with app.app_context():
        assert find_user("a\udcffb") is None
        with pytest.raises(NoSuchUser, match=r"a\\udcffb"):
            user_named("a\udcffb")
