"""Rows S9 and S10: a change comes from our own pages or not at all."""

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from auth import csrf
from auth.models import User
from storage.db import db
from support.people import OTHER, PASSWORD, Person

# What decides here are headers and the cookie; rows are the business of others.
pytestmark = pytest.mark.sqlite
FORM = "application/x-www-form-urlencoded"
BODY_TYPES = [None, "text/plain", FORM, "multipart/form-data; boundary=b", "image/png"]


@pytest.fixture
def ada(app: Flask) -> Person:
    person = Person(app)
    assert person.register("ada").status_code == 303
    return person


def _refused(answer: TestResponse) -> bool:
    assert answer.status_code == 400, answer.text
    return answer.json is not None and answer.json["error"]["code"] == "csrf"


def test_s9_a_change_without_a_token_is_refused(app, ada):
    assert _refused(ada.post("/change", None, what="x"))
    assert _refused(ada.post("/change", "rubbish", what="x"))
    assert _refused(ada.post("/change", "zß東.x.y", what="x"))
    assert app.done == []
    assert ada.post("/change", what="x").status_code == 200
    assert app.done == ["x"]


def test_s9_the_token_of_another_session_is_refused(app, ada):
    other = Person(app)
    other.register("eve")
    assert _refused(ada.post("/change", other.token(), what="x"))
    assert _refused(ada.post("/change", Person(app).token(), what="x"))
    assert app.done == []
    assert other.post("/change", what="y").status_code == 200
    assert app.done == ["y"]


def test_s9_the_token_from_before_the_login_is_refused(app, ada):
    ada.log_out()
    before = ada.token()
    assert ada.log_in("ada").status_code == 303
    assert _refused(ada.post("/change", before, what="x"))
    old = ada.token()
    ada.log_out()
    ada.log_in("ada")
    assert _refused(ada.post("/change", old, what="x"))
    assert app.done == []
    assert ada.post("/change", what="x").status_code == 200


def test_s9_the_token_from_before_registering_is_refused(app):
    person = Person(app)
    before = person.token()
    person.register("ada")
    assert _refused(person.post("/change", before, what="x"))
    assert person.post("/change", what="x").status_code == 200


def test_s9_logout_needs_a_token(ada):
    assert _refused(ada.post("/auth/logout", None))
    assert ada.signed_in()
    assert ada.log_out().status_code == 303
    assert not ada.signed_in()


def test_s9_a_new_password_needs_a_token(ada):
    fields = {"current": PASSWORD, "password": OTHER, "confirm": OTHER}
    assert _refused(ada.post("/auth/password", None, **fields))
    ada.log_out()
    assert ada.log_in("ada").status_code == 303
    assert ada.post("/auth/password", **fields).status_code == 303


def test_s9_before_the_login_a_signed_cookie_holds_the_token(app):
    person = Person(app)
    fields = {"username": "ada", "password": PASSWORD, "confirm": PASSWORD}
    assert _refused(person.post("/auth/register", None, **fields))
    token = person.token()
    stranger = Person(app)
    assert _refused(stranger.post("/auth/register", token, **fields))
    with app.app_context():
        assert db.session.scalars(db.select(User)).all() == []
    assert person.post("/auth/register", token, **fields).status_code == 303
    person.log_out()
    assert _refused(person.post("/auth/login", None, **fields))
    assert not person.signed_in()
    assert person.log_in("ada").status_code == 303


def test_s9_the_header_does_as_well(app, ada):
    header = {csrf.HEADER: ada.token()}
    answer = ada.send("POST", "/change", data={"what": "x"}, headers=header)
    assert answer.status_code == 200
    header = {csrf.HEADER: Person(app).token()}
    assert _refused(ada.send("POST", "/change", data={"what": "x"}, headers=header))
    assert app.done == ["x"]


@pytest.mark.parametrize("kind", BODY_TYPES)
def test_a_raw_body_arrives_whole_whatever_it_says_it_is(app, ada, kind):
    body = b"csrf_token=x&a=b" + bytes(range(256)) * 1000
    headers = {csrf.HEADER: ada.token()}
    answer = ada.send("PUT", "/raw/a", data=body, content_type=kind, headers=headers)
    assert answer.status_code == 200
    assert app.done == [body]


@pytest.mark.parametrize("kind", BODY_TYPES)
def test_s9_a_raw_body_takes_the_token_from_the_header_only(app, ada, kind):
    token = ada.token()
    inside = f"csrf_token={token}".encode()
    assert _refused(ada.send("PUT", "/raw/a", data=inside, content_type=kind))
    part = (
        '--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n'
        f"{token}\r\n--b--\r\n"
    )
    assert _refused(ada.send("PUT", "/raw/a", data=part.encode(), content_type=kind))
    query = f"/raw/a?csrf_token={token}"
    assert _refused(ada.send("PUT", query, data=b"x", content_type=kind))
    other = {csrf.HEADER: Person(app).token()}
    answer = ada.send("PUT", "/raw/a", data=b"x", content_type=kind, headers=other)
    assert _refused(answer)
    assert app.done == []


def test_s9_a_streamed_form_checks_its_own_first_field(app, ada):
    kind = "multipart/form-data; boundary=b"
    token = ada.token()
    assert _refused(ada.send("POST", "/stream", data=b"rubbish", content_type=kind))
    answer = ada.send("POST", "/stream", data=token.encode(), content_type=kind)
    assert answer.status_code == 200
    good = {csrf.HEADER: token}
    answer = ada.send("POST", "/stream", data=b"x", content_type=kind, headers=good)
    assert answer.status_code == 200
    wrong = {csrf.HEADER: Person(app).token()}
    answer = ada.send(
        "POST", "/stream", data=token.encode(), content_type=kind, headers=wrong
    )
    assert _refused(answer)
    assert len(app.done) == 2


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:81"},
    {"Origin": "localhost"},
    {"Origin": "http://[::1"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_s10_another_site_is_refused_even_with_a_token(app, ada, headers):
    token = ada.token()
    with_token = {**headers, csrf.HEADER: token}
    form = {"what": "x", "csrf_token": token}
    assert _refused(ada.send("POST", "/change", data=form, headers=headers))
    assert _refused(ada.send("PUT", "/raw/a", data=b"x", headers=with_token))
    assert _refused(ada.send("POST", "/stream", data=b"x", headers=with_token))
    assert _refused(ada.send("POST", "/auth/logout", data=form, headers=headers))
    assert app.done == []
    assert ada.signed_in()


@pytest.mark.parametrize("headers", OWN)
def test_s10_our_own_pages_are_let_through(app, ada, headers):
    form = {"what": "x", "csrf_token": ada.token()}
    answer = ada.send("POST", "/change", data=form, headers=headers)
    assert answer.status_code == 200
    assert app.done == ["x"]


def test_s10_the_public_address_counts_as_ours(make):
    app = make(public_url="https://files.example.org")
    person = Person(app, base="https://files.example.org")
    person.register("ada")
    form = {"what": "x", "csrf_token": person.token()}
    for origin, status in (
        ("https://files.example.org", 200),
        ("https://evil.example", 400),
        ("http://files.example.org:8080", 400),
    ):
        headers = {"Origin": origin}
        answer = person.send("POST", "/change", data=form, headers=headers)
        assert answer.status_code == status, origin
    assert app.done == ["x"]


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/html"])
def test_s10_other_bodies_are_no_forms(app, ada, kind):
    token = ada.token()
    body = f"what=x&csrf_token={token}".encode()
    headers = {csrf.HEADER: token}
    answer = ada.send("POST", "/change", data=body, content_type=kind, headers=headers)
    assert answer.status_code == 415
    assert app.done == []
    answer = ada.send("POST", "/change", data=body, content_type=FORM)
    assert answer.status_code == 200


def test_a_form_over_its_limit_is_refused(app, ada):
    form = {"what": "x" * csrf.FORM_BYTES, "csrf_token": ada.token()}
    assert ada.send("POST", "/change", data=form).status_code == 413
    assert app.done == []


def test_unknown_addresses_and_methods_are_not_asked_for_a_token(ada):
    assert ada.send("POST", "/nothing/here").status_code == 404
    assert ada.send("DELETE", "/change").status_code == 405
