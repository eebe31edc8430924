"""What one file costs in rows and bytes: measured, not guessed.

`benchmarks.scale` prints it. Everything goes through the program's own services into a
fresh SQLite or PostgreSQL.
"""

import os
import time
import tracemalloc
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, select, text

from benchmarks.common import KIB, MIB
from support import database
from support.arrays import Body
from support.people import PASSWORD

TABLES = ("entries", "blobs")
"""The tables that have a row for each file when all is at rest."""

MEMBERS = 4
FOLDER_FILES = 100


def person() -> tuple[int, str]:
    from auth.services import create_user
    from files import services

    user = create_user("ann", PASSWORD, admin=True)
    return user.id, services.root(user.id).id


def upload(user: int, folder: str, name: str, size: int) -> tuple[str, UUID]:
    from files import uploads
    from files.models import Entry
    from storage.db import db

    body = Body(os.urandom(min(size, MIB)) * max(1, size // MIB))
    answer = uploads.upload(user, folder, uploads.Offer(name, size), body)
    entry = db.session.get_one(Entry, answer.body["id"])
    assert entry.blob_id is not None
    return entry.id, entry.blob_id


def settle() -> None:
    """Write the journal, as the worker does."""
    from storage.journal import exporter
    from storage.runtime import runtime

    exporter.run(runtime().array())


def sweep_around(blob: UUID) -> None:
    """Sweep the first byte of a blob, one of the 256 parts of a whole sweep."""
    from storage.jobs.runner import Claim
    from storage.jobs.sweep import Sweep
    from storage.runtime import runtime

    ours = str(blob.bytes[0])
    claim = Claim(0, "sweep", "", None, None, {}, ours, {}, fresh=False, until=0.0)
    step = Sweep().step(claim, runtime().array())
    assert step.objects == 1 and not step.report


@dataclass
class Sizes:
    """What the files of a database take; all but the rates are by file."""

    rows: dict[str, float]
    bytes: dict[str, float]
    """Of the database, by table, with its indexes."""
    payload: float
    """Of both tables and their indexes, what rows and keys hold; 0 on PostgreSQL."""
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
    from storage.models import JournalEntry

    user, top = person()
    few = files // 10
    _fill(user, top, range(few))
    bytes_before, rows_before, held_before = _bytes(), _rows(), _payload()
    _fill(user, top, range(few, files))
    more = files - few
    gained = {
        table: (size - bytes_before.get(table, 0)) / more
        for table, size in _bytes().items()
    }
    held = (_payload() - held_before) / more
    rows = {table: (n - rows_before[table]) / more for table, n in _rows().items()}
    entries = _journal(JournalEntry.snapshot.is_(False))
    seconds = _snapshot()
    taken = _journal(JournalEntry.snapshot)
    settle()
    return Sizes(
        rows={table: n for table, n in rows.items() if n >= 0.5},
        bytes={table: gained[table] for table in TABLES},
        payload=held,
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
        upload(user, folder, f"Report {number:06d} of the year.pdf", KIB)
    settle()


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


_PAYLOAD = """
SELECT sum(s.payload) FROM dbstat s JOIN sqlite_master m ON m.name = s.name
WHERE m.tbl_name IN ('entries', 'blobs') AND s.pagetype = 'leaf'
"""


def _payload() -> int:
    from storage.db import db

    if db.engine.dialect.name != "sqlite":
        return 0
    with db.engine.connect() as connection:
        return int(connection.scalar(text(_PAYLOAD)) or 0)


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
            sweep_around(UUID(int=0))
            return tracemalloc.get_traced_memory()[1] / listed
        finally:
            tracemalloc.stop()
