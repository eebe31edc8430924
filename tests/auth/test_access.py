"""Rows S11, S14 and I14: who may open what, and where one lands afterwards."""

from urllib.parse import parse_qs, urlsplit

import pytest

from auth.access import safe_next
from support.people import PASSWORD, Person

JSON = {"Accept": "application/json"}


def test_i14_every_view_is_private_unless_it_says_otherwise(app, person):
    public = {"health", "auth.login", "auth.submit_login"}
    public |= {"auth.register", "auth.submit_register"}
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<name>", "a")
        for method in sorted(rule.methods - {"OPTIONS"}):
            answer = person.send(method, path)
            if rule.endpoint in public:
                assert "/auth/login" not in answer.headers.get("Location", "")
            elif method == "PUT":
                assert answer.status_code == 401
            else:
                assert answer.status_code == 302, (method, path)
                assert answer.headers["Location"].startswith("/auth/login")
                assert "secret" not in answer.text
    assert app.done == []


def test_i14_json_gets_401_and_pages_the_login(person):
    page = person.get("/files/?sort=name&x=%2F%C3%A9")
    assert page.status_code == 302
    target = urlsplit(page.headers["Location"])
    assert target.path == "/auth/login"
    assert parse_qs(target.query) == {"next": ["/files/?sort=name&x=%2F%C3%A9"]}
    answer = person.get("/files/", headers=JSON)
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "not_signed_in"
    assert person.send("PUT", "/raw/a", data=b"x").status_code == 401
    change = person.post("/change", None, what="x")
    assert change.headers["Location"] == "/auth/login"
    person.register("ada")
    assert person.get("/files/", headers=JSON).status_code == 200


def test_options_tells_nothing_about_private_views(person):
    assert person.send("OPTIONS", "/change").status_code == 302


def test_s11_get_changes_nothing(app, person):
    person.register("ada")
    assert person.get("/auth/logout").status_code == 405
    assert person.get("/change").status_code == 405
    assert person.get("/raw/a").status_code == 405
    for path in ("/auth/password", "/auth/login", "/auth/register", "/files/"):
        assert person.get(path).status_code in (200, 302)
    assert person.signed_in()
    assert app.done == []


HOSTILE = [
    "//e",
    "///e",
    "/\\e",
    "\\\\e",
    "https:e",
    "https:///e",
    "/\t/e",
    "/\r\nX:1",
    "/\r\n/e",
    "javascript:alert(1)",
    "http://[::1",
    "//[::1",
    "http://evil.example/",
    "/ /e",
    "e",
    "",
    "\x00/e",
    "/\x7f/e",
    "/" + "x" * 5000,
    "data:text/html,x",
    "/\u2028/e\n",
]


@pytest.mark.sqlite
@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize("where", ["query", "field"])
def test_s14_next_never_leaves_this_site(app, target, where):
    person = Person(app)
    person.register("ada")
    person.log_out()
    fields = {"username": "ada", "password": PASSWORD, "csrf_token": person.token()}
    query = {"next": target} if where == "query" else {}
    if where == "field":
        fields["next"] = target
    answer = person.send("POST", "/auth/login", data=fields, query_string=query)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/files/"
    assert "X" not in answer.headers
    assert person.send("GET", "/auth/login", query_string=query).status_code == 302


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "target", ["/files/folder/abc", "/files/?sort=name&after=x%2Fy", "/%09/e", "/a:b"]
)
def test_s14_a_page_of_this_site_is_kept(app, target):
    person = Person(app)
    page = person.send("GET", "/auth/login", query_string={"next": target})
    assert target.replace("&", "&amp;") in page.text
    fields = {"username": "ada", "password": PASSWORD, "confirm": PASSWORD}
    fields |= {"next": target, "csrf_token": person.token()}
    answer = person.send("POST", "/auth/register", data=fields)
    assert answer.status_code == 303
    assert answer.headers["Location"] == target


def test_s14_the_host_header_has_no_say(app):
    person = Person(app, base="http://evil.example")
    answer = person.register("ada")
    assert answer.headers["Location"] == "/files/"
    stranger = Person(app, base="http://evil.example")
    location = stranger.get("/files/").headers["Location"]
    assert location == "/auth/login?next=/files/"


def test_safe_next_without_a_target_is_home():
    assert safe_next(None) == "/files/"


def test_closed_registration_says_so_and_shows_no_link(make):
    person = Person(make(registration="closed"))
    assert "/auth/register" not in person.get("/auth/login").text
    assert person.get("/auth/register").status_code == 403
    token = person.token()
    fields = {"username": "ada", "password": PASSWORD, "confirm": PASSWORD}
    answer = person.post("/auth/register", token, **fields)
    assert answer.status_code == 403
    assert "Registration is closed" in answer.json["error"]["message"]
    assert person.log_in("ada").status_code == 400
    opened = Person(make(registration="open"))
    assert "/auth/register" in opened.get("/auth/login").text


def test_refused_forms_are_json_where_asked(person):
    answer = person.ask("/auth/login", username="ada", password="x")
    assert answer.status_code == 400
    assert answer.json["error"]["code"] == "wrong_login"
    answer = person.ask("/auth/register", username="ada", password="x", confirm="y")
    assert answer.json["error"]["code"] == "bad_form"
    answer = person.ask("/auth/register", username="ada", password="x", confirm="x")
    assert answer.json["error"]["code"] == "weak_password"
    fields = {"username": "ada", "password": PASSWORD, "confirm": PASSWORD}
    assert person.ask("/auth/register", **fields).status_code == 303
