"""What the logs hold and what they never hold: L1, L2, L3."""

import base64
import json
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import JSON, Answer, Client
from support.site import Site, until

KEY = "canary-key-Zq81_mTf4Rw9yXs2Vd7Kp5Hn3Jb6Lg0C"
PASSWORD = "canary password of the quiet reef 93"
NEW_PASSWORD = "another canary for the deep kelp 58"
WRONG = "canary-wrong-guess-of-a-tired-person-71"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose key is known to the test, and stands nowhere else."""
    folder = tmp_path_factory.mktemp("canaries")
    with Site(folder, {"SECRET_KEY": KEY}) as site:
        yield site


def _live(site: Site) -> set[str]:
    """Do a little of everything; give every secret that passed over the wire."""
    secrets = {KEY, PASSWORD, NEW_PASSWORD, WRONG}
    person = site.client().register("canary", PASSWORD)
    _note(secrets, person)
    person.try_login("canary", WRONG)
    site.client().try_login(WRONG, PASSWORD)
    root = person.root()
    entry = person.put(root, "a.txt", b"kelp").expect(201).json["id"]
    person.download(entry).expect(200)
    person.put(root, "a.txt", b"again").expect(409)
    person.get(f"/files/?csrf_token={person.token}&password={PASSWORD[:6]}")
    person.post(f"/files/file/{entry}/delete", {}, JSON)
    person.post("/auth/logout", token="forged").expect(400, 403)
    fields = {"current": PASSWORD, "password": NEW_PASSWORD, "confirm": NEW_PASSWORD}
    person.post("/auth/password", fields).expect(302, 303)
    person._token = None
    _note(secrets, person)
    person.logout()
    person.request("PUT", "/files/folder/x/a", b"kelp", {"X-CSRFToken": "x"})
    other = site.client().login("canary", NEW_PASSWORD)
    _note(secrets, other)
    return secrets


def _note(secrets: set[str], person: Client) -> None:
    secrets.add(person.token)
    for value in person.cookies.values():
        secrets.add(value)
        secrets |= _inside(value)


def _inside(cookie: str) -> set[str]:
    """What a signed cookie carries: the session's id and the token's seed."""
    packed = cookie.startswith(".")
    text = cookie.lstrip(".").split(".")[0]
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    values = json.loads(zlib.decompress(data) if packed else data).values()
    found = {value for value in values if isinstance(value, str) and len(value) > 15}
    assert found, "the cookie carries no secret"
    return found


def test_no_secret_reaches_a_log_a_row_or_a_disk(site: Site) -> None:
    """L1: every byte the server wrote, searched for every secret it saw."""
    secrets = _live(site)
    assert len(secrets) >= 8
    places = [site.server.log, site.data, *site.members]
    for secret in secrets:
        assert _holding(secret, places) == [], secret
    assert _holding("canary", [site.data]), "the search itself finds nothing"


def _holding(text: str, places: list[Path]) -> list[str]:
    found = subprocess.run(
        ["grep", "-rlaF", "-e", text, *map(str, places)],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.split()


def test_a_forged_line_in_a_name_stays_in_its_record(site: Site) -> None:
    """L2: line ends in what users type cannot make a second record."""
    before = len(site.server.log.read_text().splitlines())
    forged = "x\n2026 INFO login ok admin"
    site.client().try_login(forged, "whatever-it-may-be-33").expect(400)
    bad_name = "y\n2026 INFO upload ok"
    person = site.client().register("forger")
    folder = f"/files/folder/{person.root()}/folders"
    _lines(site, person.post(folder, {"name": bad_name}, JSON).expect(400))
    lines = site.server.log.read_text().splitlines()[before:]
    assert lines
    assert not any(line.startswith("2026 INFO") for line in lines)
    assert all(line.startswith("{") for line in lines)


def test_every_line_of_the_server_is_structured(site: Site) -> None:
    """L3: whatever gunicorn, the worker or the application says is one JSON line."""
    site.client().get("/auth/login").expect(200)
    lines = site.server.log.read_text().splitlines()
    strays = [line for line in lines if line and not line.startswith("{")]
    assert len(strays) <= 3, strays
    for line in site.log_lines():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", line["time"])


def _lines(site: Site, answer: Answer) -> list[dict]:
    """The request's own lines; they are written after the answer has left."""
    wanted = answer.headers["X-Request-ID"]

    def found() -> list[dict]:
        lines = [line for line in site.log_lines() if line.get("request_id") == wanted]
        return [line for line in lines if "status" in line]

    return until(found, 10, what=f"a line about request {wanted}")


def test_every_denial_is_one_line_with_who_what_and_why(site: Site) -> None:
    """L3: time, who, address, what, outcome and request id."""
    person = site.client().register("denied")
    stranger = site.client()
    denials = [
        (400, lambda: site.client().try_login("denied", "not-the-right-one-5")),
        (401, lambda: stranger.request("GET", "/files/", None, JSON)),
        (404, lambda: person.get("/files/folder/someone-elses-folder")),
        (400, lambda: person.post("/auth/logout", token="forged")),
    ]
    for status, deny in denials:
        answer = deny().expect(status)
        (line,) = _lines(site, answer)
        assert line["status"] == status
        assert line["address"] == "127.0.0.1"
        assert line["method"] in {"GET", "POST"}
        assert {"user", "user_id", "route", "ms", "bytes", "received"} <= set(line)
        assert line["user"] is not None or status != 404


def test_who_sent_how_much_is_in_the_line(site: Site) -> None:
    """An upload of whatever way; the id stays when a name is taken by another."""
    person = site.client().register("sender")
    chunks = iter([b"a" * 3000, b"b" * 2000])
    for answer in (
        person.put(person.root(), "told", b"x" * 5000),
        person.put(person.root(), "untold", chunks),
    ):
        (line,) = _lines(site, answer.expect(201))
        assert line["received"] == 5000
        assert line["user"] == "sender"
        assert (
            line["user_id"]
            == site.query("SELECT id FROM users WHERE name = 'sender'")[0][0]
        )


def test_a_wrong_login_names_the_event(site: Site) -> None:
    """L3: an operator can count failures without reading prose."""
    site.client().register("counted")
    answer = site.client().try_login("counted", "not-the-right-one-6").expect(400)
    (line,) = _lines(site, answer)
    assert "login" in line.get("event", "")
