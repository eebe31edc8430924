"""A user's folder as a plain tree on a disk of this machine.

Files are written under a temporary name, made durable and then given their own. What is
there already stays, unless it is to be replaced. Every byte is verified while it is
read. Nothing below the target is reached through a link: each folder is opened in the
one above it, and a link is never followed.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from sqlalchemy import Row, select

from files import services, tree
from files.errors import Conflict, FilesError
from files.importer import Stopped, Tally
from files.models import FOLDER, Entry
from files.names import check_name, printable
from storage import blobs
from storage.db import db, release
from storage.errors import BlobGone, RaidError, StorageError
from storage.members.calls import SystemCalls

_COLUMNS = (
    Entry.id,
    Entry.kind,
    Entry.name,
    Entry.size,
    Entry.changed_at,
    Entry.blob_id,
)
Item = Row[str, int, str, int, datetime, UUID | None]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# After one of these the next file would meet the same.
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Place:
    """An open folder of the target, and what this run has put into it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.fd = descriptor
        self.path = path
        # A file system may take two names for one: by these it is noticed.
        self.made: set[tuple[int, int]] = set()

    def stat(self, name: str) -> os.stat_result | None:
        """Return what stands under a name, a link itself, or None."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def publish(self, temporary: str, name: str, *, replace: bool) -> None:
        """Give a finished file its name, over another one only when told to."""
        if replace:
            os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            return
        here = f"/proc/self/fd/{self.fd}"
        SystemCalls().rename_noreplace(f"{here}/{temporary}", f"{here}/{name}")


class Exporter:
    """One run over a folder of one user."""

    def __init__(
        self,
        user_id: int,
        *,
        replace: bool = False,
        progress: Callable[[Tally], None] = lambda _tally: None,
    ) -> None:
        self.tally = Tally()
        self._user_id = user_id
        self._replace = replace
        self._progress = progress

    def run(self, folder: str, target: Path) -> Tally:
        """Write what a folder, named by its path, holds into a directory."""
        entry = self._find(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Stopped(f"{printable(str(target))}: {_reason(error)}") from error
        with _closing(Place(descriptor, target)) as place, self._reporting(target):
            self._walk(entry.id, place)
        return self.tally

    def _find(self, folder: str) -> Entry:
        entry = services.root(self._user_id)
        for name in filter(None, folder.split("/")):
            found = tree.named(db.session, entry.id, check_name(name))
            if found is None or found.kind != FOLDER:
                raise Conflict(
                    f"There is no folder “{printable(name)}” in “{entry.name}”. "
                    "Nothing was written. Look at the path, which begins with /."
                )
            entry = found
        release()
        return entry

    def _walk(self, folder_id: str, place: Place) -> None:
        for item in _children(folder_id):
            path = place.path / item.name
            with self._reporting(path):
                if check_name(item.name) != item.name:
                    raise Conflict("This name is not kept as names are now. Rename it.")
                if item.kind == FOLDER:
                    self._folder(item, place)
                else:
                    self._file(item, place)
        os.fsync(place.fd)

    @contextmanager
    def _reporting(self, path: Path) -> Iterator[None]:
        """Turn what goes wrong with one path into a line of the report."""
        try:
            yield
        except (FilesError, StorageError, RaidError) as error:
            self.tally.failed.append(f"{printable(str(path))}: {error}")
        except OSError as error:
            line = f"{printable(str(path))}: {_reason(error)}"
            if error.errno in _HOPELESS:
                raise Stopped(line) from error
            self.tally.failed.append(line)

    def _folder(self, item: Item, above: Place) -> None:
        try:
            os.mkdir(item.name, dir_fd=above.fd)
            self.tally.folders += 1
        except FileExistsError:
            found = above.stat(item.name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise Conflict(
                    "Something that is no folder has this name in the target, so what "
                    "the folder holds was left out. Move it away, then export again."
                ) from None
        descriptor = os.open(item.name, _FOLDER, dir_fd=above.fd)
        with _closing(Place(descriptor, above.path / item.name)) as place:
            _take(above, os.fstat(descriptor))
            self._walk(item.id, place)
            _set_time(descriptor, item.changed_at)

    def _file(self, item: Item, place: Place) -> None:
        found = place.stat(item.name)
        if found is not None and self._is_there(item, place, found):
            self.tally.already += 1
            return
        temporary = f".holdfast-{secrets.token_hex(8)}.part"
        descriptor = os.open(temporary, _NEW, 0o666, dir_fd=place.fd)
        try:
            try:
                self._write(item, descriptor)
                _set_time(descriptor, item.changed_at)
                os.fsync(descriptor)
                facts = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            place.publish(temporary, item.name, replace=self._replace)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=place.fd)
            raise
        _take(place, facts)
        self.tally.files += 1
        self._progress(self.tally)

    def _is_there(self, item: Item, place: Place, found: os.stat_result) -> bool:
        """Tell whether nothing is to be done; raises when nothing may be."""
        if _identity(found) in place.made:
            _refuse_twin()
        if stat.S_ISDIR(found.st_mode):
            raise Conflict("A folder has this name in the target. Move it away.")
        wanted = (item.size, _nanoseconds(item.changed_at) // 1000)
        same = (found.st_size, found.st_mtime_ns // 1000) == wanted
        if stat.S_ISREG(found.st_mode) and same:
            place.made.add(_identity(found))
            return True
        if not self._replace:
            raise Conflict(
                "Something else has this name in the target and stays. "
                "Move it away, or export with --replace."
            )
        return False

    def _write(self, item: Item, descriptor: int) -> None:
        """Copy the bytes, each verified; the whole is compared with its SHA-256."""
        blob = db.session.get(blobs.Blob, item.blob_id, populate_existing=True)
        release()
        if blob is None:
            raise BlobGone
        hasher, size = hashlib.sha256(), 0
        for chunk in blobs.open_blob(blob).chunks():
            _write_all(descriptor, chunk)
            hasher.update(chunk)
            size += len(chunk)
            self.tally.bytes += len(chunk)
            self._progress(self.tally)
        if size != item.size or blob.sha256 not in (None, hasher.digest()):
            raise Conflict(
                "The bytes are whole, but they are not those whose size and SHA-256 "
                "were noted, so nothing was written. Ask for the file's other copies."
            )


def _children(folder_id: str) -> list[Item]:
    order = (Entry.kind, Entry.sort_key)
    found = db.session.execute(
        select(*_COLUMNS).where(Entry.parent_id == folder_id).order_by(*order)
    ).all()
    release()
    return list(found)


@contextmanager
def _closing(place: Place) -> Iterator[Place]:
    try:
        yield place
    finally:
        os.close(place.fd)


def _take(place: Place, facts: os.stat_result) -> None:
    """Note what was made of a name; two names for one thing would be mixed up."""
    if _identity(facts) in place.made:
        _refuse_twin()
    place.made.add(_identity(facts))


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _refuse_twin() -> NoReturn:
    raise Conflict(
        "The target takes this name for the same as another one of this folder. "
        "Export to a file system that tells them apart, or rename one of them."
    )


def _write_all(descriptor: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def _set_time(descriptor: int, moment: datetime) -> None:
    at = _nanoseconds(moment)
    os.utime(descriptor, ns=(at, at))


def _reason(error: OSError) -> str:
    if error.errno in (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ):
        return f"The target can't take this name ({error.strerror}). Rename it."
    return f"{error.strerror or error}."
