"""Headers that every answer carries, errors and assets included: H5, H6, S12, S13."""

import io
from collections.abc import Callable

import pytest

from support.client import JSON, Answer, Client
from support.site import Site

SETTINGS = {"MAX_UPLOAD_BYTES": "100000"}


def _page(person: Client) -> Answer:
    return person.get("/files/").expect(200)


def _asset(person: Client) -> Answer:
    sources = person.get("/files/").page.sources
    static = next(source for source in sources if source.endswith(".css"))
    return person.get(static).expect(200)


def _download(person: Client) -> Answer:
    entry = person.put(person.root(), "headers.txt", b"kelp", replace=True)
    return person.download(entry.expect(200, 201).json["id"]).expect(200)


def _bad_token(person: Client) -> Answer:
    return person.post("/auth/logout", token="forged").expect(400, 403)


def _too_large(person: Client) -> Answer:
    return person.put(person.root(), "big", b"x" * 200_000).expect(413)


ANSWERS: dict[str, Callable[[Client], Answer]] = {
    "login page": lambda person: Client(_url(person)).get("/auth/login").expect(200),
    "redirect": lambda person: Client(_url(person)).get("/files/").expect(302),
    "401": lambda person: (
        Client(_url(person)).request("GET", "/files/", None, JSON).expect(401)
    ),
    "page": _page,
    "asset": _asset,
    "download": _download,
    "health": lambda person: person.get("/healthz").expect(200),
    "400": _bad_token,
    "404": lambda person: person.get("/no/such/page").expect(404),
    "404 object": lambda person: person.get("/files/folder/none").expect(404),
    "404 asset": lambda person: person.get("/static/none/x.css").expect(404),
    "405": lambda person: person.request("DELETE", "/files/").expect(405),
    "413": _too_large,
    "416": lambda person: person.download(
        _download_id(person), Range="bytes=99999-"
    ).expect(416),
}


def _url(person: Client) -> str:
    return f"http://{person.host}:{person.port}"


def _download_id(person: Client) -> str:
    answer = person.put(person.root(), "range.txt", b"kelp", replace=True)
    return answer.expect(200, 201).json["id"]


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_carries_the_security_headers(site: Site, kind: str) -> None:
    """H5: policy, type, referrer, opener and resource policy, on errors as well."""
    headers = ANSWERS[kind](site.person("alice")).headers
    policy = headers.get("Content-Security-Policy", "")
    for part in ("object-src 'none'", "base-uri 'none'", "frame-ancestors"):
        assert part in policy or "default-src 'none'" in policy, (part, policy)
    assert "base-uri 'none'" in policy
    assert "frame-ancestors" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] in {"same-origin", "no-referrer"}
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "X-Powered-By" not in headers
    assert "Werkzeug" not in headers.get("Server", "")


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_no_answer_invites_another_origin(site: Site, kind: str, origin: str) -> None:
    """H6: no CORS header, whoever asks."""
    person = site.person("alice")
    ANSWERS[kind](person)
    answer = person.get("/files/", Origin=origin)
    for name in answer.headers:
        assert not name.lower().startswith("access-control-"), name


def test_pages_behind_the_login_are_never_stored(site: Site) -> None:
    """S12: no cache keeps a page of a person, and answers vary by cookie."""
    person = site.person("alice")
    folder = person.root()
    for path in ("/files/", f"/files/folder/{folder}", "/files/trash"):
        answer = person.get(path).expect(200)
        assert answer.headers["Cache-Control"].startswith(("no-store", "private"))
        assert "cookie" in answer.headers.get("Vary", "").lower(), path
    download = _download(person)
    assert "public" not in download.headers["Cache-Control"]


def test_assets_are_public_and_set_no_cookie(site: Site) -> None:
    """S12: what a cache may keep carries nobody's cookie."""
    answer = _asset(site.person("alice"))
    assert "Set-Cookie" not in answer.headers
    assert "immutable" in answer.headers["Cache-Control"]
    assert "cookie" not in answer.headers.get("Vary", "").lower()
    missing = site.client().get("/static/none/x.css").expect(404)
    assert "immutable" not in missing.headers.get("Cache-Control", "")


def test_logging_out_clears_what_the_browser_kept(site: Site) -> None:
    """S13: either the browser is told to forget, or nothing was ever stored."""
    person = site.client().register("leaving")
    assert person.get("/files/").status == 200
    answer = person.logout()
    cleared = '"cache"' in answer.headers.get("Clear-Site-Data", "")
    assert cleared or answer.headers["Cache-Control"].startswith("no-store")
    assert person.get("/files/").status == 302


def test_no_page_has_an_inline_script_or_style(site: Site) -> None:
    """H5: the policy is strict because nothing needs it to be loose."""
    person = site.person("alice")
    person.put(person.root(), "inline.txt", io.BytesIO(b"x").read(), replace=True)
    paths = ["/files/", "/files/trash", "/no/such/page", "/auth/password"]
    for path in paths:
        assert person.get(path).page.inline == [], path
    for path in ("/auth/login", "/auth/register"):
        assert site.client().get(path).page.inline == [], path
