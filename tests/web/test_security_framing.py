"""Request framing and methods as real gunicorn takes them: H1, H7, and H9's edges."""

import pytest

from support.raw import connection, exchange, head, receive
from support.site import Site

LEAKS = (b"Traceback", b"werkzeug", b"Werkzeug", b"gunicorn/", b"/site-packages/")


def _control(site: Site) -> None:
    answer = exchange(site.port, head("GET", "/healthz", [("Connection", "close")]))
    assert answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", "+5")],
        [("Content-Length", "-5")],
        [("Content-Length", "5, 5")],
        [("Transfer-Encoding ", "chunked")],
        [("Transfer-Encoding", "xchunked")],
        [("Transfer-Encoding", "chunked, identity")],
    ],
)
def test_ambiguous_framing_is_refused_and_the_connection_closed(
    site: Site, headers: list[tuple[str, str]]
) -> None:
    """H1: nothing that two parsers could read in two ways is answered twice."""
    _control(site)
    smuggled = b"5\r\nhello\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = exchange(site.port, head("POST", "/auth/login", headers) + smuggled)
    assert answer.status in {400, 501}
    assert answer.closed
    assert 200 not in answer.statuses


def test_a_duplicate_host_is_refused(site: Site) -> None:
    """H2: one request, one host."""
    _control(site)
    twice = head("GET", "/healthz", [("Host", "evil.example")])
    assert exchange(site.port, twice).status == 400


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/files/", "evil.example"),
        ("/files", "evil.example"),
        ("//files/", "evil.example"),
        ("/static//css/theme.css?x=1", "evil.example"),
        ("http://evil.example/files/", "127.0.0.1"),
        ("http://evil.example/files", "127.0.0.1"),
    ],
)
def test_redirects_never_repeat_a_foreign_host(
    site: Site, target: str, host: str
) -> None:
    """H2, A17's relative: what the client claims about the host is never echoed."""
    close = [("Connection", "close"), ("X-Forwarded-Host", "evil.example")]
    answer = exchange(site.port, head("GET", target, close, host=host))
    assert answer.status in {302, 308, 400}
    assert b"evil.example" not in answer.data


@pytest.mark.parametrize(
    "method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "FOO", "DELETE", "PATCH"]
)
def test_unknown_methods_are_refused(site: Site, method: str) -> None:
    """H7: only the methods that a route names, and nothing is echoed."""
    _control(site)
    canary = [("X-Canary", "kelp"), ("Connection", "close")]
    for target in ("/files/", "/auth/login", "/static/x.css", "/no/such/page"):
        answer = exchange(site.port, head(method, target, canary))
        assert answer.status in {400, 404, 405, 501}, target
        assert b"kelp" not in answer.data


def test_options_gives_nothing_away(site: Site) -> None:
    """H7: OPTIONS is no way around the login."""
    close = [("Connection", "close")]
    answer = exchange(site.port, head("OPTIONS", "/files/", close))
    assert answer.status in {200, 204, 302, 401, 405}
    assert answer.body == b"" or answer.status in {302, 401, 405}


@pytest.mark.parametrize(
    ("target", "headers", "statuses"),
    [
        ("/" + "a" * 9000, [], {400, 404, 414}),
        ("/healthz", [(f"X-{n}", "1") for n in range(150)], {400, 431}),
        ("/healthz", [("X-Long", "a" * 20000)], {400, 431}),
        ("/files/folder/%ff%fe", [], {302, 400, 404}),
        ("/%c0%ae%c0%ae/%c0%ae", [], {302, 400, 404}),
        ("/files/\x00", [], {400, 404}),
        ("/auth/login", [("Cookie", 'holdfast="\\377\\"; ;;=;=')], {200, 400}),
        ("/auth/login", [("Cookie", "holdfast=\xff\xfe\x80; holdfast=")], {200, 400}),
    ],
)
def test_malformed_requests_get_a_generic_page(
    site: Site, target: str, headers: list[tuple[str, str]], statuses: set[int]
) -> None:
    """H9: too long, too many, or not text: an honest 4xx that says nothing of us."""
    _control(site)
    close = [("Connection", "close")]
    answer = exchange(site.port, head("GET", target, headers + close))
    assert answer.status in statuses
    assert not any(leak in answer.data for leak in LEAKS)


def test_a_pipelined_second_request_is_answered_on_its_own(site: Site) -> None:
    """H1's control: two honest requests on one connection get two answers."""
    two = head("GET", "/healthz", []) + head(
        "GET", "/healthz", [("Connection", "close")]
    )
    with connection(site.port) as sock:
        sock.sendall(two)
        answer = receive(sock, whole=False)
    assert answer.statuses == [200, 200]
