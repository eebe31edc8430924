"""How Alembic reaches the database: through the application, in one transaction."""

from alembic import context

from storage.db import db


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
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        _sqlite_foreign_keys(connection, "ON")


def _sqlite_foreign_keys(connection, state: str) -> None:
    if connection.dialect.name == "sqlite":
        # On the driver's connection: inside a transaction the pragma does nothing.
        connection.connection.driver_connection.execute(f"PRAGMA foreign_keys={state}")


run()
