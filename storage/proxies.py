"""Who is really asking, when a proxy stands in between.

A proxy that the settings trust is believed about one hop: the last address in
`X-Forwarded-For`, the last word in `X-Forwarded-Proto`, and in `X-Request-ID` the name
that it gave to the request. Everything else that clients send under such names has no
effect.
"""

import re
from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from flask import Flask, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNIX = "unix"
REQUEST_ID = "holdfast.request_id"
"""Where the environment of a request holds the name that a trusted proxy gave it."""
_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


class Proxies:
    """Put the true address and scheme into the request."""

    def __init__(self, inner: "WSGIApplication", trusted: tuple[str, ...]) -> None:
        self.inner = inner
        self.trusted = trusted

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Believe a trusted proxy, then pass the request on."""
        if _trusts(environ.get("REMOTE_ADDR", ""), self.trusted):
            address = _last(environ.get("HTTP_X_FORWARDED_FOR", ""))
            scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO", "")).lower()
            if _is_address(address):
                environ["REMOTE_ADDR"] = address
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
            name = environ.get("HTTP_X_REQUEST_ID", "")
            if _ID.fullmatch(name):
                environ[REQUEST_ID] = name
        return self.inner(environ, start_response)


def _last(header: str) -> str:
    return header.rpartition(",")[2].strip()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@cache
def _networks(trusted: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(word) for word in trusted if word != UNIX]


def _trusts(peer: str, trusted: tuple[str, ...]) -> bool:
    if not _is_address(peer):
        # A UNIX socket has no address: whoever can reach it is trusted by its mode.
        return UNIX in trusted
    address = ip_address(peer)
    return any(address in network for network in _networks(trusted))


def client_address(environ: "WSGIEnvironment | None" = None) -> str:
    """Return the address of the client of the present request, or `unix`."""
    found = (request.environ if environ is None else environ).get("REMOTE_ADDR")
    return str(found or UNIX)


def init_app(app: Flask) -> None:
    """Look through trusted proxies before anything else sees the request."""
    trusted = app.config["HOLDFAST"].trusted_proxies
    app.wsgi_app = Proxies(app.wsgi_app, trusted)  # type: ignore[method-assign]
