"""The parts of an object as one body that can be sent, and sent again, uncopied."""

import base64
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

from raid.member import Buffer


class Body:
    """A file to read over the parts of an object; nothing is joined.

    Hands out views, so that a shard of 8 MiB is not in memory twice while it travels.
    """

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self._size = sum(map(len, self._parts))
        self._at = 0
        self._part = 0
        self._inside = 0

    def __len__(self) -> int:
        """Return the length in bytes."""
        return self._size

    @property
    def parts(self) -> Sequence[memoryview]:
        """Return the parts that have bytes."""
        return self._parts

    def read(self, count: int = -1) -> bytes | memoryview:
        """Return at most ``count`` bytes, never across parts; none at the end."""
        if count is None or count < 0:
            return self._rest()
        if self._part == len(self._parts):
            return b""
        part = self._parts[self._part]
        found = part[self._inside : self._inside + count]
        self._inside += len(found)
        self._at += len(found)
        if self._inside == len(part):
            self._part, self._inside = self._part + 1, 0
        return found

    def _rest(self) -> bytes:
        found = []
        while piece := self.read(1 << 20):
            found.append(piece)
        return b"".join(found)

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; ``whence`` as for any file."""
        base = (0, self._at, self._size)[whence]
        self._at = min(max(base + offset, 0), self._size)
        left, self._part = self._at, 0
        while self._part < len(self._parts) and left >= len(self._parts[self._part]):
            left -= len(self._parts[self._part])
            self._part += 1
        self._inside = left
        return self._at

    def seekable(self) -> bool:
        """Say that a try can be repeated."""
        return True


def checksum(body: Body, *, amazon: bool) -> dict[str, Any]:
    """Return the parameter of a PUT that lets the server check what arrived.

    Amazon's is CRC-32, a gigabyte a second and more. Any other server gets Content-MD5,
    the one that all of them have checked from the beginning (some ignore the newer
    ones without a word). Either is about the way there; bytes are proved by tags.
    """
    if amazon:
        crc = 0
        for part in body.parts:
            crc = zlib.crc32(part, crc)
        # A bucket with Object Lock asks for the name of the algorithm, too.
        value = _base64(crc.to_bytes(4, "big"))
        return {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": value}
    digest = hashlib.md5(usedforsecurity=False)
    for part in body.parts:
        digest.update(part)
    return {"ContentMD5": _base64(digest.digest())}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
