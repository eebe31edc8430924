"""The database: one way to write, snapshots that end, and times in UTC."""

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    OperationalError,
    StatementError,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import NullPool

from app import DATABASE_AWAY
from storage import db as module
from storage.db import UTCDateTime, db, engine_options, release, transaction
from support.sqlitefaults import Pages


class Note(module.Base):
    """A table of these tests."""

    __tablename__ = "test_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    at: Mapped[datetime | None] = mapped_column(UTCDateTime)


# The models of the application must not know it, nor the migrations.
module.Base.metadata.remove(Note.__table__)  # type: ignore[arg-type]


@pytest.fixture
def notes(database_url: str | None, tmp_path: Path) -> Iterator[Flask]:
    """A bare application with the table of notes."""
    url = database_url or f"sqlite:///{tmp_path}/notes.db"

    class Settings:
        pass

    settings = Settings()
    settings.database_url = url  # type: ignore[attr-defined]
    app = Flask("notes")
    app.config["HOLDFAST"] = settings
    module.init_app(app)
    with app.app_context():
        Note.__table__.create(db.engine)  # type: ignore[attr-defined]
        yield app
        db.session.remove()
        db.engine.dispose()


def count() -> int:
    return db.session.query(Note).count()


def test_a_block_that_ends_well_is_kept(notes: Flask) -> None:
    with transaction() as session:
        session.add(Note(text="a"))
    assert count() == 1


def test_a_block_that_raises_is_undone(notes: Flask) -> None:
    with pytest.raises(ZeroDivisionError), transaction() as session:
        session.add(Note(text="a"))
        session.flush()
        raise ZeroDivisionError
    assert count() == 0
    with transaction() as session:
        session.add(Note(text="b"))
    assert count() == 1


def test_blocks_do_not_nest(notes: Flask) -> None:
    with transaction(), pytest.raises(RuntimeError, match="open already"):  # noqa: SIM117
        with transaction():
            pass


def test_a_write_outside_is_refused(notes: Flask) -> None:
    db.session.add(Note(text="a"))
    with pytest.raises(RuntimeError, match="inside"):
        db.session.flush()
    db.session.rollback()
    assert count() == 0


def test_a_change_before_the_block_is_not_lost_silently(notes: Flask) -> None:
    db.session.add(Note(text="a"))
    with pytest.raises(RuntimeError, match="before"), transaction():
        pass
    db.session.rollback()


def test_a_block_sees_what_others_wrote_meanwhile(notes: Flask) -> None:
    with transaction() as session:
        session.add(Note(id=1, text="old"))
    seen = db.session.get(Note, 1)
    assert seen is not None
    _elsewhere(db.engine, "UPDATE test_notes SET text = 'new' WHERE id = 1")
    with transaction():
        assert seen.text == "new"


def _elsewhere(engine: Engine, statement: str) -> None:
    other = create_engine(engine.url, poolclass=NullPool)
    with other.begin() as connection:
        connection.execute(text(statement))
    other.dispose()


def test_release_ends_the_snapshot_and_keeps_what_was_loaded(notes: Flask) -> None:
    with transaction() as session:
        session.add(Note(id=1, text="old"))
    release()
    row = db.session.get(Note, 1)
    assert row is not None
    assert db.session().in_transaction()
    release()
    assert row.text == "old"
    assert not db.session().in_transaction()
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_transaction_cannot_be_let_go_of(notes: Flask) -> None:
    with transaction(), pytest.raises(RuntimeError, match="while it is written"):
        release()


def test_two_writers_add_up(notes: Flask) -> None:
    """Read, change, write from four threads: nothing is lost on either database."""
    with transaction() as session:
        session.add(Note(id=1, text="0"))
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with notes.app_context():
                for _ in range(10):
                    with transaction() as session:
                        row = session.get_one(Note, 1, with_for_update=True)
                        row.text = str(int(row.text) + 1)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    release()
    db.session.expire_all()
    assert db.session.get_one(Note, 1).text == "40"


def test_times_come_back_in_utc(notes: Flask) -> None:
    moment = datetime(2026, 11, 5, 12, 0, 0, 123456, timezone(timedelta(hours=2)))
    with transaction() as session:
        session.add(Note(id=1, text="a", at=moment))
        session.add(Note(id=2, text="b"))
    release()
    db.session.expire_all()
    back = db.session.get_one(Note, 1).at
    assert back == moment
    assert back is not None
    assert back.tzinfo is UTC
    assert db.session.get_one(Note, 2).at is None


def test_a_time_without_a_zone_is_a_mistake(notes: Flask) -> None:
    with (
        pytest.raises(StatementError, match="without a zone"),
        transaction() as session,
    ):
        session.add(Note(text="a", at=datetime(2026, 1, 1)))


def test_errors_do_not_repeat_what_was_stored(notes: Flask) -> None:
    with transaction() as session:
        session.add(Note(id=1, text="a"))
    with pytest.raises(Exception) as caught, transaction() as session:
        session.add(Note(id=1, text="canary"))
    assert "canary" not in str(caught.value)


def test_addresses_tell_how_to_connect() -> None:
    assert "pool_pre_ping" not in engine_options("sqlite:////x")
    assert engine_options("postgresql+psycopg://x/y")["pool_pre_ping"] is True


def test_a_server_that_vanished_is_noticed_before_a_balancer_gives_up() -> None:
    told = engine_options("postgresql+psycopg://x/y")["connect_args"]
    silence = told["keepalives_interval"] * told["keepalives_count"]
    assert told["keepalives_idle"] + silence <= 30
    assert told["tcp_user_timeout"] <= 30_000
    assert told["connect_timeout"] <= 5


# -- SQLite alone


@pytest.mark.sqlite
def test_sqlite_is_set_to_be_durable(notes: Flask) -> None:
    with db.engine.connect() as connection:
        ask = lambda name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # noqa: E731
        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2
        assert ask("foreign_keys") == 1
        assert ask("busy_timeout") == 10_000


@pytest.mark.sqlite
def test_a_writer_takes_the_lock_at_once(
    notes: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = create_engine(
        db.engine.url, poolclass=NullPool, connect_args={"timeout": 0}
    )
    module.watch(other)
    monkeypatch.setattr(module, "_PRAGMAS", ("busy_timeout=0",))
    with transaction(), pytest.raises(OperationalError, match="locked"):  # noqa: SIM117
        with other.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
            connection.exec_driver_sql("SELECT 1")
    # A reader is let in all the while.
    with transaction(), other.connect() as connection:
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM test_notes").scalar() == 0
        )
    other.dispose()


@pytest.mark.sqlite
def test_a_page_that_was_bad_is_read_again(notes: Flask, tmp_path: Path) -> None:
    """SQLite keeps what it has read, so a connection that met it must go."""
    with transaction() as session:
        session.add(Note(text="a"))
    db.session.remove()
    db.engine.dispose()
    pages = Pages(tmp_path / "notes.db")
    pages.spoil([pages.root("test_notes")])
    with (
        pytest.raises(DatabaseError, match="malformed") as met,
        transaction() as session,
    ):
        session.add(Note(text="b"))
    pages.repair()
    # The error is alive and with it the cursor, which must not keep the lock.
    assert met.value.__traceback__
    with transaction() as session:
        session.add(Note(text="c"))
    assert count() == 2


# -- PostgreSQL alone


@pytest.mark.postgresql
def test_who_falls_silent_loses_the_turn(
    notes: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that stands still in a transaction holds the others up for little."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.5)
    kept: list[str] = []

    def follow() -> None:
        with notes.app_context(), transaction() as session:
            module.take_turn(session, "x")
            session.add(Note(text="b"))
        kept.append("b")

    other = threading.Thread(target=follow)
    with pytest.raises(DBAPIError) as met, transaction() as session:
        module.take_turn(session, "x")
        session.add(Note(text="a"))
        session.flush()
        other.start()
        other.join(20)
        assert kept == ["b"]
        count()
    assert met.value.connection_invalidated
    assert isinstance(met.value, DATABASE_AWAY)
    release()
    assert db.session.query(Note.text).all() == [("b",)]


@pytest.mark.postgresql
def test_who_works_in_a_turn_keeps_it(
    notes: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is silence, and once the turn is over there is time again."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.5)
    with transaction() as session:
        module.take_turn(session, "x")
        session.execute(text("SELECT pg_sleep(1)"))
        session.add(Note(text="a"))
    with transaction() as session:
        time.sleep(1)
        session.add(Note(text="b"))
    assert count() == 2


@pytest.mark.postgresql
def test_the_server_lets_go_of_an_instance_that_is_gone(notes: Flask) -> None:
    with db.engine.connect() as connection:
        ask = "SHOW idle_in_transaction_session_timeout"
        assert connection.exec_driver_sql(ask).scalar() == "10min"
    # Set by the same statement; over a socket of Unix they say nothing.
    told = dict(re.findall(r"keepalives_(\w+) = (\d+)", module._ON_THE_SERVER))
    silence = int(told["interval"]) * int(told["count"])
    assert int(told["idle"]) + silence <= 30
