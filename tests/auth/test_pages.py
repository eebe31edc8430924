"""The same rules in the whole application: its pages, its table of errors, its map."""

import re

import pytest

from support.page import Page
from support.people import OTHER, PASSWORD, Person

pytestmark = pytest.mark.sqlite

PUBLIC = {
    "static",
    "health.healthz",
    "health.readyz",
    "auth.login",
    "auth.submit_login",
    "auth.register",
    "auth.submit_register",
    "files_root",
}
JSON = {"Accept": "application/json"}


@pytest.fixture
def whole(make_app):
    """The application as it is served; without members, which nothing here needs."""
    return make_app(members=False)


def _fields(person: Person, path: str) -> dict[str, str]:
    """Return the fields of the form with passwords on a page, and their types."""
    answer = person.get(path)
    assert answer.status_code == 200
    for form in Page(answer.text).forms:
        if "password" in form.kinds.values():
            assert form.method == "post"
            assert form.fields["csrf_token"]
            return form.kinds
    raise AssertionError(f"no form with a password on {path}")


def test_the_forms_have_the_fields_of_the_contract(whole):
    person = Person(whole)
    login = _fields(person, "/auth/login")
    assert login["username"] == "text"
    assert login["password"] == "password"
    register = _fields(person, "/auth/register")
    assert {"username", "email", "password", "confirm"} <= set(register)
    assert register["password"] == register["confirm"] == "password"
    assert person.register("ada").status_code == 303
    change = _fields(person, "/auth/password")
    assert change["current"] == change["password"] == change["confirm"] == "password"


def test_a_refused_form_says_why_and_never_repeats_the_password(whole):
    person = Person(whole)
    refused = person.register("ada", "passwordpassword")
    assert refused.status_code == 400
    assert "too easy to guess" in Page(refused.text).visible
    assert "passwordpassword" not in refused.text
    assert 'value="ada"' in refused.text
    person.register("ada")
    person.log_out()
    wrong = person.log_in("ada", OTHER)
    assert wrong.status_code == 400
    assert "do not match" in Page(wrong.text).visible
    assert OTHER not in wrong.text


def test_a_name_is_shown_as_text(whole):
    person = Person(whole)
    refused = person.register('<b>"ada"</b>')
    assert refused.status_code == 400
    assert "<b>" not in refused.text
    assert "&lt;b&gt;" in refused.text


def test_a9_throttling_is_429_with_a_time_as_page_and_as_json(make_app):
    person = Person(make_app(members=False, LOGIN_FAILURES_ACCOUNT="1"))
    assert person.log_in("ada", OTHER).status_code == 400
    page = person.log_in("ada", OTHER)
    assert page.status_code == 429
    assert "too many failed attempts" in Page(page.text).visible
    answer = person.ask("/auth/login", username="ada", password=OTHER)
    assert answer.status_code == 429
    assert answer.json["error"]["code"] == "throttled"
    assert re.fullmatch("[0-9a-f]{8,}", answer.json["error"]["request_id"])
    for response in (page, answer):
        assert 0 < int(response.headers["Retry-After"]) <= 900


def test_closed_registration_is_a_clear_page_without_a_link(make_app):
    person = Person(make_app(members=False, REGISTRATION="closed"))
    page = person.get("/auth/register")
    assert page.status_code == 403
    assert "Registration is closed" in Page(page.text).visible
    assert "/auth/register" not in person.get("/auth/login").text
    answer = person.get("/auth/register", headers=JSON)
    assert answer.json["error"]["code"] == "registration_closed"


def test_each_refusal_has_its_status(whole):
    person = Person(whole)
    assert person.get("/files/", headers=JSON).status_code == 401
    assert person.ask("/auth/login", None, username="a").status_code == 400
    body = {"data": b"x", "content_type": "text/plain"}
    assert person.send("POST", "/auth/login", **body).status_code == 415
    stale = person.post("/auth/login", None, username="ada", password=PASSWORD)
    assert stale.status_code == 400
    assert "out of date" in Page(stale.text).visible


def test_i14_only_these_views_are_public(whole):
    """A new view is private by default; who opens one has to say so here."""
    views = whole.view_functions.items()
    open_views = {name for name, view in views if getattr(view, "public", False)}
    assert open_views == PUBLIC


def _address(rule: str) -> str:
    """Fill in a rule: the first of several words, a number, else any id."""
    rule = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule)
    return re.sub(r"<[^>]+>", "x", re.sub(r"<int:[^>]+>", "1", rule))


def test_i14_a_stranger_gets_nothing_from_any_address(whole):
    asked = 0
    for rule in whole.url_map.iter_rules():
        if rule.endpoint in PUBLIC:
            continue
        path = _address(rule.rule)
        for method in sorted(rule.methods - {"OPTIONS"}):
            stranger = Person(whole)
            page = stranger.send(method, path)
            wanted = 401 if method == "PUT" else 302
            assert page.status_code == wanted, (method, path)
            assert stranger.send(method, path, headers=JSON).status_code == 401
            asked += 1
    assert asked > 20


def test_s11_no_change_by_get(whole):
    for rule in whole.url_map.iter_rules():
        if rule.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            assert not rule.methods & {"GET", "HEAD"}, rule


def test_s12_assets_and_health_set_no_cookie(whole):
    person = Person(whole)
    person.register("ada")
    page = person.get("/files/")
    assert "no-store" in page.headers["Cache-Control"]
    assert "Cookie" in page.headers["Vary"]
    asset = re.search(r'href="(/static/[^"]+\.css)"', page.text)[1]
    for path, status in (
        (asset, 200),
        (asset + "x", 404),
        ("/healthz", 200),
        ("/static/x/y.css", 404),
    ):
        answer = person.get(path)
        assert answer.status_code == status
        assert "Set-Cookie" not in answer.headers
        assert "Cookie" not in answer.headers.get("Vary", "")
        stranger = Person(whole).get(path)
        assert "Set-Cookie" not in stranger.headers, path
