"""Steps on a disk that are made of several system calls, and their errors.

Interrupted calls are made again and short ones continued here, except ``fsync``:
when that fails the file's pages may be gone, so the file is never trusted again.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
)
from raid.member import Buffer
from storage.members.calls import SystemCalls

P = ParamSpec("P")
R = TypeVar("R")

_WORTH_ALLOCATING = 1 << 20
_MOST_PARTS = 512
_COMPARE = 1 << 20
_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class Disk:
    """Read and write whole files through the seam of system calls."""

    def __init__(self, calls: SystemCalls) -> None:
        self.calls = calls
        self.unlink = _steady(calls.unlink)
        self.rename = _steady(calls.rename)
        self.rename_noreplace = _steady(calls.rename_noreplace)
        self.mkdir = _steady(calls.mkdir)
        self.stat = _steady(calls.stat)
        self.listdir = _steady(calls.listdir)
        self.statvfs = _steady(calls.statvfs)
        self._open = _steady(calls.open)
        self._pread = _steady(calls.pread)
        self._writev = _steady(calls.writev)
        self._fallocate = _steady(calls.fallocate)

    def write(self, path: str, parts: Sequence[Buffer], size: int) -> None:
        """Write a new file and make its content durable."""
        fd = self._open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            if size >= _WORTH_ALLOCATING:
                self._allocate(fd, size)
            self._write_all(fd, parts)
            self.calls.fsync(fd)
        finally:
            self._close(fd)

    def _allocate(self, fd: int, size: int) -> None:
        try:
            self._fallocate(fd, size)
        except OSError as error:
            if error.errno not in _CANNOT_ALLOCATE:
                raise

    def _write_all(self, fd: int, parts: Sequence[Buffer]) -> None:
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            taken = self._writev(fd, left[:_MOST_PARTS])
            if taken == 0:
                raise OSError(errno.EIO, "the system took no bytes of a write")
            left = _after(left, taken)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range of a file; short only at its end."""
        fd = self._open(path, os.O_RDONLY)
        try:
            if length is None:
                length = max(0, self.stat(path).st_size - offset)
            data = self._pread(fd, length, offset)
            if len(data) == length or not data:
                return data
            return self._read_on(fd, data, offset, length)
        finally:
            self._close(fd)

    def _read_on(self, fd: int, data: bytes, offset: int, length: int) -> bytes:
        """Go on after a short read, until the length or the file's end."""
        found = [data]
        got = len(data)
        while got < length:
            data = self._pread(fd, length - got, offset + got)
            if not data:
                break
            found.append(data)
            got += len(data)
        return b"".join(found)

    def has(self, path: str, parts: Sequence[Buffer]) -> bool:
        """Tell whether a file holds just these bytes; it is read piece by piece."""
        if self.stat(path).st_size != sum(map(len, parts)):
            return False
        offset = 0
        for part in parts:
            for at in range(0, len(part), _COMPARE):
                piece = part[at : at + _COMPARE]
                if self.read(path, offset, len(piece)) != piece:
                    return False
                offset += len(piece)
        return True

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.calls.fsync(fd)
        finally:
            self._close(fd)

    def _close(self, fd: int) -> None:
        """Close; Linux has closed the descriptor even when it says EINTR."""
        try:
            self.calls.close(fd)
        except InterruptedError:
            return


def _after(parts: list[memoryview], taken: int) -> list[memoryview]:
    """Return what is left to write when ``taken`` bytes are written."""
    for index, part in enumerate(parts):
        if taken < len(part):
            return [part[taken:], *parts[index + 1 :]]
        taken -= len(part)
    return []


def _steady(call: Callable[P, R]) -> Callable[P, R]:
    """Return a call that is made again when a signal interrupted it."""

    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            try:
                return call(*args, **kwargs)
            except InterruptedError:
                continue

    return again


_CLASSES: dict[int, tuple[type[MemberError], str]] = {
    errno.ENOENT: (MemberMissing, "is not there; mount or attach it"),
    errno.ENOTDIR: (MemberMissing, "is not a folder; mount or attach the disk"),
    errno.ENODEV: (MemberMissing, "has lost its device; attach it again"),
    errno.ENXIO: (MemberMissing, "has lost its device; attach it again"),
    errno.ESTALE: (MemberMissing, "was unmounted by its server; mount it again"),
    errno.ENOTCONN: (MemberMissing, "lost its connection; mount it again"),
    errno.ENOSPC: (MemberFull, "is full; make room there"),
    errno.EDQUOT: (MemberFull, "is over its disk quota; make room there"),
    errno.EROFS: (MemberReadOnly, "is read-only; look at the disk's log"),
    errno.EACCES: (MemberDenied, "denies access; give our user the folder"),
    errno.EPERM: (MemberDenied, "denies access; give our user the folder"),
}


def translate(error: OSError, label: str, doing: str) -> MemberError:
    """Return the engine's error for the system's; the caller keeps the cause."""
    kind, advice = _CLASSES.get(
        error.errno or 0, (MemberFailing, "is failing; replace the disk")
    )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(label, f"Could not {doing}: {label} {advice} ({reason}).")


def is_directory(found: os.stat_result) -> bool:
    """Say whether what was looked at is a directory."""
    return stat.S_ISDIR(found.st_mode)
