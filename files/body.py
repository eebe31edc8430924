"""A guard around every request body, because the server says nothing when one is cut.

gunicorn hands over a short body as if it were whole: a client that announces a million
bytes, sends a thousand and goes away would have stored a file of a thousand. So this
WSGI layer counts, and raises when fewer bytes came than were announced. It also bounds
how long a client may send nothing, reads big bodies straight into the caller's buffer,
and after the answer was sent drains what is left, so that a refusal reaches a client
that is still sending.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from files.errors import BadRequest, BodyCut, BodyStalled

READ_BYTES = 1 << 20
# Neither side may stay silent for longer; a slow client that keeps moving is fine.
STALL_SECONDS = 60.0
# Longer than a proxy in front lets its own client be silent: the proxy decides.
TAKE_SECONDS = 180.0
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 5.0
KEY = "holdfast.body"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGI = Callable[[Environ, StartResponse], Iterable[bytes]]


class GuardedBody:
    """The body of one request: it ends where it was announced to end, or raises."""

    def __init__(self, raw: Any, length: int | None, sock: Any = None) -> None:
        self._raw = raw
        self._left = length
        self._sock = sock
        self._direct = _Direct.over(raw, sock) if length else None
        self.ended = length == 0
        self.failed = False
        self.taken = 0
        """Bytes that came so far."""

    @property
    def length_left(self) -> int | None:
        """Return how many bytes must still come; None for a chunked body."""
        return self._left

    def readinto(self, into: memoryview | bytearray) -> int:
        """Fill the buffer, at least partly; 0 is the clean end of the body."""
        # Werkzeug's form parser hands over a bytearray, and a slice of that is a copy.
        view = memoryview(into)
        if self.ended or not len(view):
            return 0
        if self._direct and self._left is not None and self._direct.ready():
            return self._took(self._ask(self._direct.readinto, view[: self._left]))
        data = self._fetch(min(len(view), READ_BYTES))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, or all that is left; b"" is the clean end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(READ_BYTES), b""))
        if self.ended or not size:
            return b""
        return self._fetch(size)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line."""
        if self.ended:
            return b""
        most = self._bound(READ_BYTES if size is None or size < 0 else size)
        line = self._ask(self._raw.readline, most)
        self._took(len(line))
        return bytes(line)

    def readlines(self, _hint: int | None = None) -> list[bytes]:
        """Return all lines that are left."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Go through the lines."""
        return iter(self.readline, b"")

    def _fetch(self, size: int) -> bytes:
        data = self._ask(self._raw.read, self._bound(size))
        self._took(len(data))
        return bytes(data)

    def _bound(self, size: int) -> int:
        return size if self._left is None else min(size, self._left)

    def _took(self, count: int) -> int:
        self.taken += count
        if self._left is None:
            self.ended = count == 0
            return count
        if count == 0:
            self._fail()
            raise BodyCut(
                f"The connection broke: {self._left} bytes of the body never came. "
                "Nothing was changed. Try again."
            )
        self._left -= count
        self.ended = self._left == 0
        return count

    def _ask(self, read: Callable[[Any], Any], what: Any) -> Any:
        if self.failed:
            raise BodyCut("The connection broke. Nothing was changed. Try again.")
        try:
            return read(what)
        except TimeoutError as error:
            self._fail()
            raise BodyStalled(
                f"Nothing came for {STALL_SECONDS:.0f} seconds. Nothing was changed. "
                "Try again when the connection is better."
            ) from error
        except Exception as error:
            # gunicorn's own errors for a cut or malformed chunked body, and resets.
            self._fail()
            raise BodyCut(
                "The connection broke before the body was complete. Nothing was "
                "changed. Try again."
            ) from error

    def _fail(self) -> None:
        self.failed = True
        self.ended = False
        self._close_afterwards()

    def _close_afterwards(self) -> None:
        # gunicorn closes a connection whose body failed instead of reading the next
        # request from it.
        if hasattr(self._raw, "failed"):
            self._raw.failed = True

    def answering(self) -> None:
        """Give the client longer to take the answer than it has to send a request."""
        self._set_timeout(TAKE_SECONDS)

    def drain(self) -> None:
        """Read away what the application left, within bounds; then close for good."""
        if self.ended or self.failed:
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        left = DRAIN_BYTES
        while not self.ended and left > 0:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                break
            self._set_timeout(seconds)
            try:
                left -= len(self.read(READ_BYTES))
            except (BodyCut, BodyStalled):
                break
        if not self.ended:
            self._close_afterwards()

    def _set_timeout(self, seconds: float) -> None:
        if self._sock is not None:
            self._sock.settimeout(seconds)


class _Direct:
    """Receives the body of known length from the socket into the caller's buffer.

    gunicorn's own reader copies every byte three times on the way. This takes what
    its reader holds already, then receives in place, and keeps its count right, so
    that the connection can go on to the next request.
    """

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._reader = raw.reader
        self._sock = sock

    @classmethod
    def over(cls, raw: Any, sock: Any) -> "_Direct | None":
        """Return a receiver for gunicorn's body, None for any other."""
        reader = getattr(raw, "reader", None)
        held = getattr(getattr(reader, "unreader", None), "buf", None)
        known = held is not None and hasattr(reader, "length")
        return cls(raw, sock) if known and hasattr(sock, "recv_into") else None

    def ready(self) -> bool:
        """Tell whether nothing waits in the buffer that reading by lines fills."""
        return not self._raw.buf.tell()

    def readinto(self, view: memoryview) -> int:
        """Fill the view with what is held already, or with one receive."""
        unreader = self._reader.unreader
        held = unreader.buf.tell()
        if held:
            data = unreader.read(min(len(view), held))
            view[: len(data)] = data
            count = len(data)
        else:
            count = self._sock.recv_into(view)
        self._reader.length -= count
        return int(count)


class BodyGuard:
    """The WSGI layer: guards the body going in, drains it after the answer."""

    def __init__(self, app: WSGI) -> None:
        self._app = app

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request."""
        body = guard(environ)
        try:
            answer = self._app(environ, start_response)
        except BaseException:
            body.drain()
            raise
        body.answering()
        return body_then_drain(answer, body)


class _Answer:
    """An answer that drains the request's body once it was sent."""

    def __init__(self, answer: Iterable[bytes], body: GuardedBody) -> None:
        self._answer = answer
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._body.drain()


def body_then_drain(answer: Iterable[bytes], body: GuardedBody) -> Iterable[bytes]:
    """Return the answer as it is, or one that drains the body when it was sent."""
    return answer if body.ended else _Answer(answer, body)


def guard(environ: Environ) -> GuardedBody:
    """Put a guarded body into the environment of a request, and return it."""
    sock = environ.get("gunicorn.socket")
    body = GuardedBody(environ["wsgi.input"], _length(environ), sock)
    body._set_timeout(STALL_SECONDS)
    environ["wsgi.input"] = environ[KEY] = body
    # Werkzeug then trusts this stream to end by itself.
    environ["wsgi.input_terminated"] = True
    return body


def _length(environ: Environ) -> int | None:
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    # The server refuses these already; this is for servers that do not.
    return int(text) if text.isascii() and text.isdigit() else 0


def current(environ: Environ) -> GuardedBody:
    """Return the guarded body of a request."""
    body = environ.get(KEY)
    if not isinstance(body, GuardedBody):
        raise BadRequest("This server hands over no guarded body.")
    return body


def init_app(app: Flask) -> None:
    """Guard every body that this application reads."""
    app.wsgi_app = BodyGuard(app.wsgi_app)  # type: ignore[method-assign]
