"""Logs: one line of JSON for each request, true, complete and without secrets."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from auth.access import public
from storage import logs
from support.people import PASSWORD, Person

pytestmark = pytest.mark.sqlite
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Give a function that returns the lines written so far."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(logs.JsonLines().format(record))

    handler = Keep()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)

    def read() -> list[dict[str, Any]]:
        assert all("\n" not in line for line in written)
        return [json.loads(line) for line in written]

    yield read
    root.removeHandler(handler)
    root.setLevel(level)


def requests(lines: Lines) -> list[dict[str, Any]]:
    return [line for line in lines() if line["logger"] == "holdfast.request"]


def test_a_request_is_one_line(client: FlaskClient, lines: Lines) -> None:
    answer = client.get("/auth/login?next=/secret-place", buffered=True)
    (line,) = requests(lines)
    assert line["time"].endswith("+00:00")
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert line["method"] == "GET"
    assert line["route"] == "/auth/login"
    assert line["status"] == 200
    assert line["bytes"] == len(answer.data)
    assert line["ms"] >= 0
    assert line["user"] is None
    assert line["address"] == "127.0.0.1"
    assert "secret-place" not in json.dumps(line)


def test_it_says_who_asked(alice: Person, lines: Lines) -> None:
    alice.get("/files/", buffered=True)
    assert requests(lines)[-1]["user"] == "alice"


def test_a_refusal_says_why(client: FlaskClient, lines: Lines) -> None:
    client.get("/files/", headers={"Accept": "application/json"}, buffered=True)
    line = requests(lines)[-1]
    assert (line["status"], line["error"]) == (401, "not_signed_in")


def test_ids_are_two_requests_apart(client: FlaskClient, lines: Lines) -> None:
    client.get("/healthz", headers={"X-Request-ID": "mine"}, buffered=True)
    client.get("/healthz", buffered=True)
    first, second = requests(lines)
    assert first["request_id"] != second["request_id"]
    assert first["request_id"] != "mine"


def test_a_name_cannot_forge_a_line(lines: Lines) -> None:
    logging.getLogger("holdfast.x").warning(
        "%s", "x\n2026 INFO login ok admin", extra={"fields": {"name": "a\u2028\nb"}}
    )
    (line,) = lines()
    assert line["message"] == "x\n2026 INFO login ok admin"
    assert line["level"] == "warning"


def test_no_secret_is_in_any_line(app: Flask, lines: Lines) -> None:
    person = Person(app)
    token = person.token()
    person.register("carol")
    person.get("/files/?token=canary-query")
    person.post("/auth/login", username="carol", password="canary-password")
    person.get("/canary-path", headers={"Authorization": "Bearer canary-header"})
    text = json.dumps(lines())
    assert requests(lines)
    for secret in (PASSWORD, token, person.cookie(), "canary", app.secret_key):
        assert str(secret) not in text


def test_a_broken_answer_is_a_line_too(app: Flask, lines: Lines) -> None:
    def torn() -> Response:
        def body() -> Iterator[bytes]:
            yield b"half"
            raise OSError("the member went away")

        return Response(body())

    app.add_url_rule("/torn", "torn", torn)
    public(app.view_functions["torn"])
    with pytest.raises(OSError, match="went away"):
        app.test_client().get("/torn", buffered=True)
    (line,) = requests(lines)
    assert line["broken"] is True
    assert (line["status"], line["bytes"]) == (200, 4)


def test_an_answer_that_the_client_leaves_is_broken(app: Flask, lines: Lines) -> None:
    """The server closes what it can't send; what was refused to it never left."""

    def long() -> Response:
        return Response(iter([b"half", b"and half"]))

    app.add_url_rule("/long", "long", long)
    public(app.view_functions["long"])
    answer = app.wsgi_app(EnvironBuilder("/long").get_environ(), lambda *_: bytes)
    chunks = iter(answer)
    assert [next(chunks), next(chunks)] == [b"half", b"and half"]
    answer.close()  # type: ignore[attr-defined]
    del chunks, answer
    (line,) = requests(lines)
    assert (line["status"], line["bytes"], line["broken"]) == (200, 4, True)


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("GET", 204), ("GET", 304), ("HEAD", 200)]
)
def test_an_answer_without_bytes_is_not_broken(
    app: Flask, lines: Lines, method: str, status: int
) -> None:
    app.add_url_rule("/empty", "empty", lambda: Response(b"", status))
    public(app.view_functions["empty"])
    app.test_client().open("/empty", method=method, buffered=True)
    (line,) = requests(lines)
    assert (line["status"], line["bytes"]) == (status, 0)
    assert "broken" not in line


def test_an_exception_has_its_trace_in_one_line(app: Flask, lines: Lines) -> None:
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def broken() -> str:
        raise ZeroDivisionError

    app.add_url_rule("/broken", "broken", broken)
    public(app.view_functions["broken"])
    answer = app.test_client().get("/broken")
    traced = [line for line in lines() if "trace" in line]
    assert len(traced) == 1
    assert "ZeroDivisionError" in traced[0]["trace"]
    assert traced[0]["request_id"] == answer.headers["X-Request-ID"]


# -- who is really asking


def seen(app: Flask, lines: Lines, peer: str, **headers: str) -> str:
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    options: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": peer}, "buffered": True}
    app.test_client().get("/healthz", headers=known, **options)
    return str(requests(lines)[-1]["address"])


def test_a_stranger_cannot_choose_an_address(app: Flask, lines: Lines) -> None:
    assert seen(app, lines, "203.0.113.9", X_Forwarded_For="1.2.3.4") == "203.0.113.9"
    assert seen(app, lines, "127.0.0.1", X_Forwarded_For="1.2.3.4") == "127.0.0.1"
    assert seen(app, lines, "127.0.0.1", Forwarded="for=1.2.3.4") == "127.0.0.1"


def test_a_trusted_proxy_is_believed_one_hop(
    make_app: Callable[..., Flask], lines: Lines
) -> None:
    app = make_app(TRUSTED_PROXIES="10.0.0.0/8 unix", members=False)
    forged = "1.2.3.4, 203.0.113.7"
    assert seen(app, lines, "10.1.1.1", X_Forwarded_For=forged) == "203.0.113.7"
    assert seen(app, lines, "", X_Forwarded_For=forged) == "203.0.113.7"
    assert seen(app, lines, "203.0.113.9", X_Forwarded_For=forged) == "203.0.113.9"
    assert seen(app, lines, "10.1.1.1", X_Forwarded_For="nonsense") == "10.1.1.1"
    assert seen(app, lines, "10.1.1.1") == "10.1.1.1"


def test_without_an_address_it_is_the_socket(app: Flask, lines: Lines) -> None:
    assert seen(app, lines, "", X_Forwarded_For="1.2.3.4") == "unix"


@pytest.mark.parametrize(
    ("trusted", "name", "taken"),
    [
        ("127.0.0.1", "1-67891233-abcdef012345678912345678", True),
        ("none", "1-67891233-abcdef012345678912345678", False),
        ("127.0.0.1", "short", False),
        ("127.0.0.1", "a" * 65, False),
        ("127.0.0.1", 'quo"tes-and-more', False),
    ],
)
def test_only_a_trusted_proxy_names_a_request(
    make_app: Callable[..., Flask], lines: Lines, trusted: str, name: str, taken: bool
) -> None:
    client = make_app(TRUSTED_PROXIES=trusted).test_client()
    answer = client.get("/auth/login", headers={"X-Request-ID": name}, buffered=True)
    (line,) = requests(lines)
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert (line["request_id"] == name) is taken
