"""Health: local answers for load balancers, whatever members and database do."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from storage import health, migrate
from storage.db import db

Factory = Callable[..., Flask]


@pytest.fixture
def ready_app(app: Flask) -> Flask:
    """An application whose database says that it is of today."""
    with app.app_context():
        assert migrate.stored_version() == migrate.known_versions()[1]
    return app


def test_it_is_alive_for_any_host_without_a_session(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers={"Host": "10.0.0.10:8080"})
    assert answer.status_code == 200
    assert answer.json == {"status": "alive"}
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.sqlite
@pytest.mark.parametrize("host", ["a..b", "x" * 70, "-.-", "[", "a:b:c", ""])
def test_what_no_host_can_be_called_is_answered_too(
    ready_app: Flask, host: str
) -> None:
    client = ready_app.test_client()
    for path in ("/healthz", "/readyz"):
        assert client.get(path, headers={"Host": host}).status_code == 200
    refused = client.get("/auth/login", headers={"Host": "a..b"})
    assert refused.status_code == 400


def test_it_is_ready(ready_app: Flask) -> None:
    answer = ready_app.test_client().get("/readyz", headers={"Host": "10.0.0.10"})
    assert answer.status_code == 200, answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.sqlite
def test_it_stays_ready_without_members_and_database(
    ready_app: Flask, tmp_path: Path
) -> None:
    client = ready_app.test_client()
    assert client.get("/readyz").status_code == 200
    shutil.rmtree(tmp_path / "members")
    with ready_app.app_context():
        db.engine.dispose()
    for path in tmp_path.glob("holdfast.db*"):
        path.unlink()
    assert client.get("/readyz").status_code == 200
    assert client.get("/healthz").status_code == 200


@pytest.mark.sqlite
def test_it_is_not_ready_before_the_database_is_of_today(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    client = app.test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"status": "the database is not up to date"}


@pytest.mark.sqlite
def test_it_is_not_ready_on_a_full_disk(
    ready_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def full(path: Path) -> Any:
        asked.append(path)
        return shutil._ntuple_diskusage(100 << 30, 100 << 30, health.ROOM - 1)

    monkeypatch.setattr(health.shutil, "disk_usage", full)
    answer = ready_app.test_client().get("/readyz")
    assert asked == [ready_app.config["HOLDFAST"].data_dir]
    assert answer.status_code == 503
    assert answer.json == {"status": "the data folder is full"}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket that takes a single connection, and where it is."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "t.sock"))
        one.listen(0)
        yield f"unix:{tmp_path / 't.sock'}", one


def _ready_with(make_app: Factory, bind: str) -> tuple[int, Any]:
    app = make_app(TRANSFERS_BIND=bind)
    answer = app.test_client().get("/readyz")
    return answer.status_code, answer.json


@pytest.mark.sqlite
def test_it_is_ready_when_somebody_takes_transfers(
    ready_app: Flask, make_app: Factory, listening: tuple[str, socket.socket]
) -> None:
    bind, one = listening
    nobody = (503, {"status": "nobody takes uploads and downloads"})
    assert _ready_with(make_app, bind)[0] == 200
    # All threads may be busy, and the queue full: pages go on.
    assert _ready_with(make_app, bind)[0] == 200
    one.close()
    assert _ready_with(make_app, bind) == nobody
    Path(bind.removeprefix("unix:")).unlink()
    assert _ready_with(make_app, bind) == nobody


@pytest.mark.sqlite
def test_transfers_may_listen_on_a_port(ready_app: Flask, make_app: Factory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        bind = f"127.0.0.1:{one.getsockname()[1]}"
        assert _ready_with(make_app, bind)[0] == 200
    assert _ready_with(make_app, bind)[0] == 503


@pytest.mark.sqlite
def test_a_drain_is_seen_at_once_and_can_be_taken_back(ready_app: Flask) -> None:
    client, commands = ready_app.test_client(), ready_app.test_cli_runner()
    said = commands.invoke(args=["drain", "--wait", "0"])
    assert said.exit_code == 0, said.output
    assert "not ready" in said.output
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"status": "draining"})
    assert client.get("/healthz").status_code == 200
    assert client.get("/auth/login").status_code == 200
    said = commands.invoke(args=["drain", "--off"])
    assert "ready again" in said.output
    assert client.get("/readyz").status_code == 200


@pytest.mark.sqlite
def test_a_second_drain_waits_only_for_the_rest(
    ready_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stop the transfers drain, and then the pages."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    commands = ready_app.test_cli_runner()
    for going_on in (None, 10, 60):
        if going_on is not None:
            begun = time.time() - going_on
            os.utime(health.drain_file(ready_app), (begun, begun))
        said = commands.invoke(args=["drain", "--wait", "25"])
        assert said.exit_code == 0, said.output
    assert waited == [25, pytest.approx(15, abs=2), 0]


@pytest.mark.sqlite
def test_a_drain_that_can_not_be_written_says_so(
    ready_app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(health, "DRAINING", "none/draining")
    said = ready_app.test_cli_runner().invoke(args=["drain", "--wait", "0"])
    assert said.exit_code == 1
    assert f"{tmp_path / 'none/draining'} can't be written" in said.output
    assert "with its settings" in said.output
