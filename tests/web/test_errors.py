"""Errors: a page or JSON by the contract, a request id, nothing about the inside."""

import io
import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, has_request_context
from flask.testing import FlaskClient
from sqlalchemy import exc, text
from sqlalchemy.exc import OperationalError

import app as application
import storage.runtime
from auth.access import public
from auth.errors import Throttled
from files import errorpages
from raid import errors as raid
from storage import db as database
from support.people import Person
from support.store import KIB

pytestmark = pytest.mark.sqlite
JSON = {"Accept": "application/json"}


def failing(app: Flask, error: Exception) -> FlaskClient:
    """Return a client of an application whose /fail raises `error`."""
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def fail() -> str:
        raise error

    app.add_url_rule("/fail", "fail", fail)
    public(app.view_functions["fail"])
    return app.test_client()


def test_a_page_says_what_happened_with_the_request_id(client: FlaskClient) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "Nothing is here" in answer.text
    assert answer.headers["X-Request-ID"] in answer.text


def test_json_is_answered_where_it_is_asked_for(client: FlaskClient) -> None:
    answer = client.get("/nothing", headers=JSON)
    assert answer.status_code == 404
    assert answer.json == {
        "error": {
            "code": "not_found",
            "message": answer.json["error"]["message"],
            "request_id": answer.headers["X-Request-ID"],
        }
    }


def test_a_put_is_answered_in_json(client: FlaskClient) -> None:
    answer = client.put("/files/folder/x/y", data=b"z")
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "not_signed_in"


def test_a_mistake_of_ours_tells_nothing(app: Flask) -> None:
    client = failing(app, ZeroDivisionError("canary"))
    for headers in ({}, JSON):
        answer = client.get("/fail", headers=headers)
        assert answer.status_code == 500
        assert answer.headers["X-Request-ID"] in answer.text
        for word in ("canary", "ZeroDivision", "Traceback", "Werkzeug", "Python"):
            assert word not in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (raid.NoSpace("No room."), 507, "no_space"),
        (raid.ArrayFailed("Two away."), 503, "array_failed"),
        (raid.WriteRefused("Too few."), 503, "degraded_write_refused"),
        (raid.BlobUnreachable("Away.", ["d0"]), 503, "members_away"),
        (raid.BlobDamaged("Damaged."), 500, "damaged"),
        (raid.MemberSlow("d0", "Slow."), 503, "storage_unavailable"),
        (raid.DamagedObject("Bad."), 500, "storage_error"),
        (Throttled(61), 429, "throttled"),
    ],
)
def test_the_table_decides(
    app: Flask, error: Exception, status: int, code: str
) -> None:
    answer = failing(app, error).get("/fail", headers=JSON)
    assert answer.status_code == status
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"] == getattr(error, "plain", str(error))


@pytest.mark.parametrize("headers", [{}, JSON])
def test_places_are_for_administrators(
    app: Flask, make_user: Callable[..., Person], headers: dict[str, str]
) -> None:
    """A person is told what it means for the file, an administrator also where."""
    failing(app, raid.BlobUnreachable("Away: slot 0 (/srv/d0).", ["slot 0 (/srv/d0)"]))
    told = make_user("alice").get("/fail", headers=headers)
    assert told.status_code == 503 and "/srv/d0" not in told.text
    assert "It can be read when one is back." in told.text
    admin = make_user("root", admin=True).get("/fail", headers=headers)
    assert "slot 0 (/srv/d0)" in admin.text


def test_every_error_of_the_engine_has_words_without_places(app: Flask) -> None:
    kinds = {raid.RaidError, *raid.RaidError.__subclasses__()}
    kinds |= {kind for one in kinds for kind in one.__subclasses__()}
    with app.test_request_context():
        for kind in kinds:
            error = Exception.__new__(kind, "slot 0 (/srv/d0)")
            assert "/srv" not in errorpages.told(error)


def test_what_is_refused_with_members_away_names_no_place(
    app: Flask,
    make_user: Callable[..., Person],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Bytes in and out, by script and by form, with every member gone."""
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = False, False
    alice, admin = make_user("alice"), make_user("root", admin=True)
    asked = [(person, *_with_a_file(person)) for person in (alice, admin)]
    for slot in range(4):
        place = tmp_path / "members" / str(slot)
        place.rename(place.with_name(f"{slot}.away"))
    with app.app_context():
        storage.runtime.runtime().check_members()
    for person, folder, file in asked:
        caplog.clear()
        with caplog.at_level(logging.INFO, "holdfast.request"):
            said = [*_refusals(person, folder, file), _flashed(person, folder)]
        for answer in said:
            assert ("members/0" in answer) == (person is admin), answer
        lines = [getattr(record, "fields", {}) for record in caplog.records]
        noted = [fields["why"] for fields in lines if "why" in fields]
        assert len(noted) == len(said) and all("members/0" in why for why in noted)


def _with_a_file(person: Person) -> tuple[str, str]:
    found = re.search(r'data-folder-id="([^"]+)"', person.get("/files/").text)
    assert found is not None
    path = f"/files/folder/{found[1]}"
    headers = {"X-CSRFToken": person.token()}
    body = b"x" * 300 * KIB
    answer = person.send("PUT", f"{path}/a", data=body, headers=headers)
    return path, answer.json["id"]


def _refusals(person: Person, folder: str, file: str) -> list[str]:
    """Return what is told when a file is read and two are sent, in JSON and pages."""
    headers = {"X-CSRFToken": person.token()}
    download = f"/files/file/{file}/download"
    answers = [
        person.get(download),
        person.get(download, headers=JSON),
        person.send("PUT", f"{folder}/b", data=b"x" * 300 * KIB, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    sent = {"file": (io.BytesIO(b"x" * 300 * KIB), "c")}
    answers.append(
        person.send("POST", f"{folder}/upload", data=sent, headers=headers | JSON)
    )
    assert answers[-1].json["failed"]
    return [answer.text for answer in answers]


def _flashed(person: Person, folder: str) -> str:
    """Return what stands above the folder after the form without scripts."""
    headers = {"X-CSRFToken": person.token()}
    sent = {"file": (io.BytesIO(b"x" * 300 * KIB), "c")}
    person.send("POST", f"{folder}/upload", data=sent, headers=headers)
    text = person.get("/files/").text
    assert "was not kept" in text
    return text


def test_every_class_of_the_table_has_a_status_and_a_word() -> None:
    for kind, (status, code) in application.ERRORS.items():
        assert issubclass(kind, Exception)
        assert 400 <= status < 600
        assert code == code.lower()


def test_it_says_when_to_come_again(app: Flask) -> None:
    answer = failing(app, Throttled(61)).get("/fail")
    assert answer.headers["Retry-After"] == "61"


def test_a_locked_database_is_a_503_in_words(app: Flask) -> None:
    cause = sqlite3.OperationalError("database is locked")
    client = failing(app, OperationalError("UPDATE canary", {}, cause))
    answer = client.get("/fail", headers=JSON)
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "database_unavailable"
    assert "canary" not in answer.text
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    "error",
    [
        exc.DatabaseError("SELECT canary", {}, sqlite3.DatabaseError("malformed")),
        exc.InternalError("UPDATE canary", {}, Exception("read-only transaction")),
        exc.TimeoutError("QueuePool limit: canary"),
    ],
)
@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_damaged_or_exhausted_database_is_a_503_too(
    sqlite_app: Flask, error: Exception, headers: dict[str, str]
) -> None:
    answer = failing(sqlite_app, error).get("/fail", headers=headers)
    assert answer.status_code == 503
    assert "The database" in answer.text
    assert answer.headers["Retry-After"] == "5"
    assert "canary" not in answer.text


@pytest.mark.parametrize("kind", [exc.IntegrityError, exc.ProgrammingError])
def test_a_wrong_question_to_the_database_is_our_mistake(
    sqlite_app: Flask, kind: type[exc.DBAPIError]
) -> None:
    error = kind("SELECT canary", {}, Exception("no such thing"))
    answer = failing(sqlite_app, error).get("/fail", headers=JSON)
    assert answer.status_code == 500
    assert answer.json["error"]["code"] == "internal"


def test_a_database_that_another_program_holds(
    make_app: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Pages are read all the while; a change is refused and leaves nothing."""
    impatient = [p for p in database._PRAGMAS if not p.startswith("busy")]
    monkeypatch.setattr(database, "_PRAGMAS", (*impatient, "busy_timeout=200"))
    person = Person(make_app())
    person.register("alice")
    page = person.get("/files/")
    root = re.search(r'data-folder-id="([^"]+)"', page.text)
    assert root is not None
    path = f"/files/folder/{root[1]}/folders"
    with sqlite3.connect(tmp_path / "holdfast.db", isolation_level=None) as held:
        held.execute("BEGIN IMMEDIATE")
        refused = person.ask(path, name="new")
        assert person.get("/files/").status_code == 200
        held.execute("ROLLBACK")
    held.close()
    assert refused.status_code == 503
    assert refused.json["error"]["code"] == "database_unavailable"
    assert person.ask(path, name="new").status_code == 201


def test_a_lost_database_is_a_page_for_people_signed_in(
    alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    asked = []

    def gone(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr("sqlalchemy.orm.Session.execute", gone)
    monkeypatch.setattr("sqlalchemy.orm.Session.get", gone)
    monkeypatch.setattr("sqlalchemy.orm.Session.scalars", gone)
    monkeypatch.setattr("sqlalchemy.orm.Session.scalar", gone)
    answer = alice.get("/files/")
    assert asked
    assert answer.status_code == 503
    assert answer.headers["X-Request-ID"] in answer.text
    assert "The database is busy or can't be reached" in answer.text.replace(
        "&#39;", "'"
    )


def test_an_answer_survives_the_end_of_its_connection(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was cut after the last question can't be rolled back."""
    app.testing = False
    fired = []

    def cut(_: Any) -> None:
        fired.append(1)
        raise sqlite3.OperationalError("the connection was terminated")

    def ask() -> str:
        database.db.session.execute(text("SELECT 1"))
        if not fired:
            patch.setattr(database.db.engine.dialect, "do_rollback", cut)
        return "right"

    app.add_url_rule("/ask", "ask", ask)
    public(app.view_functions["ask"])
    client = app.test_client()
    with monkeypatch.context() as patch:
        assert client.get("/ask").text == "right"
    assert fired
    assert client.get("/ask").text == "right"


def test_a_refusal_does_not_read_the_user_again(
    alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The row has expired when a transaction can't begin; the log needs its name."""
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    token = alice.token("/files/")

    def away(*_: Any) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OperationalError("BEGIN", {}, sqlite3.OperationalError("away"))

        monkeypatch.setattr("sqlalchemy.orm.Session.execute", refuse)
        monkeypatch.setattr("sqlalchemy.engine.Engine.connect", refuse)
        refuse()

    monkeypatch.setattr(database, "_begin", away)
    with caplog.at_level(logging.INFO):
        answer = alice.post("/auth/logout", token=token)
    assert answer.status_code == 503
    assert "The database is busy" in answer.text
    lines = [record for record in caplog.records if record.message == "request"]
    assert lines[-1].fields["user"] == "alice"


@pytest.mark.parametrize("path", ["/files/", "/files/file/gone", "/array/"])
def test_no_page_holds_a_connection_while_it_asks_for_the_array(
    admin: Person, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Whoever reads the map needs one, and everybody else waits for that reader."""
    held: list[bool] = []
    real = storage.runtime.Runtime.array

    def array(self: storage.runtime.Runtime) -> Any:
        if has_request_context():
            held.append(database.db.session().in_transaction())
        return real(self)

    admin.get("/array/")  # the map is known from here on
    monkeypatch.setattr(storage.runtime.Runtime, "array", array)
    admin.get(path)
    assert held
    assert not any(held)


def test_an_error_page_comes_even_if_the_template_is_broken(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError("template canary")

    monkeypatch.setattr(errorpages, "render_template", broken)
    monkeypatch.setattr(app.jinja_env, "get_template", broken)
    with caplog.at_level(logging.ERROR):
        answer = app.test_client().get("/nothing")
    assert answer.status_code == 404
    assert "Nothing is here" in answer.text
    assert answer.headers["X-Request-ID"] in answer.text
    assert "canary" not in answer.text
    assert "could not be drawn" in caplog.text


@pytest.mark.parametrize(
    "cookie",
    ["", "=", ";;;", "holdfast", "holdfast=\x80\xff", "holdfast=a.b.c", "=x; y"],
)
def test_a_malformed_cookie_is_nobody(client: FlaskClient, cookie: str) -> None:
    answer = client.get("/files/", headers={"Cookie": cookie})
    assert answer.status_code == 302


@pytest.mark.parametrize("path", ["/\xff", "/files/\xc3\x28", "/\xf0\x28\x8c"])
def test_an_address_that_is_not_utf8_is_refused(client: FlaskClient, path: str) -> None:
    # As WSGI hands it over: each byte is a character.
    answer = client.get("/x", environ_overrides={"PATH_INFO": path})
    assert answer.status_code == 400
    assert answer.headers["X-Request-ID"] in answer.text


@pytest.mark.parametrize("host", ["a b", "[::1", "x/../y", "\x7f", "a@b", ":80"])
def test_a_malformed_host_breaks_nothing(client: FlaskClient, host: str) -> None:
    assert client.get("/auth/login", headers={"Host": host}).status_code < 500


def test_titles_and_words_are_plain_sentences() -> None:
    for message in errorpages._MESSAGES.values():
        assert message.endswith(".")
        assert "!" not in message
