"""A whole site for a test: a real server over four member folders, and its people."""

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.client import Client
from support.server import Server

BLOB = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
UUIDS = "SELECT uuid FROM blobs"


class Beneath:
    """What lies under a site whose members are folders, and what its database says."""

    members: list[Path]

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database directly, with a question mark for each value."""
        raise NotImplementedError

    def used(self, name: str) -> int:
        """How many bytes somebody's quota counts."""
        return self.query("SELECT used_bytes FROM users WHERE name = ?", name)[0][0]

    def objects(self, member: Path | None = None) -> set[str]:
        """Every object of a blob on the members, as `d0/o/aa/...`."""
        found = set()
        for root in [member] if member else self.members:
            for kind in ("o", "t"):
                for path in (root / kind).rglob("*"):
                    if path.is_file():
                        found.add(f"{root.name}/{path.relative_to(root)}")
        return found

    def temporary(self) -> list[Path]:
        """Whatever lies in the members' folders for temporary files."""
        places = [member / "tmp" for member in self.members]
        return [path for place in places for path in place.rglob("*") if path.is_file()]

    def orphans(self) -> set[str]:
        """Objects whose blob the database does not know, neither live nor going."""
        known = {str(row[0]).replace("-", "") for row in self.query(UUIDS)}
        strangers = set()
        for name in self.objects():
            match = BLOB.search(name)
            if match is None or match[0].replace("-", "") not in known:
                strangers.add(name)
        return strangers

    def owed(self) -> int:
        """How many objects the members are owed, all together."""
        return self.query("SELECT count(*) FROM debts")[0][0]


class Site(Beneath):
    """The server, where its bytes lie, and clients that use it."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str] | None = None,
        width: int = 4,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.members = [folder / f"d{slot}" for slot in range(width)]
        for member in self.members:
            member.mkdir(parents=True, exist_ok=True)
        urls = " ".join(member.as_uri() for member in self.members)
        known = {"ARRAY_MEMBERS": urls} | (settings or {})
        self.data = folder / "data"
        self.server = Server(self.data, known, environment=environment or {})
        self._people: dict[str, Client] = {}

    def __enter__(self) -> "Site":
        self.server.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.server.stop()

    @property
    def url(self) -> str:
        """Where the site answers."""
        return self.server.url

    @property
    def port(self) -> int:
        """The port of the site."""
        return self.server.port

    def client(self) -> Client:
        """Somebody without a session."""
        return Client(self.url)

    def person(self, name: str) -> Client:
        """Somebody with an account, registered when first asked for."""
        if name not in self._people:
            self._people[name] = self.client().register(name)
        return self._people[name]

    # -- looking underneath

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database directly, with a question mark for each value."""
        path = next(self.data.glob("*.sqlite*"), None) or next(self.data.glob("*.db"))
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
            rows = database.execute(sql, values).fetchall()
        database.close()
        return rows

    def log_lines(self) -> list[dict[str, Any]]:
        """Every structured line that the server wrote."""
        lines = self.server.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def status(self) -> dict[str, Any]:
        """`flask array status --json`."""
        return json.loads(self.server.flask("array", "status", "--json"))


def until(
    check: Callable[[], Any], seconds: float = 30, every: float = 0.1, what: str = ""
) -> Any:
    """Wait for something to come true, and say what did not."""
    end = time.monotonic() + seconds
    while not (value := check()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or check}")
        time.sleep(every)
    return value


def resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
