"""HTTP/1.1 as it lies on the wire, read whole with asyncio, to be passed on or bent."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

_HOP = ("connection", "content-length", "keep-alive", "transfer-encoding")
"""Headers that are about a connection and not about what travels on it."""


@dataclass
class Message:
    """A request or an answer; the names of `headers` are in small letters."""

    first: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_head(cls, head: bytes) -> Self:
        """Read the first line and the headers."""
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(first, {name.lower(): value.strip() for name, _, value in pairs})

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.first.split(" ", 2)[1])

    @property
    def length(self) -> int:
        """The length that the headers tell."""
        return int(self.headers.get("content-length", "0"))

    def head(self, length: int | None) -> bytes:
        """Return the head as bytes; a ``length`` of None leaves it out."""
        lines = [self.first]
        lines += [
            f"{name}: {v}" for name, v in self.headers.items() if name not in _HOP
        ]
        if length is not None:
            lines.append(f"content-length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """Return what begins, still without its body; None where nothing more comes."""
    try:
        return Message.of_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError:
        return None


class Link:
    """A connection to a server that is kept for the next request, too."""

    def __init__(self, host: str, port: int) -> None:
        """Name the server; it is connected to at the first request."""
        self._at = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, asked: Message) -> Message:
        """Send a request and return the whole answer; its `head` may be sent on."""
        reader, writer = await self._ready()
        writer.write(asked.head(len(asked.body)) + asked.body)
        answer = await read_head(reader)
        if answer is None:
            raise ConnectionResetError
        bare = asked.first.startswith("HEAD ") or answer.status in (204, 304)
        if not bare:
            answer.body = await self._body(reader, answer)
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _ready(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._reader.at_eof():
            self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._at)
        return self._reader, self._writer

    async def _body(self, reader: asyncio.StreamReader, answer: Message) -> bytes:
        if "content-length" in answer.headers:
            return await reader.readexactly(answer.length)
        if answer.headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.read()
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(pieces)

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
