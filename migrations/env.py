"""How Alembic reaches the database: through the application, in one transaction."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from storage import migrate
from storage.db import UTCDateTime, db


def run() -> None:
    """Apply the versions; a version that fails leaves the database as it was."""
    engine = db.engine
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
        # Batch operations rebuild a table, which foreign keys would take for a loss.
        _sqlite_foreign_keys(connection, "OFF")
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=True,
            compare_type=True,
            render_item=_render,
        )
        with context.begin_transaction():
            migrate.be_impatient(connection)
            context.run_migrations()
            _note_oldest(connection)
        connection.commit()
        _sqlite_foreign_keys(connection, "ON")


def _note_oldest(connection: Connection) -> None:
    """Write down which releases may run beside the one of this version."""
    version = context.get_context().get_current_revision()
    script = context.script.get_revision(version) if version else None
    oldest = getattr(script.module, "oldest_beside", None) if script else None
    if version and version > "0003" and oldest is None:
        raise ValueError(f"Version {version} does not say which is its oldest_beside.")
    if oldest is not None:
        connection.execute(text("DELETE FROM oldest_beside"))
        row = {"version": oldest}
        connection.execute(text("INSERT INTO oldest_beside VALUES (1, :version)"), row)


def _render(kind: str, item: Any, _: object) -> str | bool:
    """Write types of ours by what they are: a version must not change with them."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _sqlite_foreign_keys(connection: Connection, state: str) -> None:
    if connection.dialect.name == "sqlite":
        # On the driver's connection: inside a transaction the pragma does nothing.
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA foreign_keys={state}")


run()
