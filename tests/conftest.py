"""What every test may ask for: an application on each database, and its people.

`app` is the whole application on SQLite and again on PostgreSQL (`@pytest.mark.sqlite`
and `@pytest.mark.postgresql` leave the other one out; the gate takes a quarter of those
on PostgreSQL, drawn anew each time, a soak takes all), `sqlite_app` the same on SQLite
only. Both have four members.
`client` is a stranger; `alice`, `bob` and `admin` are signed in to `app`.

Tests that take long (`tests/slow.txt`) are taken by one gate of ten, each drawn by
itself, and all of them by `make whole` and by whoever names one.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from support import database, slow
from support.people import PASSWORD, Person
from support.soak import DRAW, is_drawn

SLOW = {"docs", "web", "browser", "proof"}
"""Folders whose tests start servers, browsers and many processes."""
SLOW_FILES = {
    *("test_buckets", "test_bucket_faults", "test_bucket_machine"),
    *("test_bucket_recovery", "test_kept", "test_mixed", "test_strange_buckets"),
}
"""Files beside quick ones that talk to servers of buckets."""
CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers."""
    for kind in ("sqlite", "postgresql"):
        config.addinivalue_line("markers", f"{kind}: run with this database only")


def pytest_report_header() -> str:
    """Say how to have the same cases again."""
    return f"cases drawn with PROOF_DRAW={DRAW}"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Begin with what takes long, so that no process ends long after the others.

    Of those that take long, a gate takes some.
    """
    asked_for = any("::" in str(argument) for argument in config.args)
    named = frozenset() if asked_for else slow.named()
    out = [item for item in items if not _is_taken(item.nodeid, named)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]
    items.sort(key=lambda item: not _is_slow(item))


def _is_taken(nodeid: str, named: frozenset[str]) -> bool:
    return slow.function(nodeid) not in named or is_drawn(nodeid, slow.SHARE)


def _is_slow(item: pytest.Item) -> bool:
    return item.path.parent.name in SLOW or item.path.stem in SLOW_FILES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses `app` on both databases, unless it is marked."""
    if "database_kind" in metafunc.fixturenames:
        kinds = ["sqlite"]
        test = metafunc.definition
        if test.get_closest_marker("postgresql"):
            kinds = ["postgresql"]
        elif not test.get_closest_marker("sqlite") and is_drawn(test.nodeid, 0.25):
            kinds.append("postgresql")
        metafunc.parametrize("database_kind", kinds, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Count a skipped test as a failure where everything is installed."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Skipped, but nothing may be skipped in CI: {call.excinfo}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Hash with the least work: tests of the real parameters say so themselves."""
    from argon2 import PasswordHasher

    from auth import passwords

    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(passwords, "_hasher", cheap)
        patch.setattr(passwords, "_NOBODY", cheap.hash("nobody"))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[database.Postgres]:
    """A real PostgreSQL server for this process of tests."""
    server = database.Postgres()
    yield server
    server.stop()


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Name the database of this run."""
    return str(request.param)


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest
) -> Iterator[str | None]:
    """Give an address for DATABASE_URL; None is the file in the data folder."""
    if database_kind == "sqlite":
        yield None
        return
    folder = request.getfixturevalue("tmp_path")
    server = request.getfixturevalue("postgres")
    with server.database(lambda url: _make_tables(folder, url)) as url:
        yield url


def _make_tables(folder: Path, url: str) -> None:
    from app import create_app

    app = create_app(database.environment(folder, url))
    database.make_tables(app)
    database.close(app)


Factory = Callable[..., Flask]


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with tables and four members, to be copied and left alone."""
    folder = tmp_path_factory.mktemp("data")
    database.close(database.application(folder, None, {}))
    return folder


@pytest.fixture
def make_app(
    tmp_path: Path, database_url: str | None, data_folder: Path
) -> Iterator[Factory]:
    """Give a function that makes the application with other settings."""
    with database.factory(tmp_path, database_url, data_folder) as make:
        yield make


@pytest.fixture
def app(make_app: Factory) -> Flask:
    """The application with its default settings and four members."""
    return make_app()


@pytest.fixture
def sqlite_app(tmp_path: Path, data_folder: Path) -> Iterator[Flask]:
    """The same on SQLite only."""
    with database.factory(tmp_path, None, data_folder) as make:
        yield make()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody who is not signed in."""
    return app.test_client()


@pytest.fixture
def make_user(app: Flask) -> Callable[..., Person]:
    """Give a function that makes an account and signs it in."""

    def make(name: str, *, admin: bool = False) -> Person:
        from auth.services import create_user

        with app.app_context():
            create_user(name, PASSWORD, admin=admin)
        person = Person(app)
        assert person.log_in(name).status_code == 303
        return person

    return make


@pytest.fixture
def alice(make_user: Callable[..., Person]) -> Person:
    """Alice, signed in."""
    return make_user("alice")


@pytest.fixture
def bob(make_user: Callable[..., Person]) -> Person:
    """Bob, signed in."""
    return make_user("bob")


@pytest.fixture
def admin(make_user: Callable[..., Person]) -> Person:
    """An administrator, signed in."""
    return make_user("root", admin=True)


@pytest.fixture
def program() -> Callable[[str, str], str]:
    """Give a function that finds a program or skips, naming its Debian package."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed (Debian package {package})")
        return path

    return find
