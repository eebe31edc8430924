"""Rows S1 to S8, S12 and S13: the cookie, and when a session ends."""

import base64
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from auth import services, sessions
from auth.models import LoginSession, User
from storage.db import db, transaction, utcnow
from support.clock import Clock
from support.people import OTHER, PASSWORD, Person


def _rows(app: Flask) -> list[LoginSession]:
    with app.app_context():
        return list(db.session.scalars(db.select(LoginSession)))


def _age(app: Flask, **columns: timedelta) -> None:
    with app.app_context(), transaction() as rows:
        for row in rows.scalars(db.select(LoginSession)):
            for name, age in columns.items():
                setattr(row, name, getattr(row, name) - age)


def test_s1_the_cookie_on_plain_http(person):
    answer = person.register("ada")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("holdfast=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert "Secure" not in cookie


def test_s1_the_cookie_on_https(make):
    app = make(public_url="https://files.example.org")
    person = Person(app, base="https://files.example.org")
    cookie = person.register("ada").headers["Set-Cookie"]
    assert cookie.startswith("__Host-holdfast=")
    for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert flag in cookie
    assert "Domain" not in cookie
    assert person.signed_in()


def test_s2_login_makes_a_new_session_and_a_new_secret(app, person):
    person.register("ada")
    first = person.session()
    person.log_out()
    person.token()
    before = person.session()
    cookie = person.cookie()
    person.log_in("ada")
    after = person.session()
    assert after["_user_id"] not in (first["_user_id"], before.get("_user_id"))
    person.token()
    after = person.session()
    assert after["csrf_token"] != before["csrf_token"]
    with person.replaying(cookie):
        assert not person.signed_in()
    assert person.signed_in()


def test_s2_login_over_a_session_ends_it(app, person):
    person.register("ada")
    old = person.cookie()
    assert person.log_in("ada").status_code == 303
    assert len(_rows(app)) == 1
    with person.replaying(old):
        assert not person.signed_in()
    assert person.signed_in()


def test_s3_an_invented_session_is_not_adopted(app, person):
    person.register("ada")
    real = person.session()["_user_id"]
    for invented in (
        "1",
        "ada",
        "",
        "x" * 43,
        real[:-1],
        [real],
        {"id": real},
        7,
        None,
    ):
        with person.client.session_transaction() as session:
            session["_user_id"] = invented
        assert not person.signed_in(), invented
        assert person.log_in("eve").status_code == 400
    with person.client.session_transaction() as session:
        session["_user_id"] = real
    assert person.signed_in()


def test_s3_an_unsigned_cookie_is_nothing(person):
    person.register("ada")
    raw = base64.urlsafe_b64encode(b'{"_user_id": "1"}').decode().rstrip("=")
    for cookie in (raw, "", ".", "..", "x" * 4000, raw + ".AAAA.BBBB"):
        with person.replaying(cookie):
            assert not person.signed_in()
    assert person.signed_in()


def test_s4_a_replayed_cookie_is_dead_after_logout(app, person):
    person.register("ada")
    old = person.cookie()
    with person.replaying(old):
        assert person.signed_in()
    assert person.log_out().status_code == 303
    assert _rows(app) == []
    with person.replaying(old):
        assert not person.signed_in()


def test_s4_there_is_no_remember_cookie(app, person):
    person.register("ada")
    token = person.session()["_user_id"]
    names = {cookie.key for cookie in person.client._cookies.values()}
    assert names == {"holdfast"}
    from flask_login import encode_cookie

    with app.test_request_context():
        forged = encode_cookie(token)
    stranger = Person(app)
    stranger.client.set_cookie("remember_token", forged)
    assert not stranger.signed_in()


def test_s5_a_new_password_ends_the_other_sessions(app, person):
    person.register("ada")
    other = Person(app)
    other.log_in("ada")
    assert other.signed_in()
    assert person.change_password(PASSWORD, OTHER).status_code == 303
    assert person.signed_in()
    assert not other.signed_in()


def test_s5_a_login_that_overlaps_a_change_is_refused(app, person, monkeypatch):
    """The password was right when it was looked at, but is not any more."""
    person.register("ada")
    late = Person(app)
    token = late.token()
    real = services.throttle.forgive

    def change_first(attempt):
        real(attempt)
        services.set_password("ada", OTHER)

    monkeypatch.setattr(services.throttle, "forgive", change_first)
    refused = late.post("/auth/login", token, username="ada", password=PASSWORD)
    assert refused.status_code == 400
    assert not late.signed_in()
    monkeypatch.undo()
    assert late.log_in("ada", OTHER).status_code == 303


def test_s6_disabling_ends_every_session_at_once(app, person):
    person.register("ada")
    other = Person(app)
    other.log_in("ada")
    assert person.signed_in()
    assert other.signed_in()
    with app.app_context():
        services.disable("ada")
    assert not person.signed_in()
    assert not other.signed_in()
    assert other.log_in("ada").status_code == 400


def test_s6_a_session_of_a_disabled_account_is_dead_even_with_its_row(app, person):
    person.register("ada")
    assert person.signed_in()
    with app.app_context(), transaction() as rows:
        rows.scalars(db.select(User)).one().disabled_at = utcnow()
    assert len(_rows(app)) == 1
    assert not person.signed_in()


def test_s7_idle_sessions_end(app, person):
    person.register("ada")
    _age(app, seen_at=timedelta(days=13, hours=23))
    assert person.signed_in()
    _age(app, seen_at=timedelta(days=14, seconds=1))
    assert not person.signed_in()
    assert person.log_in("ada").status_code == 303


def test_s7_every_session_ends(app, person):
    person.register("ada")
    _age(app, expires_at=timedelta(days=89, hours=23))
    assert person.signed_in()
    _age(app, expires_at=timedelta(hours=1))
    assert not person.signed_in()


def test_s7_the_settings_decide(make):
    second = 1 / 86400
    app = make(session_idle_days=2 * second, session_days=5 * second)
    person = Person(app)
    cookie = person.register("ada").headers["Set-Cookie"]
    assert "Expires=" in cookie
    assert person.signed_in()
    row = _rows(app)[0]
    assert row.expires_at - row.created_at == timedelta(seconds=5)
    _age(app, seen_at=timedelta(seconds=3))
    assert not person.signed_in()


def test_s7_a_session_is_marked_as_seen_once_a_minute(app, person):
    person.register("ada")
    first = _rows(app)[0].seen_at
    assert person.signed_in()
    assert _rows(app)[0].seen_at == first
    _age(app, seen_at=timedelta(minutes=2))
    assert person.signed_in()
    assert _rows(app)[0].seen_at >= first


def test_s8_tokens_are_long_and_distinct(app):
    person = Person(app)
    person.register("ada")
    tokens = set()
    with app.app_context():
        user = db.session.scalars(db.select(User)).one()
        verified = user.password_hash
    for _ in range(200):
        with app.test_request_context():
            sessions.start(user, verified)
            tokens.add(user.session_token)
    assert len(tokens) == 200
    assert all(len(token) >= 43 for token in tokens)


def test_s8_a_flipped_bit_is_refused(person):
    person.register("ada")
    cookie = person.cookie()
    assert person.signed_in()
    for place in range(4, len(cookie), len(cookie) // 8):
        flipped = chr(ord(cookie[place]) ^ 1)
        if flipped in ' ;,"\\':
            flipped = "~"
        with person.replaying(cookie[:place] + flipped + cookie[place + 1 :]):
            assert not person.signed_in(), place
    assert person.signed_in()


def test_s8_the_database_knows_only_a_digest(app, person):
    person.register("ada")
    token = person.session()["_user_id"]
    row = _rows(app)[0]
    assert len(row.token_hash) == 32
    assert token.encode() not in row.token_hash
    assert row.address == "127.0.0.1"


def test_s12_private_pages_are_kept_by_nobody(person):
    person.register("ada")
    page = person.get("/files/")
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    assert "Cookie" in page.headers["Vary"]


def test_s12_health_and_public_views_do_not_touch_the_session(app, person):
    answer = person.get("/health")
    assert answer.text == "alive"
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers
    person.register("ada")
    again = person.get("/health")
    assert "Set-Cookie" not in again.headers
    assert "Vary" not in again.headers


def test_s13_logout_has_the_browser_forget(person):
    person.register("ada")
    answer = person.log_out()
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/auth/login"
    assert "cache" in answer.headers["Clear-Site-Data"]
    assert "no-store" in answer.headers["Cache-Control"]


def test_ended_sessions_and_old_failures_are_removed(app, person):
    person.register("ada")
    person.log_in("ada", OTHER)
    with app.app_context():
        assert services.remove_old() == 0
    _age(app, seen_at=timedelta(days=15))
    with app.app_context():
        assert services.remove_old() == 1
        assert services.remove_old() == 0
    assert _rows(app) == []


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
def test_who_is_signed_in_is_not_asked_again(person, path):
    assert person.get(path).status_code == 200
    person.register("ada")
    answer = person.get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/files/"


def test_a_busy_database_keeps_nobody_from_reading(app, person, monkeypatch):
    person.register("ada")
    _age(app, seen_at=timedelta(minutes=2))
    before = _rows(app)[0].seen_at
    tried = []

    def busy():
        tried.append(1)
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr(sessions, "transaction", busy)
    assert person.signed_in()
    assert tried == [1]
    monkeypatch.undo()
    assert _rows(app)[0].seen_at == before


@pytest.mark.sqlite
@pytest.mark.parametrize("seconds", [2, 86_400])
def test_a_clock_that_is_put_right_signs_nobody_out(person, monkeypatch, seconds):
    """The cookie was signed in the future; the row says that the session lives."""
    wall = Clock(monkeypatch)
    wall.jump(seconds=seconds)
    person.register("ada")
    assert person.signed_in()
    wall.right()
    assert person.signed_in()
    assert person.change_password(PASSWORD, OTHER).status_code == 303
    wall.jump(days=1)
    assert person.signed_in()
    wall.jump(days=89)
    assert not person.signed_in()


@pytest.mark.sqlite
def test_a_cookie_is_no_older_than_its_session_may_be(app, person, monkeypatch):
    """Also when its row would still be there."""
    person.register("ada")
    wall = Clock(monkeypatch)
    wall.jump(days=91)
    _age(app, seen_at=timedelta(days=-91), expires_at=timedelta(days=-91))
    assert not person.signed_in()
