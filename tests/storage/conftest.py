"""The storage of an application, without threads that would look over our shoulder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from flask import Flask

from storage import watch
from storage.members.calls import SystemCalls
from support import buckets
from support.faultproxy import FaultProxy, faultproxy
from support.store import Store


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "threads: with the threads of storage.watch")


@pytest.fixture
def calm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test decide when members are looked at, and be quick.

    A megabyte is several segments, and the machine keeps what it is given in its
    memory: nothing here pulls the plug.
    """
    if "threads" not in request.keywords:
        monkeypatch.setattr(watch, "start", lambda own: None)
    monkeypatch.setattr("raid.halves.HALF", 512 * 1024)
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give boto3 the keys of the test servers, and nothing of this machine's."""
    buckets.give_credentials(monkeypatch)


@pytest.fixture(scope="session")
def moto() -> Iterator[buckets.S3Server]:
    """An S3 server that honours If-None-Match and checks nothing else."""
    with buckets.moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[buckets.S3Server]:
    """An S3 server that checks what it gets and ignores If-None-Match."""
    with buckets.rclone() as server:
        yield server


@pytest.fixture(scope="module")
def proxies() -> Iterator[Callable[[buckets.S3Server], FaultProxy]]:
    """Give a function that returns the proxy before a server; credentials hold."""
    with ExitStack() as stack:
        buckets.give_credentials(stack.enter_context(pytest.MonkeyPatch.context()))

        @cache
        def make(server: buckets.S3Server) -> FaultProxy:
            return stack.enter_context(faultproxy(server.endpoint))

        yield make


@pytest.fixture
def store(calm: None, app: Flask) -> Iterator[Store]:
    """The storage of the application over four members, RAID-5."""
    with app.app_context():
        yield Store(app)


@pytest.fixture
def make_store(
    calm: None, make_app: Callable[..., Flask]
) -> Iterator[Callable[..., Store]]:
    """Give a function that makes the storage with other settings."""
    with ExitStack() as stack:

        def make(width: int = 4, *, members: bool = True, **settings: str) -> Store:
            urls = " ".join(f"file:members/{slot}" for slot in range(width))
            app = make_app(members=members, ARRAY_MEMBERS=urls, **settings)
            stack.enter_context(app.app_context())
            return Store(app)

        yield make
