"""Whole trees from this machine's disks into a user's folders.

It can be stopped and started again: what is there already with the same size and time
is passed over. Links and special files are left out, and names that can't be kept are
reported; everything else goes in.
"""

import mimetypes
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Row, select

from files import services, uploads
from files.errors import BadName, Conflict, FilesError, OverQuota
from files.models import FILE, FOLDER, Entry
from files.names import check_name, printable
from storage.db import db, release
from storage.errors import RaidError, StorageError

There = Row[str, int, int, datetime, str]
Known = dict[str, There]


@dataclass
class Tally:
    """What happened so far."""

    files: int = 0
    bytes: int = 0
    folders: int = 0
    already: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Stopped(Exception):
    """There is no point in going on; the message says why."""


class DiskFile:
    """A file of this machine as a source: exactly the bytes that it had at first."""

    def __init__(self, stream: BinaryIO, size: int, notice: Callable[[int], None]):
        self._stream = stream
        self._left = size
        self._notice = notice

    def readinto(self, view: memoryview) -> int:
        """Fill the view; raises when the file grew or shrank meanwhile."""
        count = self._stream.readinto(view)  # type: ignore[attr-defined]
        self._left -= count
        if self._left < 0 or (count == 0 and self._left):
            raise Conflict("The file changed while it was read. Import it again.")
        self._notice(count)
        return int(count)


class Importer:
    """One run over a tree, for one user."""

    def __init__(
        self,
        user_id: int,
        *,
        replace: bool = False,
        progress: Callable[[Tally], None] = lambda _tally: None,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.tally = Tally()
        self._user_id = user_id
        self._taken = uploads.Taken.REPLACE if replace else uploads.Taken.REFUSE
        self._progress = progress
        self._report = report

    def run(self, source: Path, into: str = "") -> Tally:
        """Bring in what `source` holds, below the folder named by the path `into`."""
        folder_id = services.root(self._user_id).id
        for name in filter(None, into.split("/")):
            folder_id = self._folder(
                folder_id, check_name(name), self._known(folder_id)
            )
        self._walk(source, folder_id)
        return self.tally

    def _walk(self, source: Path, folder_id: str) -> None:
        known = self._known(folder_id)
        seen: set[str] = set()
        for item in self._items(source):
            path = Path(item.path)
            with self._reporting(path):
                kind = item.stat(follow_symlinks=False).st_mode
                if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
                    self._skip(path, kind)
                    continue
                name = check_name(item.name)
                if name in seen:
                    raise BadName(
                        "Another name in this folder is the same letters, composed "
                        "differently. Rename one of them."
                    )
                seen.add(name)
                if stat.S_ISDIR(kind):
                    below = self._folder(folder_id, name, known)
                    self._walk(path, below)
                else:
                    self._file(path, folder_id, name, known.get(name))

    def _items(self, source: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(source) as found:
                return sorted(found, key=lambda item: os.fsencode(item.name))
        except OSError as error:
            self._fail(source, f"{error.strerror or error}.")
            return []

    @contextmanager
    def _reporting(self, path: Path) -> Iterator[None]:
        """Turn what goes wrong with one path into a line of the report."""
        try:
            yield
        except (OverQuota, StorageError, RaidError) as error:
            raise Stopped(f"{printable(str(path))}: {error}") from error
        except FilesError as error:
            self._fail(path, str(error))
        except OSError as error:
            self._fail(path, f"{error.strerror or error}.")

    def _fail(self, path: Path, reason: str) -> None:
        line = f"{printable(str(path))}: {reason}"
        self.tally.failed.append(line)
        self._report(line)

    def _skip(self, path: Path, mode: int) -> None:
        what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
        line = f"{printable(str(path))}: left out, it is {what}."
        self.tally.skipped.append(line)
        self._report(line)

    def _known(self, folder_id: str) -> Known:
        columns = select(Entry.id, Entry.kind, Entry.size, Entry.changed_at, Entry.name)
        rows = db.session.execute(columns.where(Entry.parent_id == folder_id)).all()
        release()
        return {row.name: row for row in rows}

    def _folder(self, parent_id: str, name: str, known: Known) -> str:
        there = known.get(name)
        if there is not None and there.kind == FOLDER:
            return str(there.id)
        made = services.create_folder(self._user_id, parent_id, name)
        self.tally.folders += 1
        return made.id

    def _file(self, path: Path, folder_id: str, name: str, there: There | None) -> None:
        with _opened(path) as (stream, facts):
            changed_at = datetime.fromtimestamp(facts.st_mtime_ns // 1000 / 1e6, UTC)
            if there is not None and self._same(there, facts.st_size, changed_at):
                self.tally.already += 1
                return
            offer = uploads.Offer(
                name=name,
                size=facts.st_size,
                media_type=mimetypes.guess_type(name)[0],
                taken=self._taken,
                changed_at=changed_at,
            )
            source = DiskFile(stream, facts.st_size, self._notice)
            uploads.upload(self._user_id, folder_id, offer, source)
        self.tally.files += 1
        self._progress(self.tally)

    @staticmethod
    def _same(there: There, size: int, changed_at: datetime) -> bool:
        return (there.kind, there.size, there.changed_at) == (FILE, size, changed_at)

    def _notice(self, count: int) -> None:
        self.tally.bytes += count
        self._progress(self.tally)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a regular file and nothing that was put in its place meanwhile."""
    # NONBLOCK: a pipe that appears under the name must not hold the import up.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Conflict("This was a file a moment ago and is none now.")
        yield stream, facts
