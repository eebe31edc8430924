"""kill -9 of a whole host with its database, over uploads through Nginx.

What `tests/web/test_kill.py` does to a launcher and SQLite, done to the units of a host
and to PostgreSQL, which dies before or after them. Nothing that was acknowledged goes.
"""

import hashlib
import random
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.instance import Instance
from support.nginx import needs_nginx
from support.postgres import Postgres
from support.site import Beneath
from support.soak import FACTOR
from support.uploaders import Uploader, interrupted, nothing_leaked, quota_is_exact

ROUNDS = 100 if FACTOR > 1 else 1
CLIENTS = 8 if FACTOR > 1 else 4
READY_SECONDS = 5.0
SEED = random.randrange(1 << 30)
WIDTH = 4
pytestmark = pytest.mark.timeout(180 + 30 * ROUNDS)


class Host(Beneath):
    """Nginx, two pools, a worker, PostgreSQL and four disks."""

    def __init__(self, folder: Path) -> None:
        self.members = [folder / f"d{slot}" for slot in range(WIDTH)]
        for member in self.members:
            member.mkdir()
        self.postgres = Postgres()
        settings = {
            "DATABASE_URL": self.postgres.url(),
            "ARRAY_MEMBERS": " ".join(member.as_uri() for member in self.members),
            "SHARED_FILE_SYSTEM": "yes",
            "PURGE_GRACE_SECONDS": "0",
        }
        self.instance = Instance(folder / "i", settings)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL."""
        return self.postgres.ask(sql.replace("?", "%s"), *values)

    def kill(self, *, database_first: bool) -> None:
        """End every process of it, the database's too."""
        ends = [self.instance.kill, self.postgres.kill]
        for end in reversed(ends) if database_first else ends:
            end()

    def start(self) -> float:
        """Start all of it; give the seconds until it is ready."""
        begun = time.monotonic()
        self.postgres.start()
        self.instance.start()
        return time.monotonic() - begun

    def close(self) -> None:
        """End all of it for good."""
        self.instance.kill()
        self.postgres.close()


@pytest.fixture
def host(short_path: Path) -> Iterator[Host]:
    needs_nginx()
    one = Host(short_path)
    try:
        one.instance.start()
        yield one
    finally:
        one.close()


def test_a_killed_host_loses_nothing_acknowledged(host: Host) -> None:
    """R5, with the database and Nginx: I-1, I-2, I-3, I-6 after every kill."""
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    uploaders = [
        Uploader(Client(host.instance.url).register(f"person-{number}"))
        for number in range(CLIENTS)
    ]
    for one in uploaders:  # the first request makes what the others find
        one.person.put(one.person.root(), "first", b"").expect(201)
        one.promised["first"] = hashlib.sha256(b"").hexdigest()
    files, starts = 0, []
    for number in range(ROUNDS):
        kill = partial(host.kill, database_first=dice.random() < 0.5)
        interrupted(uploaders, SEED + number, dice.uniform(0.2, 1.5), kill)
        starts.append(host.start())
        files = sum(one.check() for one in uploaders)
        quota_is_exact(host, uploaders)
    nothing_leaked(host)
    assert sum(one.check() for one in uploaders) == files >= CLIENTS
    assert host.postgres.recoveries() == ROUNDS
    print(
        f"{ROUNDS} hosts killed with their database, {files} files, none lost; ready "
        f"after {statistics.median(starts):.1f} s, at most {max(starts):.1f} s"
    )
    if FACTOR > 1:  # beside other tests nobody knows
        assert max(starts) <= READY_SECONDS
