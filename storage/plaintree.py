"""Write files below one folder and nowhere else, whatever names they are given.

Every step down is taken from an open folder and follows no link, so a name can't lead
out, and a path may be longer than the system takes at once. A file appears under its
name when it is whole and durable.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

MAX_BYTES = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = ".holdfast-"


def safe_name(name: str) -> str:
    """Return a name as one component of a path: never empty, a dot, or too long.

    >>> safe_name("../etc"), safe_name(".."), safe_name("a.txt")
    ('.._etc', '_..', 'a.txt')
    """
    text = name.encode(errors="replace").decode()
    text = "".join("_" if _is_hostile(one) else one for one in text)
    if text.strip(".") == "" or text.startswith(_PREFIX):
        text = f"_{text}"
    return shortened(text, MAX_BYTES)


def _is_hostile(character: str) -> bool:
    return character == "/" or unicodedata.category(character) == "Cc"


def shortened(text: str, most: int) -> str:
    """Return a name cut to some bytes of UTF-8, its extension kept if it is short."""
    if len(text.encode()) <= most:
        return text
    stem, dot, tail = text.rpartition(".")
    if not stem or len(tail.encode()) > 16:
        stem, dot, tail = text, "", ""
    room = most - len((dot + tail).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + tail


def numbered(name: str, number: int) -> str:
    """Return a name with a number before its extension.

    >>> numbered("a.txt", 2)
    'a (2).txt'
    """
    stem, dot, tail = name.rpartition(".")
    if not stem or len(tail.encode()) > 16:
        stem, dot, tail = name, "", ""
    suffix = f" ({number}){dot}{tail}"
    return shortened(stem, MAX_BYTES - len(suffix.encode())) + suffix


@dataclass(frozen=True)
class Wanted:
    """A file to be written: where, its size, and its time."""

    folder: tuple[str, ...]
    name: str
    size: int
    time_us: int


class PlainTree:
    """A folder to write below; see the module's text."""

    def __init__(self, top: Path) -> None:
        top.mkdir(parents=True, exist_ok=True)
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._top)

    def make_folder(self, path: Sequence[str]) -> None:
        """Make a folder and those above it; one that is there is fine."""
        with self._inside(path):
            pass

    def write(self, wanted: Wanted, chunks: Iterable[bytes]) -> str | None:
        """Store a file and return its name, or None when it was there already.

        A file of this size and time was written whole by an earlier run. Anything else
        under the name stays, and the new file gets a number.
        """
        with self._inside(wanted.folder) as place:
            name = _free(place, wanted)
            if name is None:
                return None
            temporary = f"{_PREFIX}{uuid4().hex}"
            try:
                self._fill(place, temporary, chunks, wanted.time_us)
                os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=place)
            os.fsync(place)
            return name

    def _fill(
        self, place: int, name: str, chunks: Iterable[bytes], time_us: int
    ) -> None:
        handle = os.open(name, _NEW, 0o600, dir_fd=place)
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.utime(handle, ns=(time_us * 1000, time_us * 1000))
            os.fsync(handle)

    @contextmanager
    def _inside(self, path: Sequence[str]) -> Iterator[int]:
        """Open a folder below the top, making it; never through a link."""
        here = os.dup(self._top)
        try:
            for name in path:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=here)
                try:
                    below = os.open(name, _FOLDER, dir_fd=here)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise NotADirectoryError(
                            errno.ENOTDIR,
                            f"there is a file or a link named {name!r} where a folder "
                            "should be",
                        ) from error
                    raise
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)


def _free(place: int, wanted: Wanted) -> str | None:
    """Return the first name that is free; None when the file is under one of them."""
    number, name = 1, wanted.name
    while True:
        try:
            found = os.stat(name, dir_fd=place, follow_symlinks=False)
        except FileNotFoundError:
            return name
        same = (found.st_size, found.st_mtime_ns // 1000)
        if stat.S_ISREG(found.st_mode) and same == (wanted.size, wanted.time_us):
            return None
        number += 1
        name = numbered(wanted.name, number)
