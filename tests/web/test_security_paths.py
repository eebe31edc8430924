"""Addresses that try to get around a decision: H8, H10, I13."""

import pytest

from support.client import JSON, Client
from support.raw import exchange, head
from support.site import Site

HIDDEN = [
    "/.git/config",
    "/.env",
    "/app.db",
    "/app.py",
    "/instance/secret_key",
    "/console",
    "/?__debugger__=yes&cmd=resource&f=debugger.js",
    "/server-status",
    "/metrics",
    "/static/",
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/none/../../app.py",
    "/static//etc/passwd",
]


def _file(person: Client) -> str:
    answer = person.put(person.root(), "x.css", b"body{}", replace=True)
    return answer.expect(200, 201).json["id"]


@pytest.mark.parametrize("path", HIDDEN)
def test_nothing_but_the_application_is_served(site: Site, path: str) -> None:
    """H8: no repository, no secret, no debugger, no metrics, no listing."""
    person = site.person("alice")
    person.get("/files/").expect(200)
    close = [("Connection", "close")]
    answer = exchange(site.port, head("GET", path, close))
    allowed = {302, 404} if path.startswith("/?") else {308, 404}
    assert answer.status in allowed
    for word in (b"SECRET", b"import ", b"root:", b"Index of", b"debugger.js"):
        assert word not in answer.body


def test_a_real_asset_directory_has_no_listing(site: Site) -> None:
    """H8: the folder above a served asset is not a page."""
    person = site.person("alice")
    sources = person.get("/files/").page.sources
    asset = next(source for source in sources if source.endswith(".css"))
    person.get(asset).expect(200)
    for depth in (1, 2):
        person.get(asset.rsplit("/", depth)[0] + "/").expect(404)
    digest = "/".join(asset.split("/")[:3])
    for path in ("/../../app.py", "/%2e%2e/%2e%2e/app.py", "/..%2f..%2fapp.py"):
        answer = exchange(site.port, head("GET", digest + path, []))
        assert answer.status in {400, 404}


def test_an_extension_added_to_a_private_page_is_not_cached(site: Site) -> None:
    """H10: cache deception finds nothing, or an answer that no cache keeps."""
    person = site.person("alice")
    folder, entry = person.root(), _file(person)
    control = person.get(f"/files/folder/{folder}").expect(200)
    assert "x.css" in control.text
    for path in (
        f"/files/folder/{folder}/x.css",
        f"/files/folder/{folder};.js",
        f"/files/folder/{folder}.css",
        f"/files/folder/{folder}%2f..%2f..%2fstatic%2fa.css",
        f"/files/file/{entry}/download/x.css",
        f"/files/file/{entry}/download;x.css",
        "/files/x.css",
        "/files/;.js",
    ):
        answer = person.get(path)
        cache = answer.headers.get("Cache-Control", "")
        assert answer.status in {404, 405} or cache.startswith(("no-store", "private"))
        assert "public" not in cache


VARIANTS = [
    "//files/folder/{id}",
    "/files//folder/{id}",
    "/./files/folder/{id}",
    "/x/../files/folder/{id}",
    "/x/..;/files/folder/{id}",
    "/files/folder/{id}/",
    "/files/folder/{id}.",
    "/FILES/folder/{id}",
    "/files/folder/{id}%00",
    "/files/%66older/{id}",
]
OVERRIDES = [
    {"X-Original-URL": "/files/folder/{id}"},
    {"X-Rewrite-URL": "/files/folder/{id}"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"X-Method-Override": "PUT"},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_spelling_an_address_otherwise_decides_the_same(
    site: Site, variant: str
) -> None:
    """I13: a stranger gets nothing by any spelling; neither does another user."""
    alice, bob = site.person("alice"), site.person("bob")
    folder = alice.folder(alice.root(), f"secret-{abs(hash(variant))}")
    alice.put(folder, "canary.txt", b"kelp").expect(201)
    assert "canary.txt" in alice.get(f"/files/folder/{folder}").expect(200).text
    path = variant.format(id=folder)
    cookie = [("Cookie", "; ".join(f"{k}={v}" for k, v in bob.cookies.items()))]
    for headers in ([], cookie):
        close = [*headers, ("Connection", "close")]
        answer = exchange(site.port, head("GET", path, close))
        assert answer.status in {301, 302, 308, 400, 401, 404}
        assert b"canary" not in answer.data


@pytest.mark.parametrize("headers", OVERRIDES)
def test_override_headers_are_not_obeyed(site: Site, headers: dict[str, str]) -> None:
    """I13: the address and method of the request line are the only ones."""
    alice = site.person("alice")
    folder = alice.root()
    plain = alice.get("/files/trash").expect(200).page
    sent = {name: value.format(id=folder) for name, value in headers.items()}
    again = alice.request("GET", "/files/trash", None, sent).expect(200).page
    assert again.folder == plain.folder
    assert again.rows == plain.rows


def test_a_slash_in_a_name_is_no_path(site: Site) -> None:
    """I13, U1: %2F in a PUT is nobody's folder."""
    alice = site.person("alice")
    folder = alice.root()
    token = {"X-CSRFToken": alice.token}
    alice.request("PUT", f"/files/folder/{folder}/ok.txt", b"x", token).expect(201)
    path = f"/files/folder/{folder}/a%2Fb.txt"
    answer = alice.request("PUT", path, b"x", token | JSON)
    answer.expect(404)
    assert not any("b.txt" in name for name in alice.names())
