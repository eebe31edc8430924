"""What the benchmarks share: a server of our own, sockets without ceremony, tables.

The rules: everything that is compared runs side by side in one run; new file names each
time; `sync` outside the clock; the first round is thrown away (a guest's untouched
memory is several times slower); the server's port is checked to be ours.
"""

import contextlib
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.client import Client  # noqa: E402 - found by the line above

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BUFFER = 1 << 20


@contextlib.contextmanager
def scratch(place: str | None) -> Iterator[Path]:
    """A folder for one run, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes, read once so that it is in memory."""
    with path.open("wb") as file:
        left = size
        while left:
            left -= file.write(os.urandom(min(BUFFER, left)))
    os.sync()
    return path


@dataclass
class Row:
    """One figure: what it was, its samples, and the goal beside it."""

    name: str
    unit: str
    floor: float | None = None
    aim: float | None = None
    most: bool = False
    must: bool = False
    samples: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool:
        """Whether the goal is reached; `most` goals are upper bounds."""
        if self.floor is None:
            return True
        return self.value <= self.floor if self.most else self.value >= self.floor

    def line(self) -> str:
        """The row as text."""
        low, high = min(self.samples), max(self.samples)
        goal = ""
        if self.floor is not None:
            word = "at most" if self.most else "floor"
            goal = f"{'must, ' if self.must else ''}{word} {self.floor:g}"
            goal += f", aim {self.aim:g}" if self.aim is not None else ""
            goal += "  met" if self.met else "  MISSED"
        spread = f"{low:.2f} to {high:.2f}, n={len(self.samples)}"
        return f"{self.name:<52} {self.value:>9.2f} {self.unit:<6} ({spread}) {goal}"


def report(title: str, rows: list[Row]) -> int:
    """Print the rows; 1 when a must is missed."""
    print(f"\n{title}")
    for row in rows:
        print(row.line())
    failed = [row.name for row in rows if row.must and not row.met]
    for name in failed:
        print(f"A must is missed: {name}", file=sys.stderr)
    return 1 if failed else 0


def request_head(
    method: str, path: str, headers: dict[str, str], length: int | None = None
) -> bytes:
    """The head of a request to a server on loopback."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(sock: socket.socket) -> tuple[int, int, bytes]:
    """Status, declared length and the first bytes of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(1 << 16)
        if not piece:
            raise ConnectionError(f"the server closed after {data[:200]!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return int(head.split()[1]), length, body


def connect(way: int | Path) -> socket.socket:
    """Open a connection to a port on loopback, or to a socket in the file system."""
    if isinstance(way, Path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(way))
        return sock
    sock = socket.create_connection(("127.0.0.1", way))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send(way: int | Path, head: bytes, path: Path) -> float:
    """Send a head and a file; seconds until the answer, which must be 2xx."""
    with path.open("rb") as file, connect(way) as sock:
        begun = time.perf_counter()
        sock.sendall(head)
        sock.sendfile(file)
        status, length, body = read_head(sock)
        seconds = time.perf_counter() - begun
    if status not in {200, 201}:
        raise RuntimeError(f"{status}: {body[:length]!r}")
    return seconds


def fetch(way: int | Path, head: bytes, size: int) -> float:
    """Read an answer of a known size into nothing; seconds until its last byte."""
    buffer = bytearray(BUFFER)
    with connect(way) as sock:
        begun = time.perf_counter()
        sock.sendall(head)
        status, length, body = read_head(sock)
        if status != 200 or length != size:
            raise RuntimeError(f"{status}, {length} bytes: {body[:500]!r}")
        left = size - len(body)
        while left:
            count = sock.recv_into(buffer, min(BUFFER, left))
            if not count:
                raise ConnectionError(f"cut {left} bytes before the end")
            left -= count
        return time.perf_counter() - begun


def session_headers(person: Client) -> dict[str, str]:
    """The cookie and token of somebody who is signed in."""
    token = person.token  # reading it may set the cookie
    cookie = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    return {"Cookie": cookie, "X-CSRFToken": token}


def resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The highest resident memory of some processes while something runs, in bytes."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.bytes = 0
        self._pids = list(pids)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.005):
            try:
                self.bytes = max(self.bytes, *map(resident, self._pids))
            except (FileNotFoundError, ProcessLookupError):  # it has ended
                return
