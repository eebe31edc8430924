"""A full disk under SQLite for a running server: no page may be added any more.

The server is started with a `sitecustomize` of ours, which makes every connection ask a
file of the test before it gives a cursor. The product knows nothing of this. SQLite
itself then says "database or disk is full", at the very place where it needs a page.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from support.faults import TESTS

_MOST = 1_073_741_823
_SITE = """import sys
sys.path.append({tests!r})
from support import sqlitefaults
sqlitefaults.install({flag!r})
"""


class FullDisk:
    """The test's side: fill the disk, and free it again."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.site.mkdir(parents=True)
        self._flag = folder / "full"
        script = _SITE.format(tests=str(TESTS), flag=str(self._flag))
        (self.site / "sitecustomize.py").write_text(script)

    @property
    def environment(self) -> dict[str, str]:
        """What the server's environment needs."""
        return {"PYTHONPATH": str(self.site)}

    def fill(self) -> None:
        """Let no database grow by another page."""
        self._flag.touch()

    def free(self) -> None:
        """Let them grow again."""
        self._flag.unlink(missing_ok=True)


def install(flag: str) -> None:
    """Called by the server's `sitecustomize`: watch every connection to SQLite."""
    path = Path(flag)

    class Watched(sqlite3.Connection):
        def cursor(self, *arguments: Any, **named: Any) -> sqlite3.Cursor:
            pages = 1 if path.exists() else _MOST
            super().execute(f"PRAGMA max_page_count={pages}")
            return super().cursor(*arguments, **named)

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return real(*arguments, **{"factory": Watched, **named})

    real = sqlite3.connect
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


class Pages:
    """The file of a database, page by page; what is spoilt can be put back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._true: dict[int, bytes] = {}
        with closing(sqlite3.connect(path, timeout=30)) as database:
            # What lies in the journal would hide the pages of the file.
            busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            assert not busy
            self.size = database.execute("PRAGMA page_size").fetchone()[0]
            found = database.execute("SELECT name, rootpage FROM sqlite_master")
            self._roots = {row[0]: row[1] for row in found if row[1]}

    def all(self) -> range:
        """The numbers of all pages but the first, which is a matter of its own."""
        return range(2, self.path.stat().st_size // self.size + 1)

    def root(self, table: str) -> int:
        """The first page of a table."""
        return self._roots[table]

    def spoil(self, numbers: Iterable[int]) -> None:
        """Overwrite pages; the first byte is one that no page begins with."""
        with self.path.open("r+b", buffering=0) as file:
            for number in numbers:
                file.seek((number - 1) * self.size)
                self._true[number] = file.read(self.size)
                file.seek((number - 1) * self.size)
                file.write(self._junk())

    def repair(self) -> None:
        """Put back the pages that nobody has written since."""
        with self.path.open("r+b", buffering=0) as file:
            for number, true in self._true.items():
                file.seek((number - 1) * self.size)
                if file.read(self.size) == self._junk():
                    file.seek((number - 1) * self.size)
                    file.write(true)
        self._true = {}

    def _junk(self) -> bytes:
        return b"\xff" * self.size
