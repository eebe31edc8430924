"""The version of the database: is it ours, and how it is brought up to date.

Two processes that migrate at once break each other, so there is a lock: a file lock
beside SQLite, an advisory lock in PostgreSQL. Alembic is heavy and is loaded only where
a database is brought up to date.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, current_app
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from storage.db import db

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
LOCK_SECONDS = 60.0
TABLE_SECONDS = 3.0
"""For so long a table may be waited for, and with it everybody who comes later."""
REST_SECONDS = 3.0
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL, appendix A
# Any number will do that other programs in the same database do not use.
_ADVISORY_LOCK = 0x686F6C64
_SEEN = "holdfast_current"


class DatabaseError(Exception):
    """The database can't be used as it is; the message says why and what to do."""


class DatabaseTooNew(DatabaseError):
    """A newer release has been here."""


class DatabaseTooOld(DatabaseError):
    """The database has to be brought up to date first."""


class DatabaseLocked(DatabaseError):
    """Another program holds the database."""


def known_versions() -> tuple[set[str], str | None]:
    """Return every version this release knows and the newest, without Alembic."""
    known: set[str] = set()
    parents: set[str] = set()
    for path in (FOLDER / "versions").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        known |= set(re.findall(r'^revision\b[^=]*= "(\w+)"', source, re.M))
        parents |= set(re.findall(r'^down_revision\b[^=]*= "(\w+)"', source, re.M))
    return known, next(iter(known - parents), None)


def stored_version() -> str | None:
    """Return the version of the database, or None when it is empty."""
    with db.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        rows = connection.execute(text("SELECT version_num FROM alembic_version"))
        return rows.scalar()


def _is_newer(version: str | None) -> bool:
    return version is not None and version not in known_versions()[0]


def _may_run_beside() -> bool:
    """Tell whether the newer release that was here lets this one go on.

    Versions are numbers of four digits, so their order is that of the texts.
    """
    with db.engine.connect() as connection:
        if not inspect(connection).has_table("oldest_beside"):
            return False
        oldest = connection.execute(text("SELECT version FROM oldest_beside")).scalar()
    return oldest is not None and str(oldest) <= str(known_versions()[1])


def refuse_newer() -> None:
    """Raise when a newer release has changed the database so that this can't go on."""
    version = stored_version()
    if _is_newer(version) and not _may_run_beside():
        raise DatabaseTooNew(
            f"The database has version {version}, which this release of Holdfast does "
            "not know: a newer one has been here. Nothing was changed. Start the newer "
            "release, or restore the database from before its update."
        )


def require_current() -> None:
    """Raise unless the database is at the version of this release."""
    refuse_newer()
    if not _fits(stored_version()):
        raise DatabaseTooOld(
            "The database is not up to date with this release of Holdfast. Start it "
            "once with: python app.py (or make run), which brings it up to date."
        )


def _fits(version: str | None) -> bool:
    """Tell whether a version is this release's, or a newer one."""
    known, newest = known_versions()
    return version is not None and (version == newest or version not in known)


def was_current() -> bool:
    """Say whether the database was found up to date once; later it is not asked."""
    seen = current_app.extensions
    if not seen.get(_SEEN):
        try:
            version = stored_version()
            fits = _fits(version)
            seen[_SEEN] = fits and (not _is_newer(version) or _may_run_beside())
        except DBAPIError:
            return False
    return bool(seen[_SEEN])


def upgrade(then: Callable[[], object] = lambda: None) -> None:
    """Bring the database up to date and do `then`, one process at a time."""
    with _alone():
        refuse_newer()
        if not _fits(stored_version()):
            _upgrade()
        then()


def _upgrade() -> None:
    from alembic import command
    from flask_migrate import Migrate

    migrate = Migrate(current_app, db, directory=str(FOLDER), render_as_batch=True)
    alembic = migrate.get_config()

    def attempt() -> bool:
        try:
            command.upgrade(alembic, "head")
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    _wait_for(attempt, _IN_USE, REST_SECONDS)


def be_impatient(connection: Connection) -> None:
    """Let a change of a table wait for little, until the transaction ends.

    It needs the table alone, and whoever wants it after that waits behind. Something
    that reads for long (a snapshot, a backup) would so stop the site for as long.
    """
    if connection.dialect.name == "postgresql":
        wait = f"SET LOCAL lock_timeout = {TABLE_SECONDS * 1000:.0f}"
        connection.execute(text(wait))


@contextmanager
def _alone() -> Iterator[None]:
    if db.engine.dialect.name == "sqlite":
        with _file_lock(Path(str(db.engine.url.database)).with_suffix(".lock")):
            yield
    else:
        with _server_lock():
            yield


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(lambda: _try_flock(handle))
        yield
    finally:
        os.close(handle)


def _try_flock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _server_lock() -> Iterator[None]:
    # A connection of its own: the lock lives as long as the connection.
    with db.engine.connect() as connection:
        lock = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=_ADVISORY_LOCK)
        _wait_for(lambda: bool(connection.scalar(lock)))
        connection.commit()
        try:
            yield
        finally:
            connection.invalidate()


_OTHER = "Another process has been bringing the database up to date"
_IN_USE = "Something has been reading tables that have to be changed"


def _wait_for(
    attempt: Callable[[], bool], what: str = _OTHER, rest: float = 0.1
) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while not attempt():
        if time.monotonic() > deadline:
            raise DatabaseLocked(
                f"{what} for over {LOCK_SECONDS:.0f} seconds. Nothing was changed. See "
                "what it does, then start again."
            )
        time.sleep(rest)


def init_app(app: Flask) -> None:
    """Give `flask db` what it needs; a web process does without Alembic."""
    if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        from flask_migrate import Migrate

        Migrate(app, db, directory=str(FOLDER), render_as_batch=True)
