"""What one file costs in rows, bytes of the database and requests: counted, not guessed.

`benchmarks.scale` prints it. Everything goes through the program's own services: four
buckets on a real server for the requests, a fresh SQLite or PostgreSQL for the rows.
"""

import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, event, func, select, text

from benchmarks.common import KIB, MIB
from benchmarks.servers import use_test_keys
from support import database
from support.arrays import Body
from support.between import Between, between
from support.buckets import moto
from support.people import PASSWORD

SIZES = {"inline": 1 * KIB, "combined": 300 * KIB, "segmented": 10 * MIB}
"""A file of each form; the last has two segments, the first of them of 9 MiB."""

MEMBERS = 4
FOLDER_FILES = 100


@dataclass
class Cost:
    """What one act asked of the buckets and of the database."""

    requests: Counter[str] = field(default_factory=Counter)
    statements: int = 0
    transactions: int = 0

    def said(self) -> str:
        """Return the requests in words: 16 PUT, 4 DELETE."""
        parts = sorted(self.requests.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{number} {word}" for word, number in parts) or "-"


@contextmanager
def _counted(way: Between) -> Iterator[Cost]:
    """Count what goes on inside of the block.

    Looking whether a bucket is there costs the same with no file at all, so only what
    is asked about files counts.
    """
    from storage.db import db

    cost = Cost()

    def statement(*_: Any) -> None:
        cost.statements += 1

    def commit(_: Any) -> None:
        cost.transactions += 1

    way.log.clear()
    event.listen(db.engine, "before_cursor_execute", statement)
    event.listen(db.engine, "commit", commit)
    try:
        yield cost
    finally:
        event.remove(db.engine, "before_cursor_execute", statement)
        event.remove(db.engine, "commit", commit)
    for one in list(way.log):
        asked = unquote(one.path)
        if "/o/" in asked or "/t/" in asked:
            cost.requests[one.operation.removesuffix(" object")] += 1


def costs(folder: Path) -> dict[str, dict[str, Cost]]:
    """Return, by form and act, what a file costs over four buckets in RAID-5."""
    use_test_keys()
    with moto() as server, between(server.endpoint) as way:
        urls = [
            f"s3://{server.bucket()}/m?endpoint={way.endpoint}" for _ in range(MEMBERS)
        ]
        settings = {"ARRAY_MEMBERS": " ".join(urls), "PURGE_GRACE_SECONDS": "0"}
        app = database.application(folder, None, settings)
        try:
            with app.app_context():
                return _costs(way)
        finally:
            database.close(app)


def _costs(way: Between) -> dict[str, dict[str, Cost]]:
    user, top = _person()
    # The first file proves what the servers honour; a later one costs what all cost.
    entry, _ = _upload(user, top, "first", 400 * KIB)
    _purge(user, entry)
    return {form: _life(way, user, top, form, size) for form, size in SIZES.items()}


def _life(
    way: Between, user: int, top: str, form: str, size: int
) -> dict[str, Cost]:
    from storage import blobs
    from storage.db import db
    from storage.models import Blob

    found: dict[str, Cost] = {}
    with _counted(way) as found["upload"]:
        entry, blob = _upload(user, top, form, size)
    _settle()
    with _counted(way) as found["download"]:
        _forget_manifests()
        row = db.session.get_one(Blob, blob)
        got = sum(map(len, blobs.open_blob(row).chunks()))
        assert got == size
    with _counted(way) as found["scrub"]:
        _forget_manifests()
        _job("scrub", {"mode": "check"})
    with _counted(way) as found["sweep"]:
        _forget_manifests()
        _sweep_around(blob)
    with _counted(way) as found["purge"]:
        _purge(user, entry)
    assert db.session.get(Blob, blob) is None
    return found


def _purge(user: int, entry: str) -> None:
    from files import trash
    from storage import purge
    from storage.runtime import runtime

    trash.trash(user, [entry])
    trash.purge(user, [entry])
    assert purge.run(runtime().array()) == 1


def _forget_manifests() -> None:
    from storage.manifests import ManifestCache
    from storage.runtime import runtime

    runtime().manifests = ManifestCache()


def _job(kind: str, params: dict[str, Any]) -> None:
    from storage.db import db, transaction
    from storage.jobs import runner, table
    from storage.models import Job, JobKind, JobState
    from storage.runtime import runtime

    with transaction() as session:
        number = table.add(session, JobKind(kind), params=params)
    while True:
        runner.run_step(runtime().array(), number)
        db.session.expire_all()
        state = db.session.get_one(Job, number).state
        if state not in (JobState.QUEUED, JobState.RUNNING):
            assert state == JobState.DONE, state
            return


def _sweep_around(blob: UUID) -> None:
    """Sweep the first byte of a blob, one of the 256 parts of a whole sweep."""
    from storage.jobs.runner import Claim
    from storage.jobs.sweep import Sweep
    from storage.runtime import runtime

    ours = str(blob.bytes[0])
    claim = Claim(0, "sweep", "", None, None, {}, ours, {}, fresh=False, until=0.0)
    step = Sweep().step(claim, runtime().array())
    assert step.objects == 1 and not step.report


def _person() -> tuple[int, str]:
    from auth.services import create_user
    from files import services

    user = create_user("ann", PASSWORD, admin=True)
    return user.id, services.root(user.id).id


def _upload(user: int, folder: str, name: str, size: int) -> tuple[str, UUID]:
    from files import uploads
    from files.models import Entry
    from storage.db import db

    body = Body(os.urandom(min(size, MIB)) * max(1, size // MIB))
    answer = uploads.upload(user, folder, uploads.Offer(name, size), body)
    entry = db.session.get_one(Entry, answer.body["id"])
    assert entry.blob_id is not None
    return entry.id, entry.blob_id


def _settle() -> None:
    """Write the journal, as the worker does."""
    from storage.journal import exporter
    from storage.runtime import runtime

    exporter.run(runtime().array())


# -- rows and bytes ----------------------------------------------------------------


@dataclass
class Sizes:
    """What the files of a database take; all but the rates are by file."""

    rows: dict[str, float]
    bytes: dict[str, float]
    """Of the database, by table, with its indexes."""
    snapshot: float
    """Bytes in a snapshot of the journal, as stored."""
    entry: float
    """Bytes in the journal between snapshots: a file that is new."""
    rate: float
    """Files a second that went into the snapshot."""
    sweep: float
    """Bytes of memory in a sweep, for each object that it lists at once."""


def sizes(folder: Path, url: str | None, files: int) -> Sizes:
    """Fill a database with files through the services and measure what they take.

    The first tenth is not measured: what is there without any file is in it. All uuids
    begin with the byte 0, so that one part of a sweep meets all of them.
    """
    from storage.members.calls import SystemCalls

    names = (uuid4().bytes for _ in count())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemCalls, "fsync", lambda *_: None)
        patch.setattr(
            "storage.uploads.uuid4", lambda: UUID(bytes=b"\0" + next(names)[1:])
        )
        app = database.application(folder, url, {})
        try:
            with app.app_context():
                return _sizes(files)
        finally:
            database.close(app)


def _sizes(files: int) -> Sizes:
    from storage.db import db
    from storage.models import JournalEntry

    user, top = _person()
    few = files // 10
    _fill(user, top, range(few))
    bytes_before, rows_before = _bytes(), _rows()
    _fill(user, top, range(few, files))
    more = files - few
    gained = {
        table: (size - bytes_before.get(table, 0)) / more
        for table, size in _bytes().items()
    }
    rows = {table: (n - rows_before[table]) / more for table, n in _rows().items()}
    entries = _journal(JournalEntry.snapshot.is_(False))
    seconds = _snapshot()
    taken = _journal(JournalEntry.snapshot)
    _settle()
    return Sizes(
        rows={table: n for table, n in rows.items() if n >= 0.5},
        bytes={table: gained[table] for table in ("entries", "blobs")},
        snapshot=taken / files,
        entry=entries / files,
        rate=files / seconds,
        sweep=_sweep_memory(),
    )


def _fill(user: int, top: str, numbers: range) -> None:
    """Store files as people do, in folders of a hundred; the worker follows."""
    from files import services

    folder = top
    for number in numbers:
        if number % FOLDER_FILES == 0 or folder == top:
            made = services.create_folder(user, top, f"Folder {number}")
            folder = made.id
        _upload(user, folder, f"Report {number:06d} of the year.pdf", KIB)
    _settle()


def _tables() -> list[str]:
    from storage.db import db

    return [table.name for table in db.metadata.sorted_tables]


def _rows() -> dict[str, int]:
    from storage.db import db

    found = {
        table: db.session.scalar(text(f"SELECT count(*) FROM {table}")) or 0
        for table in _tables()
    }
    db.session.commit()
    return found


_OF_SQLITE = """
SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name
GROUP BY m.tbl_name
"""
_OF_POSTGRESQL = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


def _bytes() -> dict[str, int]:
    """Return what each table takes with its indexes, cleaned as the server does it."""
    from storage.db import db

    lite = db.engine.dialect.name == "sqlite"
    with db.engine.connect().execution_options(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        if not lite:
            connection.execute(text("VACUUM"))
        found = connection.execute(text(_OF_SQLITE if lite else _OF_POSTGRESQL))
        return {row[0]: row[1] for row in found}


def _journal(which: Any) -> int:
    from storage.db import db
    from storage.models import JournalEntry

    size = func.coalesce(func.sum(func.length(JournalEntry.data)), 0)
    return int(db.session.scalar(select(size).where(which)) or 0)


def _snapshot() -> float:
    """Take a snapshot and nothing else; return how many seconds that took."""
    from storage.db import db, transaction
    from storage.journal import snapshots
    from storage.models import JournalEntry

    with transaction() as session:
        session.execute(delete(JournalEntry).where(JournalEntry.snapshot))
    db.session.commit()
    begun = time.perf_counter()
    assert snapshots.take()
    return time.perf_counter() - begun


def _sweep_memory() -> float:
    from storage.runtime import runtime

    slots = range(MEMBERS)
    with ExitStack() as stack:
        listed = 0
        for slot in slots:
            member = stack.enter_context(runtime().array().using(slot))
            listed += sum(1 for _ in member.list("o/00/"))
        tracemalloc.start()
        try:
            _sweep_around(UUID(int=0))
            return tracemalloc.get_traced_memory()[1] / listed
        finally:
            tracemalloc.stop()
