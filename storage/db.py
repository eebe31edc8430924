"""The database: one handle, one way to write, and times that are always UTC.

Reading starts a transaction by itself and sees one snapshot; `release` ends it. Writing
happens inside `transaction()` and nowhere else: on SQLite it takes the write lock at
once, because a reader that turns into a writer half-way is refused by SQLite when
somebody else wrote in between.
"""

import hashlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Connection, DateTime, Dialect, MetaData, event, func, select
from sqlalchemy.engine import Engine, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session
from sqlalchemy.types import TypeDecorator

BUSY_SECONDS = 10
CROWDED_SECONDS = 10.0
"""How long a request waits for a place among the connections that PostgreSQL allows."""
_CROWDED = ("too many clients", "too many connections", "slots are reserved")
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_SECONDS * 1000}",
)
# A server that lost its power says nothing. Without these, whoever waits for its answer
# waits for hours; with them for half a minute, and a failover can go on.
_KEEP_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
HOLD_SECONDS = 20.0
"""For so long whoever has a turn may say nothing; then the server gives it on."""
# The same in the other direction: an instance that lost its power says nothing either,
# and neither it nor one that was stopped in a transaction may keep its rows for ever.
_ON_THE_SERVER = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; "
    "SET tcp_keepalives_count = 4; "
    "SET idle_in_transaction_session_timeout = '10min'"
)
_WRITING = "holdfast_writing"
_LOG = logging.getLogger("holdfast.db")
# SQLite lets one writer in, and the others sleep ever longer before they look again.
# Threads of this process queue here instead, so that the next one goes on at once.
_queue = threading.Lock()


class Base(DeclarativeBase):
    """The base of every table; constraints get names so that they can be migrated."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# Objects stay usable after a commit: a page shows what it just wrote without asking
# again, and a download that let go of its transaction does not silently begin another.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})


class UTCDateTime(TypeDecorator[datetime]):
    """A moment: takes aware datetimes only, and gives them back in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Turn an aware moment into UTC (without its zone for SQLite)."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone can't be stored.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
    ) -> datetime | None:
        """Give the moment back in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


def utcnow() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


@contextmanager
def transaction(
    *, one_snapshot: bool = False
) -> Iterator[scoped_session[FlaskSession]]:
    """Write: commit when the block ends well, undo everything when it raises.

    What was read before is read afresh inside the block. Blocks do not nest, because
    the inner one could not promise that its rows are durable when it ends. With
    `one_snapshot` all reads of the block see the rows of one moment, also where the
    database would let each see its own; then a change by others in between is an
    error that `lost_a_race` knows.
    """
    session = db.session
    if session.info.get(_WRITING):
        raise RuntimeError("A transaction is open already; pass its session on.")
    if session.new or session.deleted or any(map(session.is_modified, session.dirty)):
        raise RuntimeError("Rows were changed before storage.db.transaction() began.")
    session.rollback()
    session.expire_all()
    # The identity of the session is fixed here, so that the flag is cleared even if
    # the block leaves the application context it started in.
    own = session()
    own.info[_WRITING] = True
    try:
        with _turn(own):
            try:
                _begin(own, one_snapshot)
                yield session
                own.commit()
            except BaseException:
                own.rollback()
                raise
    finally:
        own.info.pop(_WRITING, None)


@contextmanager
def _turn(session: Session) -> Iterator[None]:
    """Wait for the other writers of this process where only one can write."""
    alone = session.get_bind().dialect.name == "sqlite"
    # Whoever waited in vain meets the lock of the database, and its clear error.
    got = alone and _queue.acquire(timeout=BUSY_SECONDS)
    try:
        yield
    finally:
        if got:
            _queue.release()


def _begin(session: Session, one_snapshot: bool) -> None:
    options = {"sqlite_begin": "IMMEDIATE"}
    if one_snapshot:
        options |= snapshot_options(session.get_bind().dialect)
    session.connection(execution_options=options)


def snapshot_options(dialect: Dialect) -> dict[str, str]:
    """Return what a connection needs to read the rows of one moment."""
    # A transaction of SQLite always does.
    return {} if dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}


def lost_a_race(error: DBAPIError) -> bool:
    """Tell whether a transaction failed only because another one came first."""
    return getattr(error.orig, "sqlstate", None) == "40001"


def take_turn(session: Session | scoped_session[Any], name: str) -> None:
    """Wait for those who asked for a name before, until their transactions end.

    PostgreSQL has its waiters for a row look for the newest version of it each time
    that it is changed, and whoever comes later can be there first; for a name they
    queue. SQLite has one writer anyway. All instances wait for the one whose turn it
    is: when it falls silent, its transaction ends, and its next statement fails.
    """
    if session.get_bind().dialect.name == "postgresql":
        raw = hashlib.sha256(name.encode()).digest()[:8]
        number = int.from_bytes(raw, "big", signed=True)
        hold = f"{HOLD_SECONDS * 1000:.0f}"
        session.execute(
            select(
                func.pg_advisory_xact_lock(number),
                func.set_config("idle_in_transaction_session_timeout", hold, True),
            )
        )


@contextmanager
def snapshot() -> Iterator[Connection]:
    """Read several tables as they were at one moment, on either database."""
    with db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def release() -> None:
    """End the read transaction, so that no snapshot is held while bytes are streamed.

    Objects that were loaded keep what they know.
    """
    if db.session.info.get(_WRITING):
        raise RuntimeError("A transaction can't be let go of while it is written.")
    db.session.commit()


def _refuse_stray_writes(session: Session, *_: object) -> None:
    if not session.info.get(_WRITING):
        raise RuntimeError("Rows are written inside storage.db.transaction() only.")


event.listen(db.session, "before_flush", _refuse_stray_writes)


def _prepare_sqlite(connection: Any, _: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    # The driver would begin transactions by its own rules; `_emit_begin` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _limit_silence(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        return
    with connection.cursor() as cursor:
        cursor.execute(_ON_THE_SERVER)
    connection.commit()


def _emit_begin(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _drop_if_damaged(context: ExceptionContext) -> None:
    """Let go of a connection that met a page of SQLite that makes no sense.

    It keeps the pages that it has read: the disk may give back the right one at the
    next try, and this connection would never look. It is rolled back first, because
    Python can't close it, nor give up its lock, while a cursor of it is about.
    """
    if type(context.original_exception) is not sqlite3.DatabaseError:
        return
    if context.connection is not None:
        # What can't even be rolled back is closed all the same.
        with suppress(sqlite3.Error):
            context.connection.connection.rollback()
    context.is_disconnect = True
    context.invalidate_pool_on_disconnect = False


def _connect_when_there_is_room(
    dialect: Dialect, _: object, arguments: list[Any], named: dict[str, Any]
) -> Any:
    """Connect, and wait for a place where others have taken all of them.

    libpq has no code for a refused connection, only the server's words (those of
    PostgreSQL's `postinit.c` and `proc.c`); in another language nobody waits.
    """
    ends = time.monotonic() + CROWDED_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **named)
        except dialect.loaded_dbapi.OperationalError as error:
            crowded = any(words in str(error) for words in _CROWDED)
            if not crowded or time.monotonic() > ends:
                raise
        time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - so that they don't meet


def engine_options(url: str) -> dict[str, Any]:
    """Return how to connect to the database at `url`."""
    options: dict[str, Any] = {
        # What is kept open while idle is taken from the other instances.
        "pool_size": 8,
        "max_overflow": 56,
        # An error's text goes to the log, and parameters can be secrets.
        "hide_parameters": True,
    }
    if make_url(url).get_backend_name() == "sqlite":
        return {**options, "connect_args": {"timeout": BUSY_SECONDS}}
    connect = {"connect_timeout": 5, "application_name": "holdfast", **_KEEP_ALIVE}
    return {**options, "pool_pre_ping": True, "connect_args": connect}


def watch(engine: Engine) -> None:
    """Make every connection of `engine` follow the rules of this module."""
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", _limit_silence)
    event.listen(engine, "begin", _emit_begin)
    event.listen(engine, "do_connect", _connect_when_there_is_room)
    event.listen(engine, "handle_error", _drop_if_damaged)


def abandon() -> None:
    """Let go of the session, whatever has become of its connection.

    A connection that was cut can't even be rolled back, and that would turn an answer
    which is ready, and right, into an error.
    """
    try:
        db.session.remove()
    except DBAPIError as error:
        _LOG.warning("A connection to the database was lost: %s", error.orig)
        db.session().invalidate()
        db.session.remove()


def init_app(app: Flask) -> None:
    """Bind the database named in the settings; nothing is opened yet."""
    url = app.config["HOLDFAST"].database_url
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url)
    db.init_app(app)
    # It runs before the extension's own, which then finds nothing to do.
    app.teardown_appcontext(lambda _: abandon())
    with app.app_context():
        for engine in db.engines.values():
            watch(engine)
