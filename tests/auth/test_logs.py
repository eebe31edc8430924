"""Rows L1 to L3: every denial is one structured line, and none holds a secret."""

import json
import logging

import pytest
from flask import Flask

from auth import services
from storage.logs import JsonLines
from support.people import OTHER, PASSWORD, Person

pytestmark = pytest.mark.sqlite


class Lines(logging.Handler):
    """What would be written to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.raw: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.raw.append(self.format(record))

    def of(self, event: str) -> list[dict]:
        lines = [json.loads(line) for line in self.raw]
        return [line for line in lines if line.get("event") == event]


@pytest.fixture
def lines():
    handler = Lines()
    logger = logging.getLogger("holdfast")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def _complete(line: dict, address: str = "192.0.2.1") -> bool:
    assert line["time"].endswith("+00:00")
    assert line["address"] == address
    assert len(line["request_id"]) >= 16
    assert line["status"] >= 200
    return True


def test_l3_logins_are_logged(app: Flask, lines: Lines):
    person = Person(app, address="192.0.2.1")
    person.register("ada")
    person.log_out()
    person.log_in("ada")
    person.log_in("ADA", OTHER)
    person.log_in("eve", OTHER)
    assert [line["outcome"] for line in lines.of("register")] == ["ok"]
    assert [line["outcome"] for line in lines.of("logout")] == ["ok"]
    outcomes = [(x["outcome"], x.get("account")) for x in lines.of("login")]
    assert outcomes == [("ok", "ada"), ("failed", "ada"), ("failed", None)]
    assert all(_complete(line) for line in lines.of("login"))


def test_l3_throttling_is_logged(make, lines):
    person = Person(make(login_failures_account=1), address="192.0.2.1")
    person.log_in("ada", OTHER)
    person.log_in("ada", OTHER)
    line = lines.of("login")[-1]
    assert (line["outcome"], line["status"]) == ("throttled", 429)
    assert _complete(line)


def test_l3_denied_access_is_logged(app, lines):
    person = Person(app, address="192.0.2.1")
    person.get("/files/")
    person.send("PUT", "/raw/a", data=b"x")
    person.register("ada")
    person.get("/files/")
    denied = lines.of("access")
    assert [line["status"] for line in denied] == [302, 401]
    assert all(line["why"] == "not signed in" for line in denied)
    assert all(_complete(line) for line in denied)


def test_l3_refused_tokens_and_sites_are_logged(app, lines):
    person = Person(app, address="192.0.2.1")
    person.register("ada")
    person.post("/change", None, what="x")
    evil = {"Origin": "https://evil.example"}
    person.send("POST", "/change", data={"what": "x"}, headers=evil)
    assert [line["why"] for line in lines.of("csrf")] == ["token", "other site"]
    assert all(_complete(line) for line in lines.of("csrf"))


def test_l3_password_changes_are_logged(app, lines):
    person = Person(app, address="192.0.2.1")
    person.register("ada")
    person.change_password(OTHER, OTHER)
    person.change_password(PASSWORD, OTHER)
    outcomes = [line["outcome"] for line in lines.of("password change")]
    assert outcomes == ["failed", "ok"]


def test_l3_commands_are_logged(app, lines):
    run = app.test_cli_runner().invoke
    run(args=["user", "create", "ada", "--password-stdin"], input=PASSWORD)
    run(args=["user", "disable", "ada"])
    assert lines.of("user create")[0]["account"] == "ada"
    assert lines.of("user disable")[0]["outcome"] == "ok"


def test_l2_a_name_cannot_forge_a_line(app, lines):
    person = Person(app)
    before = len(lines.raw)
    token = person.token()
    person.log_in("x\n2026 INFO login ok admin", OTHER, csrf_token=token)
    written = lines.raw[before:]
    assert all("\n" not in line for line in written)
    assert len(lines.of("login")) == 1
    assert not any("login ok admin" in line for line in written)


def test_l1_no_secret_is_logged(app, lines):
    person = Person(app)
    token = person.token()
    person.register("ada")
    person.log_in("ada", OTHER)
    person.log_in(OTHER, PASSWORD)
    person.change_password(PASSWORD, OTHER)
    session = person.session()
    person.get("/files/?secret=" + session["_user_id"])
    person.log_out()
    with app.app_context():
        services.disable("ada")
    said = "\n".join(lines.raw)
    assert "login" in said
    for secret in (
        PASSWORD,
        OTHER,
        token,
        session["_user_id"],
        session["csrf_token"],
        app.secret_key,
    ):
        assert secret not in said
