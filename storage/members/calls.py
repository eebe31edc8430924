"""The system calls of a local member, one method each: the seam for faults.

Tests subclass this to fail the n-th call, to cut a write short or to kill the
process at one. Nothing here decides anything.
"""

import ctypes
import errno
import os
from collections.abc import Sequence

from raid.member import Buffer

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

_libc = ctypes.CDLL(None, use_errno=True)


class SystemCalls:
    """Call the system and let its OSErrors travel."""

    def open(self, path: str, flags: int) -> int:
        """Open a file, mode 0600 when it is created."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def fallocate(self, fd: int, size: int) -> None:
        """Reserve room, so that a full disk shows before the bytes are written."""
        os.posix_fallocate(fd, 0, size)

    def writev(self, fd: int, parts: Sequence[Buffer]) -> int:
        """Write the parts in order and return how many bytes were taken."""
        return os.writev(fd, parts)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Read at most ``length`` bytes at an offset."""
        return os.pread(fd, length, offset)

    def fsync(self, fd: int) -> None:
        """Make a file or a directory durable."""
        os.fsync(fd)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing what is there."""
        os.rename(source, target)  # noqa: PTH104

    def rename_noreplace(self, source: str, target: str) -> None:
        """Rename, or raise FileExistsError when the target exists."""
        done = _libc.renameat2(
            _AT_FDCWD,
            os.fsencode(source),
            _AT_FDCWD,
            os.fsencode(target),
            _RENAME_NOREPLACE,
        )
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), source, None, target)
        os.link(source, target)
        os.unlink(source)  # noqa: PTH108

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108

    def mkdir(self, path: str) -> None:
        """Make one directory, never its parents."""
        os.mkdir(path, 0o700)  # noqa: PTH102

    def stat(self, path: str) -> os.stat_result:
        """Return what the file system knows about a path."""
        return os.stat(path)  # noqa: PTH116

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir(path)  # noqa: PTH208

    def statvfs(self, path: str) -> os.statvfs_result:
        """Return how full the file system of a path is."""
        return os.statvfs(path)
