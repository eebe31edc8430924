"""System calls of which the n-th fails, or is cut short."""

import errno
import os
from collections.abc import Sequence
from typing import Any

from raid.member import Buffer
from storage.members.calls import SystemCalls

NAMES = [name for name in vars(SystemCalls) if not name.startswith("_")]
SHORT = -1
"""Stands for a short read or write where others have an error number."""


class FaultyCalls(SystemCalls):
    """Fail the n-th call; without a number, count the calls."""

    def __init__(self, nth: int = 0, error: int = errno.EIO) -> None:
        self.nth = nth
        self.error = error
        self.count = 0
        self.fired: str | None = None

    def _is_it(self, name: str) -> bool:
        self.count += 1
        if self.count != self.nth:
            return False
        if self.error == SHORT and name not in ("writev", "pread"):
            return False
        self.fired = name
        return True

    def writev(self, fd: int, parts: Sequence[Buffer]) -> int:
        if not self._is_it("writev"):
            return super().writev(fd, parts)
        if self.error == SHORT:
            return super().writev(fd, [parts[0][: max(1, len(parts[0]) // 2)]])
        if self.error != errno.EINTR:  # an interrupted call took nothing
            super().writev(fd, [parts[0][: len(parts[0]) // 2]])
        raise OSError(self.error, os.strerror(self.error))

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if not self._is_it("pread"):
            return super().pread(fd, length, offset)
        if self.error == SHORT:
            return super().pread(fd, max(1, length // 2), offset)
        raise OSError(self.error, os.strerror(self.error))

    def close(self, fd: int) -> None:
        super().close(fd)  # a descriptor is gone even when close fails
        if self._is_it("close"):
            raise OSError(self.error, os.strerror(self.error))


def _failing(name: str) -> Any:
    def call(self: FaultyCalls, *args: Any) -> Any:
        if self._is_it(name):
            raise OSError(self.error, os.strerror(self.error))
        return getattr(SystemCalls, name)(self, *args)

    return call


for _name in NAMES:
    if _name not in vars(FaultyCalls):
        setattr(FaultyCalls, _name, _failing(_name))
