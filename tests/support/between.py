"""A server that stands between a member and an S3 server, and can spoil an answer.

Every request is recorded. A rule looks at a request and says what to answer instead of
the server behind; a request that no rule wants goes through.
"""

import http.client
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """One request of the member's; `operation` is like ``PUT object``."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def operation(self) -> str:
        """Name the operation of S3."""
        parts = urlsplit(self.path)
        on_bucket = parts.path.strip("/").count("/") == 0
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "COPY object"
        if self.method == "GET" and on_bucket:
            return "LIST"
        return f"{self.method} {'bucket' if on_bucket else 'object'}"


@dataclass(frozen=True)
class Answer:
    """What to say: an error of S3, or a raw body, or a misdeed.

    `misdeed` is ``hang`` (until the end), ``reset`` (before an answer), ``lose`` (do it
    and then reset) or ``cut`` (half of the server's own answer).
    """

    status: int = 500
    code: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    misdeed: str = ""

    @property
    def data(self) -> bytes:
        """The body that is sent."""
        if self.body or not self.code:
            return self.body
        # What a careless client would repeat: keys and signatures.
        return (
            f"<Error><Code>{self.code}</Code><Message>SECRET-TEXT</Message>"
            "<AWSAccessKeyId>SECRET-TEXT</AWSAccessKeyId></Error>"
        ).encode()


Rule = Callable[[Request], Answer | None]


@dataclass
class Between:
    """The server in the middle; `endpoint` is its address."""

    endpoint: str
    behind: str
    rules: list[Rule] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def counts(self) -> Counter[str]:
        """Return how often each operation was asked for, and forget them."""
        found, self.log[:] = Counter(one.operation for one in self.log), []
        return found

    def spoil(
        self,
        operation: str,
        answer: Answer,
        *,
        times: int | None = None,
        path: str = "",
    ) -> list[Request]:
        """Answer an operation like this, so many times; returns what was spoilt."""
        spoilt: list[Request] = []

        def rule(asked: Request) -> Answer | None:
            wanted = re.fullmatch(operation, asked.operation) and path in asked.path
            if not wanted or (times is not None and len(spoilt) >= times):
                return None
            spoilt.append(asked)
            return answer

        self.rules.append(rule)
        return spoilt


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: Between

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, self.path, headers, self.rfile.read(length))
        self.between.log.append(asked)
        for rule in self.between.rules:
            answer = rule(asked)
            if answer is not None:
                return self._spoil(asked, answer)
        status, said, data = self._forward(asked)
        return self._say(status, said, data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

    def _spoil(self, asked: Request, answer: Answer) -> None:
        if answer.misdeed == "hang":
            self.between.over.wait(60)
            self.close_connection = True
        elif answer.misdeed == "reset":
            self._reset()
        elif answer.misdeed == "lose":
            self._forward(asked)
            self._reset()
        elif answer.misdeed == "cut":
            status, said, data = self._forward(asked)
            self._say(status, said, data, sent=len(data) // 2)
            self._reset()
        else:
            self._say(answer.status, dict(answer.headers), answer.data)

    def _reset(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def _forward(self, asked: Request) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection(urlsplit(self.between.behind).netloc)
        try:
            link.request(asked.method, asked.path, asked.body, asked.headers)
            got = link.getresponse()
            said = dict(got.getheaders())
            return got.status, said, got.read()
        finally:
            link.close()

    def _say(
        self, status: int, said: dict[str, str], data: bytes, sent: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = said.pop("Content-Length", None) if self.command == "HEAD" else None
        for name, value in said.items():
            if name.lower() not in (
                "content-length",
                "connection",
                "transfer-encoding",
            ):
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data[:sent])
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a member that hung up is what a test is about."""


@contextmanager
def between(behind: str) -> Iterator[Between]:
    """Stand between members and the server at an endpoint."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    made = Between(f"http://127.0.0.1:{server.server_address[1]}", behind)
    handler.between = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
