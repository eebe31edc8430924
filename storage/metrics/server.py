"""Serve the metrics of this instance on METRICS_BIND, and nothing else.

Whoever reaches the address may read them: they hold counts and states, and no name, no
place of a member and no secret.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, ThreadingTCPServer, ThreadingUnixStreamServer
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from storage.metrics import place
from storage.metrics.merge import Merger
from storage.metrics.rows import Rows

PATIENCE = 10.0
"""Seconds that a client may take for its request."""
_LOG = logging.getLogger("holdfast.metrics")


class Taken(Exception):
    """Nothing can listen there; the message says why and what to do."""


def text_of(app: Flask) -> Callable[[], bytes]:
    """Return what gives the metrics of this instance as text, one scrape at a time."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Merger(place.folder(app.config["HOLDFAST"].data_dir)))
    registry.register(Rows(app))
    lock = threading.Lock()

    def text() -> bytes:
        with lock:
            return generate_latest(registry)

    return text


class _Handler(BaseHTTPRequestHandler):
    """Answer GET /metrics."""

    timeout = PATIENCE
    text: Callable[[], bytes]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._say(404, "text/plain; charset=utf-8", b"Metrics are at /metrics.\n")
            return
        try:
            found = type(self).text()
        except Exception:
            _LOG.exception("A scrape broke off.")
            self._say(500, "text/plain; charset=utf-8", b"See the log.\n")
        else:
            self._say(200, CONTENT_TYPE_LATEST, found)

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a scrape every few seconds is no news."""


class _Quiet:
    """A client that hangs up is no error."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 16

    def handle_error(self, *_: object) -> None:
        _LOG.info("A scrape was cut off.")


class _Tcp(_Quiet, ThreadingTCPServer):
    """On a host and port."""


class _Tcp6(_Tcp):
    """On an address of IPv6."""

    address_family = socket.AF_INET6


class _Unix(_Quiet, ThreadingUnixStreamServer):
    """On a path."""


def listen(bind: str, text: Callable[[], bytes]) -> BaseServer:
    """Return the server, which listens; raises `Taken`."""
    handler = type("Handler", (_Handler,), {"text": staticmethod(text)})
    try:
        if bind.startswith("unix:"):
            path = Path(bind.removeprefix("unix:"))
            _clear(path)
            return _Unix(str(path), handler)
        host, _, port = bind.rpartition(":")
        host = host.strip("[]")
        kind = _Tcp6 if ":" in host else _Tcp
        return kind((host, int(port)), handler)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Taken(
            f"Metrics can't be served on {bind} ({why}). Another program may use it. "
            "End that one, or set HOLDFAST_METRICS_BIND to another address, such as "
            "127.0.0.1:9464."
        ) from error


def _clear(path: Path) -> None:
    """Remove a socket on which nobody listens any more, and no other file."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(path))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                path.unlink()
        except OSError:
            return
