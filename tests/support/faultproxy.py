"""A proxy before an S3 server that does to requests what networks and servers do.

Each bucket has a `Way` through it, with a plan that says for each request which fault
it meets, if any. A plan is a function: a script, dice, or a kind for all. `fired`
counts what was really done, because a fault that did not fire proves nothing.
"""

import asyncio
import hashlib
import random
import re
import socket
import struct
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from support.between import Answer, Request
from support.faulty import flip
from support.wire import Link, Message, read_head

ERRORS = {
    "500": Answer(500, "InternalError"),
    "503": Answer(503, "SlowDown"),
    "denied": Answer(403, "AccessDenied"),
    "no bucket": Answer(404, "NoSuchBucket"),
    "expired": Answer(400, "ExpiredToken"),
    "skewed": Answer(403, "RequestTimeTooSkewed"),
}
"""What a server says instead of doing it."""
CUTTING = ("hang", "reset request", "reset answer", "short body", "lost reply")
"""Nobody learns what became of the request. A lost reply is that of what was done."""
LYING = ("wrong length", "wrong bytes", "other object")
"""An answer that looks whole. Wrong bytes may hit what is sent to the server, too."""
LOST = "lost object"
"""A PUT that said OK and stored nothing."""
TWICE = "twice"
"""The request is delivered two times, and the second answer counts."""
HARMLESS = ("latency", "bandwidth", TWICE)
KINDS = (*ERRORS, *CUTTING, *LYING, LOST, *HARMLESS)

_BODIES = ("GET object", "LIST", "COPY object")
_ONLY = {
    "short body": _BODIES,
    "wrong length": _BODIES,
    "wrong bytes": (*_BODIES, "PUT object"),
    "other object": ("GET object",),
    LOST: ("PUT object",),
}
"""The operations that a kind can happen to; all others happen to all."""
METHODS = {
    "put": "PUT object",
    "read": "GET object",
    "list": "LIST",
    "delete": "DELETE object",
    "set_aside": "COPY object",
}
"""The request of S3 that a method of a member is, most of all."""
_KEPT = 4
_PIECE = 16 << 10

Plan = Callable[[Request], str | None]


def fits(kind: str, operation: str) -> bool:
    """Say whether a kind can happen to an operation of S3."""
    return kind not in _ONLY or operation in _ONLY[kind]


def script(kinds: Iterable[str | None]) -> Plan:
    """Return a plan with a kind, or None, for each request, and nothing after them.

    A kind waits for a request that it can happen to.
    """
    left = list(kinds)

    def plan(asked: Request) -> str | None:
        if not left or not fits(left[0] or "", asked.operation):
            return None
        return left.pop(0)

    return plan


def dice(seed: int, kinds: Sequence[str], share: float) -> Plan:
    """Return a plan that spoils a share of the requests; the seed decides which."""
    drawn = random.Random(seed)

    def plan(asked: Request) -> str | None:
        hit, kind = drawn.random() < share, drawn.choice(kinds)
        return kind if hit and fits(kind, asked.operation) else None

    return plan


@dataclass
class Way:
    """The way to one bucket, with the words of `support.faulty.FaultyMember`."""

    seed: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    spoilt: list[tuple[str, str]] = field(default_factory=list)
    """Kind and path of each PUT that met a fault: it may have been done or not."""
    latency: float = 0.004
    """Seconds that an answer is late on average; any number up to twice of it."""
    bandwidth: float = 8 << 20
    """Bytes a second."""

    def __post_init__(self) -> None:
        self.plan: Plan | None = None
        self.random = random.Random(self.seed)
        self.stored: OrderedDict[str, bytes] = OrderedDict()

    def always(self, kind: str | None) -> None:
        """Spoil every request that a kind can happen to, or, with None, none."""
        self.plan = None if kind is None else lambda _: kind

    def on_call(self, method: str, nth: int, kind: str) -> None:
        """Spoil the n-th request of a method, counted from now, and no other."""
        calls = iter(range(1, 1 << 30))

        def plan(asked: Request) -> str | None:
            wanted = asked.operation == METHODS[method]
            return kind if wanted and next(calls) == nth else None

        self.plan = plan

    def choose(self, asked: Request) -> str | None:
        """Return the kind that a request meets."""
        kind = self.plan(asked) if self.plan else None
        return kind if kind and fits(kind, asked.operation) else None

    def note(self, kind: str, asked: Request) -> None:
        """Count a fault that happens."""
        self.fired[kind] += 1
        if asked.method == "PUT":
            self.spoilt.append((kind, _path(asked)))

    def keep(self, asked: Request, body: bytes) -> None:
        """Remember an object, to hand it out for another one."""
        self.stored[_path(asked)] = body
        while len(self.stored) > _KEPT:
            self.stored.popitem(last=False)

    def stranger(self, asked: Request) -> bytes | None:
        """Return the bytes of an object that was not asked for, of a long one."""
        others = [body for path, body in self.stored.items() if path != _path(asked)]
        return max(others, key=len, default=None)


class FaultProxy:
    """The proxy; `endpoint` is its address. Use it by `faultproxy`."""

    def __init__(self, behind: str, seed: int = 0) -> None:
        """Name the endpoint of the server behind it."""
        place = urlsplit(behind)
        self._behind = str(place.hostname), int(place.port or 80)
        self._seed = seed
        self._ways: dict[str, Way] = {}
        self._open: set[asyncio.Task[None]] = set()
        self.endpoint = ""

    def way(self, bucket: str) -> Way:
        """Return the way to a bucket."""
        return self._ways.setdefault(bucket, Way(self._seed + len(self._ways)))

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def stop(self) -> None:
        """Hang up on everybody."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        link = Link(*self._behind)
        try:
            await self._serve(_Talk(reader, writer), link)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            link.close()
            writer.close()

    async def _serve(self, talk: "_Talk", link: Link) -> None:
        while (head := await read_head(talk.reader)) is not None:
            method, path, _ = head.first.split(" ")
            asked = Request(method, path, head.headers)
            way = self.way(urlsplit(path).path.split("/")[1])
            kind = way.choose(asked)
            if not await _Exchange(way, asked, head, kind, talk, link).done():
                return


@dataclass
class _Talk:
    """The connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection so that the client sees a reset and no clean end."""
        raw = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class _Exchange:
    """One request, its answer, and what happens to them."""

    way: Way
    asked: Request
    head: Message
    kind: str | None
    talk: _Talk
    link: Link

    async def done(self) -> bool:
        """Go through with it; False when the connection is of no more use."""
        if self.kind == "hang":
            self._fires()
            await self.talk.reader.read()  # until the client gives up
            return False
        if self.kind == "reset request":
            self._fires()
            await self.talk.reader.readexactly(self.head.length // 2)
            self.talk.reset()
            return False
        await self._receive()
        if self.kind in ERRORS:
            self._fires()
            return await self._say(_error(ERRORS[self.kind]))
        if self.kind == LOST:
            self._fires()
            digest = hashlib.md5(self.head.body, usedforsecurity=False).hexdigest()
            return await self._say(Message("HTTP/1.1 200 OK", {"etag": f'"{digest}"'}))
        return await self._answer(await self._forward())

    def _fires(self) -> None:
        assert self.kind is not None
        self.way.note(self.kind, self.asked)

    async def _receive(self) -> None:
        if self.kind == "latency":
            self._fires()
            await asyncio.sleep(self.way.random.uniform(0, 2 * self.way.latency))
        left, pieces = self.head.length, []
        while left:
            size = min(left, _PIECE) if self.kind == "bandwidth" else left
            pieces.append(await self.talk.reader.readexactly(size))
            left -= size
            await self._dawdle(size)
        self.head.body = b"".join(pieces)

    async def _dawdle(self, size: int) -> None:
        if self.kind == "bandwidth":
            await asyncio.sleep(size / self.way.bandwidth)

    async def _forward(self) -> Message:
        sent = self.head
        if self.kind == "wrong bytes" and sent.body:
            self._fires()
            bit = self.way.random.randrange(len(sent.body) * 8)
            sent = Message(sent.first, sent.headers, flip(sent.body, bit))
        answer = await self.link.ask(sent)
        if self.kind == TWICE:
            self._fires()
            answer = await self.link.ask(sent)
        if self.asked.operation == "PUT object" and answer.status == 200:
            self.way.keep(self.asked, self.head.body)
        return answer

    async def _answer(self, answer: Message) -> bool:
        if self.kind == "lost reply":
            self._fires()
            self.talk.reset()
            return False
        if self.kind == "reset answer":
            self._fires()
            whole = answer.head(len(answer.body)) + answer.body
            await self.talk.send(whole[: len(whole) // 2])
            self.talk.reset()
            return False
        if self.kind == "bandwidth":
            self._fires()
        if answer.body:
            self._bend(answer)
            if self.kind in ("short body", "wrong length"):
                return await self._cut(answer)
        return await self._say(answer)

    def _bend(self, answer: Message) -> None:
        if self.kind == "wrong bytes" and not self.head.body:
            self._fires()
            answer.body = flip(answer.body, self._bit(answer))
        elif self.kind == "other object" and answer.status in (200, 206):
            self._exchange(answer)

    def _bit(self, answer: Message) -> int:
        # A list has no checksum: only one that is no XML any more can be told.
        if answer.status >= 400 or self.asked.operation != "GET object":
            return 6
        return self.way.random.randrange(len(answer.body) * 8)

    def _exchange(self, answer: Message) -> None:
        """Put another object's bytes, and their length, into an answer."""
        other = self.way.stranger(self.asked)
        if other is None:
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.asked.headers.get("range", ""))
        if wanted:
            first = int(wanted[1])
            other, size = other[first : int(wanted[2] or 1 << 40) + 1], len(other)
            if not other:
                return
            last = first + len(other) - 1
            answer.headers["content-range"] = f"bytes {first}-{last}/{size}"
        self._fires()
        answer.body = other

    async def _cut(self, answer: Message) -> bool:
        """End in the middle, or tell half of the length and send all."""
        self._fires()
        half = len(answer.body) // 2
        if self.kind == "short body":
            told, sent = len(answer.body), answer.body[:half]
        else:
            told, sent = half, answer.body
        await self.talk.send(answer.head(told) + sent)
        return False

    async def _say(self, answer: Message) -> bool:
        length: int | None = len(answer.body)
        if self.asked.method == "HEAD" and answer.status == 200:
            length = answer.length
        elif answer.status in (204, 304):
            length = None
        body = b"" if self.asked.method == "HEAD" else answer.body
        if self.kind != "bandwidth":
            await self.talk.send(answer.head(length) + body)
            return True
        await self.talk.send(answer.head(length))
        for at in range(0, len(body), _PIECE):
            await self._dawdle(len(body[at : at + _PIECE]))
            await self.talk.send(body[at : at + _PIECE])
        return True


def _error(said: Answer) -> Message:
    return Message(f"HTTP/1.1 {said.status} Error", dict(said.headers), said.data)


def _path(asked: Request) -> str:
    return unquote(urlsplit(asked.path).path)


@contextmanager
def faultproxy(behind: str, seed: int = 0) -> Iterator[FaultProxy]:
    """Stand before the server at an endpoint, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="faultproxy", daemon=True)
    thread.start()
    proxy = FaultProxy(behind, seed)
    server = asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
