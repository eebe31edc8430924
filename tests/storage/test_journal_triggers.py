"""The triggers of a migrated database are those that the registry wants."""

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, text

from storage import migrate
from storage.db import db
from storage.journal import registry

# What the journal does not carry, because it follows from what it does carry.
DERIVED = {
    "users": {"used_bytes"},
    "entries": {"sort_key", "files", "folders", "bytes"},
    "blobs": {"at_risk", "damaged"},
}


def triggers(engine: Engine) -> dict[str, tuple[set[str], set[str]]]:
    """Return the events of each table's triggers, and the columns that they watch."""
    look = _of_sqlite if engine.dialect.name == "sqlite" else _of_postgresql
    with engine.connect() as connection:
        return look(connection)


def _of_sqlite(connection: Any) -> dict[str, tuple[set[str], set[str]]]:
    found: dict[str, tuple[set[str], set[str]]] = {}
    query = "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
    for table, sql in connection.execute(text(query)):
        events, columns = found.setdefault(table, (set(), set()))
        match = re.search(r"AFTER (INSERT|DELETE|UPDATE)(?: OF ([\w, ]+?))? ON ", sql)
        assert match is not None
        events.add(match[1])
        columns |= set((match[2] or "").split(", ")) - {""}
    return found


def _of_postgresql(connection: Any) -> dict[str, tuple[set[str], set[str]]]:
    found: dict[str, tuple[set[str], set[str]]] = {}
    query = "SELECT event_object_table, event_manipulation"
    for table, event in connection.execute(
        text(f"{query} FROM information_schema.triggers")
    ):
        found.setdefault(table, (set(), set()))[0].add(event)
    query = "SELECT event_object_table, event_object_column"
    for table, column in connection.execute(
        text(f"{query} FROM information_schema.triggered_update_columns")
    ):
        found[table][1].add(column)
    return found


def wanted() -> dict[str, tuple[set[str], set[str]]]:
    events = {"INSERT", "DELETE", "UPDATE"}
    return {one.name: (events, set(one.watched)) for one in registry.tables()}


def test_a_migrated_database_has_the_triggers_of_the_registry(app: Flask) -> None:
    with app.app_context():
        assert triggers(db.engine) == wanted()


@pytest.mark.sqlite
def test_every_column_is_carried_or_follows_from_others(app: Flask) -> None:
    tables = registry.tables()
    assert [one.name for one in tables] == ["blobs", "users", "entries"]
    for one in tables:
        assert set(one.columns) | DERIVED[one.name] == set(one.table.c.keys())
        assert not set(one.columns) & DERIVED[one.name]
        assert set(one.unwatched) <= set(one.columns)


@pytest.mark.sqlite
def test_what_is_not_carried_is_filled_in(app: Flask) -> None:
    rows = {"users": {}, "blobs": {}, "entries": {"name": "a10.txt"}}
    for one in registry.tables():
        complete = one.complete(rows[one.name])
        needed = {name for name in DERIVED[one.name] if not one.table.c[name].nullable}
        assert needed <= set(complete)


@pytest.mark.sqlite
def test_a_version_that_rebuilds_a_table_makes_its_triggers_anew(app: Flask) -> None:
    """A batch operation of SQLite drops them, so later versions call the helper."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    with app.app_context():
        script = ScriptDirectory(str(migrate.FOLDER)).get_revision("0003")
        with db.engine.begin() as connection:
            operations = MigrationContext.configure(connection)
            with Operations.context(operations) as op:
                with op.batch_alter_table("entries", recreate="always"):
                    pass
                assert "entries" not in _of_sqlite(connection)
                key, columns = script.module.WATCHED["entries"]
                script.module.make_triggers("entries", key, columns.split())
            assert _of_sqlite(connection) == wanted()
