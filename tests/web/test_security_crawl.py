"""Every route of the application, walked by strangers and attackers: I14, S11, H12."""

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from werkzeug.routing import Rule

from app import create_app
from support.client import JSON, Client
from support.site import Site

PUBLIC = {"/auth/login", "/auth/register", "/healthz", "/readyz"}
SOMETHING = "AAAAAAAAAAAAAAAAAAAAAA"


def _rules() -> list[Rule]:
    app = create_app({"HOLDFAST_DATA_DIR": "/nonexistent/crawl"})
    return sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)


RULES = _rules()


def _path(rule: Rule, value: str = SOMETHING) -> str:
    """A concrete address for a rule; literal choices get their first value."""
    text = rule.rule
    for part in text.split("<")[1:]:
        inside = part.partition(">")[0]
        chosen = value
        if inside.startswith("any("):
            chosen = inside[4:].partition(")")[0].split(",")[0].strip("'\" ")
        elif inside.startswith("int:"):
            chosen = "1"
        text = text.replace(f"<{inside}>", chosen)
    return text


def _walk(verbs: set[str]) -> Iterator[tuple[str, str]]:
    for rule in RULES:
        for method in sorted((rule.methods or set()) & verbs):
            yield method, rule.rule


def _rule(text: str) -> Rule:
    return next(rule for rule in RULES if rule.rule == text)


def test_the_map_is_the_application(site: Site) -> None:
    """The control: the walk below sees the routes that the contract names."""
    known = {rule.rule for rule in RULES}
    assert {"/", "/files/", "/auth/login", "/array/", "/healthz"} <= known
    assert len(known) > 20
    assert site.person("alice").get("/files/").status == 200


def _is_public(rule: str) -> bool:
    return rule in PUBLIC or rule.startswith("/static")


EVERY = [
    step
    for step in _walk({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})
    if not _is_public(step[1])
]


@pytest.mark.parametrize(("method", "rule"), EVERY)
def test_a_stranger_gets_no_data_on_any_route(
    site: Site, method: str, rule: str
) -> None:
    """I14: a redirect to the login or 401; public routes are named here."""
    path = _path(_rule(rule))
    stranger = site.client()
    answer = stranger.request(method, path, b"" if method != "GET" else None)
    assert answer.status in {302, 303, 400, 401, 403}, f"{answer.status} {path}"
    if answer.status in {302, 303}:
        assert answer.location.startswith(("/auth/login", "/files/"))
    asked = stranger.request(method, path, None if method == "GET" else b"", JSON)
    assert asked.status in {302, 400, 401, 403}, f"{asked.status} {path} as JSON"
    assert "data-id" not in answer.text


CHANGING = [
    rule.rule
    for rule in RULES
    if {"POST", "PUT"} & (rule.methods or set()) and "GET" not in (rule.methods or ())
]


def _state(person: Client) -> object:
    trash = person.get("/files/trash").expect(200).page.rows
    return person.rows(), trash


@pytest.mark.parametrize("rule", CHANGING)
def test_get_changes_nothing(site: Site, rule: str) -> None:
    """S11: what changes things does not answer to GET or HEAD."""
    person = site.client().register(f"s11-{abs(hash(rule)) % 10**9}")
    entry = person.put(person.root(), "kept.txt", b"kelp").expect(201).json["id"]
    person.folder(person.root(), "kept folder")
    before = _state(person)
    for value in (entry, person.root()):
        path = _path(_rule(rule), value)
        for method in ("GET", "HEAD"):
            answer = person.request(method, path)
            form = path.startswith("/auth/")
            harmless = {200, 302, 405} if form else {302, 404, 405}
            assert answer.status in harmless, f"{method} {path}"
    assert person.get("/files/").status == 200, "a GET signed somebody out"
    assert _state(person) == before


SPIKES = [
    "'",
    '"',
    "' OR '1'='1",
    "1; DROP TABLE users; --",
    "1) UNION SELECT sleep(5) --",
    "'||(SELECT pg_sleep(5))||'",
    "1 AND 5=randomblob(500000000)",
    "%27%20OR%201=1--",
    "{{7777*7777}}",
    "${7777*7777}",
    "../../etc/passwd",
    "\x00",
    "%",
    "\\",
    "a" * 3000,
    "\ud7ff\U0001f600",
]
PARAMETERS = ["sort", "direction", "after", "entry", "at", "next", "name", "size"]


@pytest.mark.parametrize("spike", SPIKES)
def test_metacharacters_in_every_parameter_cause_no_error(
    site: Site, spike: str
) -> None:
    """H12: no 5xx, no delay and no evaluation, in paths, queries and forms."""
    person = site.person("alice")
    quoted = quote(spike, safe="")
    begun, seen = time.monotonic(), 0
    for rule in RULES:
        methods = rule.methods or set()
        path = _path(rule, quoted)
        if "GET" in methods:
            query = "&".join(f"{name}={quoted}" for name in PARAMETERS)
            answer = person.get(f"{path}?{query}")
            assert answer.status < 500, f"GET {path}"
            assert "60481729" not in answer.text
            seen += 1
        if "POST" in methods and "logout" not in path:
            fields = ["name", "folder", "entry", "username", "password", "confirm"]
            answer = person.post(path, [(field, spike) for field in fields])
            assert answer.status < 500, f"POST {path}"
            seen += 1
    assert seen > 20
    assert time.monotonic() - begun < 30
    person.get("/files/").expect(200)
