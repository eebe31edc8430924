"""Cookies, HSTS and links when the public address is https: S1, H3 and H4's half."""

from collections.abc import Iterator

import pytest

from support.site import Site, until

SETTINGS = {"PUBLIC_URL": "https://files.example.test", "TRUSTED_PROXIES": "127.0.0.1"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same server without a public address: on a laptop."""
    with Site(tmp_path_factory.mktemp("plain")) as site:
        yield site


def _session_cookie(site: Site) -> str:
    person = site.client().register("alice")
    person.logout()
    answer = person.try_login("alice", "kelp-grips-the-quiet-stone-41")
    lines = [line for line in answer.all("Set-Cookie") if "holdfast" in line]
    assert lines, "logging in set no cookie"
    return lines[-1]


def test_the_session_cookie_is_locked_to_the_host(site: Site) -> None:
    """S1: __Host-, Secure, HttpOnly, SameSite, no Domain."""
    cookie = _session_cookie(site)
    parts = [part.strip().lower() for part in cookie.split(";")]
    assert cookie.startswith("__Host-holdfast=")
    assert {"secure", "httponly", "path=/"} <= set(parts)
    assert {"samesite=lax", "samesite=strict"} & set(parts)
    assert not any(part.startswith("domain") for part in parts)


def test_without_https_the_cookie_has_no_prefix(plain: Site) -> None:
    """S1: over plain loopback, a cookie that a browser will send back."""
    cookie = _session_cookie(plain)
    assert cookie.startswith("holdfast=")
    assert "secure" not in cookie.lower()
    assert "httponly" in cookie.lower()
    assert "samesite" in cookie.lower()


def test_hsts_is_sent_over_https_alone(site: Site, plain: Site) -> None:
    """H4: a year or more, and never from a server that has no https."""
    value = site.client().get("/auth/login").headers["Strict-Transport-Security"]
    seconds = int(value.partition("max-age=")[2].split(";")[0])
    assert seconds >= 31_536_000
    answer = plain.client().get("/auth/login")
    assert "Strict-Transport-Security" not in answer.headers


def test_forged_proxy_headers_change_nothing(plain: Site) -> None:
    """H3: nobody is trusted unless the operator said so."""
    forged = {
        "X_Forwarded_For": "203.0.113.9",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;proto=https;host=evil.example",
    }
    answer = plain.client().request("GET", "/files/?forged=1", None, forged)
    answer.expect(302)
    assert "evil" not in answer.location
    log, line = plain.server.log, answer.headers["X-Request-ID"]
    until(lambda: line in log.read_text(), 10, what="the line in the log")
    assert "203.0.113.9" not in log.read_text()
    assert "Strict-Transport-Security" not in answer.headers


def test_a_trusted_proxy_names_the_client_by_one_hop(site: Site) -> None:
    """H3, F12: the last entry counts; what the client wrote before it does not."""
    forged = {"X-Forwarded-For": "198.51.100.66, 203.0.113.9"}
    site.client().request("GET", "/auth/login", None, forged).expect(200)
    log = site.server.log
    until(lambda: "203.0.113.9" in log.read_text(), 10, what="the line in the log")
    assert "198.51.100.66" not in log.read_text()
