"""The storage of an application, without threads that would look over our shoulder."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

import storage.db
from storage.members.calls import SystemCalls
from storage.runtime import Runtime
from support.store import Store


@pytest.fixture(autouse=True)
def _no_threads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let tests decide when members are looked at; one test has the real threads."""
    if "threads" not in request.keywords:
        monkeypatch.setattr(Runtime, "start", lambda self: None)


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "threads: with the threads of the runtime")


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a megabyte be several segments."""
    monkeypatch.setattr("raid.writer.HALF", 512 * 1024)


@pytest.fixture(autouse=True)
def _quick_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine keep what it is given in its memory: no test pulls the plug."""
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)
    pragmas = (*storage.db._PRAGMAS, "synchronous=OFF")
    monkeypatch.setattr(storage.db, "_PRAGMAS", pragmas)


@pytest.fixture
def store(app: Flask) -> Iterator[Store]:
    """The storage of the application over four members, RAID-5."""
    with app.app_context():
        yield Store(app)


@pytest.fixture
def make_store(make_app: Callable[..., Flask]) -> Iterator[Callable[..., Store]]:
    """Give a function that makes the storage with other settings."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(width: int = 4, **settings: str) -> Store:
            urls = " ".join(f"file:members/{slot}" for slot in range(width))
            app = make_app(ARRAY_MEMBERS=urls, **settings)
            stack.enter_context(app.app_context())
            return Store(app)

        yield make
