"""Bytes on a socket, for requests that no polite client would send."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class RawAnswer:
    """What came back over a socket, and whether the other side closed it."""

    data: bytes
    closed: bool
    seconds: float

    @property
    def status(self) -> int:
        """The status of the first response, 0 when there was none."""
        line = self.data.split(b"\r\n", 1)[0].split()
        return int(line[1]) if len(line) > 1 and line[1].isdigit() else 0

    @property
    def statuses(self) -> list[int]:
        """Every status line in what came back."""
        lines = self.data.split(b"HTTP/1.1 ")[1:]
        return [int(line[:3]) for line in lines]

    @property
    def body(self) -> bytes:
        """Everything after the first head."""
        return self.data.partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def connection(port: int, timeout: float = 10) -> Iterator[socket.socket]:
    """An open socket to the server."""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        yield sock


def receive(sock: socket.socket, wait: float = 5, whole: bool = True) -> RawAnswer:
    """Read until the other side closes, a response is complete, or `wait` is over."""
    begun, data, closed = time.monotonic(), b"", False
    while (left := begun + wait - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            piece = sock.recv(1 << 16)
        except TimeoutError:
            break
        except ConnectionError:
            closed = True
            break
        if not piece:
            closed = True
            break
        data += piece
        if whole and _complete(data):
            break
    return RawAnswer(data, closed, time.monotonic() - begun)


def exchange(port: int, data: bytes, wait: float = 5, whole: bool = False) -> RawAnswer:
    """Send bytes as they are and return what comes back."""
    with connection(port) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return receive(sock, wait, whole)


def _complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return b"chunked" in head.lower() and body.endswith(b"0\r\n\r\n")


def head(
    method: str, target: str, headers: list[tuple[str, str]], host: str = "127.0.0.1"
) -> bytes:
    """A request head, exactly as given."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
