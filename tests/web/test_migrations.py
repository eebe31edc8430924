"""Versions of the database: the same tables as the models, one upgrade at a time."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, inspect, text

from app import create_app
from deploy import parsers
from storage import migrate
from storage.db import db
from support import database
from support.people import Person


@pytest.fixture
def empty(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Flask]:
    """The application over a database without tables."""
    if database_kind == "sqlite":
        yield from _opened(tmp_path, None)
        return
    with request.getfixturevalue("postgres").empty_database() as url:
        yield from _opened(tmp_path, url)


def _opened(folder: Path, url: str | None) -> Iterator[Flask]:
    app = create_app(database.environment(folder, url))
    with app.app_context():
        yield app
    database.close(app)


def schema(engine: Engine) -> dict[str, Any]:
    """Describe every table, in an order of its own."""
    inspector = inspect(engine)
    tables = set(inspector.get_table_names()) - {"alembic_version"}
    return {
        table: {
            "columns": {
                column["name"]: (
                    str(column["type"]),
                    column["nullable"],
                    str(column["default"]),
                )
                for column in inspector.get_columns(table)
            },
            "key": inspector.get_pk_constraint(table),
            "foreign": _sorted(inspector.get_foreign_keys(table)),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "indexes": _sorted(inspector.get_indexes(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
        }
        for table in sorted(tables)
    }


def _sorted(things: Any) -> list[str]:
    return sorted(_plain(thing) for thing in things)


def _plain(thing: Any) -> str:
    if isinstance(thing, dict):
        return str(sorted((key, _plain(value)) for key, value in thing.items()))
    return str(thing)


def test_the_versions_make_the_tables_of_the_models(empty: Flask) -> None:
    migrate.upgrade()
    by_versions = schema(db.engine)
    with db.engine.begin() as connection:
        db.metadata.drop_all(connection)
    db.create_all()
    by_models = schema(db.engine)
    assert by_versions.keys() == by_models.keys()
    for table, description in by_models.items():
        assert by_versions[table] == description, table


def test_nothing_is_left_to_migrate(empty: Flask) -> None:
    """Alembic itself sees no difference: a changed model needs a new version."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrate.upgrade()
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []


def test_a_second_upgrade_changes_nothing(empty: Flask) -> None:
    migrate.upgrade()
    before = schema(db.engine)
    migrate.upgrade()
    assert schema(db.engine) == before
    assert migrate.stored_version() == migrate.known_versions()[1]
    migrate.require_current()


def test_an_empty_database_is_too_old(empty: Flask) -> None:
    with pytest.raises(migrate.DatabaseTooOld, match="make run"):
        migrate.require_current()


def test_a_newer_database_is_left_alone(empty: Flask) -> None:
    migrate.upgrade()
    before = schema(db.engine)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
        connection.execute(text("UPDATE oldest_beside SET version = 'ffff'"))
    for act in (migrate.upgrade, migrate.require_current, migrate.refuse_newer):
        with pytest.raises(migrate.DatabaseTooNew, match="a newer one has been here"):
            act()
    assert schema(db.engine) == before
    assert migrate.stored_version() == "ffff"


def test_a_newer_one_that_says_so_may_be_here(empty: Flask) -> None:
    """Expand: instances of this release go on, and start, beside those of the next."""
    migrate.upgrade()
    newest = migrate.known_versions()[1]
    with db.engine.begin() as connection:
        assert connection.execute(OLDEST).scalar() == newest
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
    migrate.upgrade()
    migrate.require_current()
    empty.extensions.pop(migrate._SEEN, None)
    assert migrate.was_current()
    assert migrate.stored_version() == "ffff"
    with db.engine.begin() as connection:  # contract: now it may not any more
        connection.execute(text("UPDATE oldest_beside SET version = '9999'"))
    empty.extensions.pop(migrate._SEEN, None)
    assert not migrate.was_current()
    with pytest.raises(migrate.DatabaseTooNew):
        migrate.require_current()


OLDEST = text("SELECT version FROM oldest_beside")
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0999"
down_revision = "{newest}"
oldest_beside = "{oldest}"


def upgrade() -> None:
    op.create_table("of_the_next", sa.Column("id", sa.Integer(), primary_key=True))
    with op.batch_alter_table("login_sessions") as batch:
        batch.add_column(sa.Column("of_the_next", sa.String(20)))
"""


@pytest.fixture
def before(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Flask]:
    """This release at work, over a database of its own."""
    if database_kind == "sqlite":
        yield from _working(tmp_path, None)
        return
    with request.getfixturevalue("postgres").empty_database() as url:
        yield from _working(tmp_path, url)


def _working(folder: Path, url: str | None) -> Iterator[Flask]:
    app = database.application(folder, url, {})
    yield app
    database.close(app)


def _next_release(folder: Path, patch: pytest.MonkeyPatch, *, expands: bool) -> None:
    """Let upgrades be those of the next release."""
    newest = str(migrate.known_versions()[1])
    shutil.copytree(migrate.FOLDER, folder)
    text_of = NEXT.format(newest=newest, oldest=newest if expands else "0999")
    (folder / "versions" / "0999_the_next.py").write_text(text_of)
    patch.setattr(migrate, "FOLDER", folder)


@pytest.mark.parametrize("expands", [True, False])
def test_two_releases_side_by_side(
    before: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expands: bool
) -> None:
    """The next release brings the database up to date under one that runs."""
    alice = Person(before)
    assert alice.register("alice").status_code == 303
    token = alice.token("/files/")
    page = alice.get("/files/").text
    root = page.partition('data-folder-id="')[2].partition('"')[0]
    folders = f"/files/folder/{root}/folders"
    assert alice.ask(folders, token, name="before").status_code == 201
    with monkeypatch.context() as patch:
        _next_release(tmp_path / "next", patch, expands=expands)
        with before.app_context():
            migrate.upgrade()
            assert migrate.stored_version() == "0999"
            assert migrate.was_current()
    # The one that runs goes on, whatever the next has done.
    assert alice.ask(folders, token, name="while").status_code == 201
    path = f"/files/folder/{root}/while.txt"
    headers = {"X-CSRFToken": token}
    assert alice.send("PUT", path, data=b"x", headers=headers).status_code == 201
    assert "while.txt" in alice.get("/files/").text
    before.extensions.pop(migrate._SEEN, None)
    with before.app_context():
        if expands:
            migrate.require_current()  # and another one of it may start
        else:
            with pytest.raises(migrate.DatabaseTooNew):
                migrate.require_current()
    ready = before.test_client().get("/readyz").status_code
    assert ready == (200 if expands else 503)


@pytest.mark.postgresql
def test_who_reads_for_long_does_not_stop_the_site_for_an_upgrade(
    before: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a little and rests, so that those behind it get their turn."""
    monkeypatch.setattr(migrate, "TABLE_SECONDS", 0.2)
    monkeypatch.setattr(migrate, "REST_SECONDS", 0.5)
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 1.0)
    _next_release(tmp_path / "next", monkeypatch, expands=True)
    look = text("SELECT count(*) FROM login_sessions")
    rests: list[float] = []

    def others(seconds: float) -> None:
        with db.engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 5000"))
            connection.execute(look)
        rests.append(seconds)
        time_sleep(seconds)

    time_sleep = migrate.time.sleep
    monkeypatch.setattr(migrate.time, "sleep", others)
    with before.app_context():
        newest = migrate.stored_version()
        with db.engine.connect() as reader:
            reader.execute(look)
            with pytest.raises(migrate.DatabaseLocked, match="Something has been read"):
                migrate.upgrade()
        assert rests
        assert set(rests) == {0.5}
        assert migrate.stored_version() == newest
        migrate.upgrade()
        assert migrate.stored_version() == "0999"


def test_each_version_says_who_may_run_beside_it(
    before: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that forgot to would leave the word of the version before."""
    _next_release(tmp_path / "next", monkeypatch, expands=True)
    file = tmp_path / "next" / "versions" / "0999_the_next.py"
    file.write_text(file.read_text().replace("oldest_beside", "_"))
    with before.app_context(), pytest.raises(ValueError, match="does not say"):
        migrate.upgrade()


@pytest.mark.sqlite
def test_it_waits_for_another_upgrade_and_then_says_so(
    empty: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0.3)
    with migrate._alone(), pytest.raises(migrate.DatabaseLocked, match="Nothing was"):
        migrate.upgrade()
    migrate.upgrade()


def test_the_lock_is_let_go_of(empty: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0.3)
    for _ in range(2):
        with migrate._alone():
            pass


CODE = """
from app import create_app
from storage import migrate
app = create_app()
with app.app_context():
    migrate.upgrade()
print("done")
"""


def test_four_at_once_all_come_through(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Without the lock one of four dies with a table that exists already."""
    if database_kind == "sqlite":
        _four(database.environment(tmp_path))
        return
    with request.getfixturevalue("postgres").empty_database() as url:
        _four(database.environment(tmp_path, url))


def _four(environ: dict[str, str]) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", CODE],
            cwd=parsers.ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for starter in starters:
        out, err = starter.communicate(timeout=100)
        assert out.strip() == "done", err


def test_there_is_one_newest_version() -> None:
    known, newest = migrate.known_versions()
    assert newest in known
