"""Logs: JSON lines on standard error, one for each request, and none with a secret.

A line never holds a query string, a cookie, a token or a path (a share's path is its
secret): it names the route and the ids in it. JSON escapes line ends, so nobody can
forge a line by choosing a name.
"""

import json
import logging
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, g, has_request_context, request
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator

from storage.proxies import REQUEST_ID, client_address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["client_address", "note", "request_id"]

_RECORD = "holdfast.record"
_REQUESTS = logging.getLogger("holdfast.request")


class JsonLines(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; `extra={"fields": {...}}` adds to it."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context():
            line["request_id"] = request_id()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def set_up() -> None:
    """Send every log of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)


def request_id() -> str:
    """Return the id of the present request."""
    return str(_record(request.environ)["request_id"])


def note(**fields: Any) -> None:
    """Add fields to the log line of the present request; never secrets."""
    _record(request.environ).update(fields)


def _record(environ: "WSGIEnvironment") -> dict[str, Any]:
    found = environ.get(_RECORD)
    if found is None:
        name = environ.get(REQUEST_ID) or secrets.token_hex(8)
        found = environ[_RECORD] = {"request_id": name}
    return cast(dict[str, Any], found)


class RequestLog:
    """Write one line for each request when its last byte was sent or it broke."""

    def __init__(self, inner: "WSGIApplication") -> None:
        self.inner = inner

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Pass the request on and watch its answer."""
        watch = _Watch(environ)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            watch.status = int(status[:3])
            return start_response(status, headers, exc_info)

        try:
            body = self.inner(environ, start)
        except BaseException:
            watch.finish()
            raise
        return ClosingIterator(watch.count(body), [_closer(body), watch.finish])


def _closer(body: Iterable[bytes]) -> Any:
    return getattr(body, "close", lambda: None)


class _Watch:
    """What is seen of one answer."""

    def __init__(self, environ: "WSGIEnvironment") -> None:
        self.environ = environ
        self.started = time.monotonic()
        self.status = 0
        self.sent = 0
        self.whole = False
        self.fields = _record(environ)

    def count(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the answer on and count its bytes; it is whole if it comes to its end.

        The server comes back for more only once it has sent what it got.
        """
        for chunk in body:
            yield chunk
            self.sent += len(chunk)
        self.whole = True

    def finish(self) -> None:
        """Write the line."""
        line: dict[str, Any] = {
            "request_id": self.fields["request_id"],
            "user": None,
            "user_id": None,
            "address": client_address(self.environ),
            "method": self.environ.get("REQUEST_METHOD"),
            "route": None,
            "status": self.status,
            "bytes": self.sent,
            "received": getattr(self.environ.get("wsgi.input"), "taken", 0),
            "ms": round((time.monotonic() - self.started) * 1000, 1),
        }
        if not self.whole:
            line["broken"] = True
        line.update(self.fields)
        _REQUESTS.info("request", extra={"fields": line})


def _describe(response: Response) -> Response:
    """Note who asked for what; asking here must not look anybody up."""
    rule = request.url_rule
    ids = {
        key: value for key, value in (request.view_args or {}).items() if key == "id"
    }
    # A row that was rolled back has no values any more, and would be read again.
    user = getattr(g.get("_login_user"), "__dict__", {})
    fields = {
        "user": user.get("name"),
        "user_id": user.get("id"),
        "route": rule.rule if rule else None,
    }
    record = _record(request.environ)
    record.update({**ids, **fields, **record})
    response.headers["X-Request-ID"] = record["request_id"]
    return response


def init_app(app: Flask) -> None:
    """Log every request, whatever becomes of it."""
    app.wsgi_app = RequestLog(app.wsgi_app)  # type: ignore[method-assign]
    app.after_request(_describe)
