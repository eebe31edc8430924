"""Security headers are on every answer of the application, errors included (H5)."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from auth.access import public
from support.people import Person

pytestmark = pytest.mark.sqlite
JSON = {"Accept": "application/json"}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "manifest-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def policy_of(answer) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


def check(answer) -> None:
    assert policy_of(answer) == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["X-Request-ID"]
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/auth/login", 200),
        ("GET", "/files/", 302),
        ("GET", "/healthz", 200),
        ("GET", "/static/bootstrap/bootstrap.min.css", 200),
        ("GET", "/static/0123456789abcdef/x.css", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/auth/login", 405),
        ("POST", "/auth/login", 400),
        ("PUT", "/files/folder/x/y", 401),
    ],
)
def test_they_are_on_every_answer(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    check(answer)


def test_they_are_on_a_500(app: Flask) -> None:
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/broken", "broken", _break)
    public(app.view_functions["broken"])
    answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    check(answer)


def _break() -> str:
    raise ZeroDivisionError("a secret in the middle")


def test_a_stricter_policy_of_a_view_stays(app: Flask) -> None:
    app.add_url_rule(
        "/strict", "strict", lambda: ("x", {"Content-Security-Policy": "sandbox"})
    )
    public(app.view_functions["strict"])
    answer = app.test_client().get("/strict")
    assert answer.headers["Content-Security-Policy"] == "sandbox"


def test_private_pages_are_not_kept(alice: Person) -> None:
    answer = alice.get("/files/")
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]


def test_hsts_comes_with_https_only(make_app: Callable[..., Flask]) -> None:
    plain = make_app(members=False).test_client().get("/auth/login")
    assert "Strict-Transport-Security" not in plain.headers
    app = make_app(PUBLIC_URL="https://files.example.org", members=False)
    secure = app.test_client().get("/auth/login")
    seconds = secure.headers["Strict-Transport-Security"].partition("=")[2]
    assert int(seconds) >= 31536000


def test_an_error_inside_a_view_keeps_its_headers(client: FlaskClient) -> None:
    answer = client.open("/healthz", method="POST")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    check(answer)
