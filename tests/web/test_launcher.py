"""The launcher: one command that serves, restarts what dies, and ends cleanly."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine

from deploy import parsers
from support.client import Client
from support.database import Postgres, environment
from support.server import Server, ServerError, free_port

pytestmark = pytest.mark.sqlite
PREPARE = [sys.executable, "-m", "deploy.prepare"]


def prepare(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the preparation alone."""
    settings = {"BIND": f"127.0.0.1:{free_port()}", **settings}
    environ = {k: v for k, v in environment(folder, **settings).items() if v}
    return subprocess.run(
        PREPARE,
        cwd=parsers.ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def until(check: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- preparing


def test_an_empty_machine_becomes_ready_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    first = prepare(folder, SECRET_KEY="")
    assert first.returncode == 0, first.stderr
    assert "user create NAME --admin" in first.stdout
    assert "Holdfast is at http://127.0.0.1:" in first.stdout
    assert mode(folder) == 0o700
    key = folder / "secret_key"
    assert mode(key) == 0o600
    assert mode(folder / "holdfast.db") == 0o600
    supers = sorted(folder.glob("members/*/superblock.*"))
    assert len(supers) == 4
    before = (key.read_text(), [path.read_bytes() for path in supers])
    assert len(before[0].strip()) >= 43
    second = prepare(folder, SECRET_KEY="")
    assert second.returncode == 0, second.stderr
    assert (key.read_text(), [path.read_bytes() for path in supers]) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = prepare(tmp_path / "file" / "data")
    assert done.returncode == 1
    assert "can't be made" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = prepare(tmp_path, BIND=f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "Another program may use it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "holdfast.db").exists()


def test_a_taken_socket_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "sock"))
        taken.listen()
        done = prepare(tmp_path / "data", BIND=f"unix:{tmp_path}/sock")
    assert done.returncode == 1
    assert "Another program listens on" in done.stderr


def test_bad_settings_are_sentences(tmp_path: Path) -> None:
    done = prepare(tmp_path, TRASH_DAY="3", REGISTRATION="invite")
    assert done.returncode == 2
    assert "Did you mean HOLDFAST_TRASH_DAYS?" in done.stderr
    assert "not built yet" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_locked_database_is_a_sentence(tmp_path: Path) -> None:
    """The lock is held by another program for longer than SQLite waits."""
    with sqlite3.connect(tmp_path / "holdfast.db", isolation_level=None) as held:
        held.execute("BEGIN EXCLUSIVE")
        done = prepare(tmp_path)
        held.execute("ROLLBACK")
    held.close()
    assert done.returncode == 1
    assert "locked by another program" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_newer_database_is_a_sentence(tmp_path: Path) -> None:
    assert prepare(tmp_path).returncode == 0
    engine = create_engine(f"sqlite:///{tmp_path}/holdfast.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ffff'")
        connection.exec_driver_sql("UPDATE oldest_beside SET version = 'ffff'")
    engine.dispose()
    done = prepare(tmp_path)
    assert done.returncode == 1
    assert "a newer one has been here" in done.stderr
    assert "Traceback" not in done.stderr


def test_members_that_hold_something_are_not_formatted(tmp_path: Path) -> None:
    place = tmp_path / "members" / "2"
    place.mkdir(parents=True)
    (place / "photo.jpg").write_bytes(b"not ours")
    done = prepare(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert (place / "photo.jpg").read_bytes() == b"not ours"
    assert not list(tmp_path.glob("members/*/superblock.*"))


# -- serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests only look at."""
    with Server(tmp_path_factory.mktemp("launched") / "data") as server:
        yield server


def test_it_serves_and_ends_cleanly(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    family = server.family()
    assert len(family) >= 3
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20
    assert not [process for process in family if process.is_running()]
    assert "Holdfast is ending." in server.tail()


def test_ctrl_c_ends_it_quickly(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    family = server.family()
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(15) == 0
    until(lambda: not any(process.is_running() for process in family), 5)


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        site, worker = server.gunicorn_pid(), server.worker_pid()
        os.kill(site, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(site) and not psutil.pid_exists(worker))
        until(lambda: len(psutil.Process(server.pid).children()) == 2)
        server.wait_ready()
        assert server.gunicorn_pid() != site
        assert server.worker_pid() != worker
        assert "starts again in 1 s" in server.tail(400)


def test_gunicorn_never_starts_the_worker(server: Server) -> None:
    children = psutil.Process(server.gunicorn_pid()).children(recursive=True)
    assert all("worker" not in child.cmdline()[-1] for child in children)
    assert len(children) == 1


def test_nothing_outlives_a_killed_launcher(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    family = server.family()
    os.kill(server.pid, signal.SIGKILL)
    assert server.process is not None
    server.process.wait()
    until(lambda: not any(_lives(process) for process in family), 40)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_every_line_of_the_site_is_json(server: Server) -> None:
    until(lambda: '"route": "/readyz"' in server.tail(400))
    lines = server.log.read_text().splitlines()
    parsed = [json.loads(line) for line in lines if line.startswith("{")]
    assert {line["logger"] for line in parsed} >= {"gunicorn.error", "holdfast.request"}
    plain = [line for line in lines if not line.startswith("{")]
    assert all(line.startswith(("Holdfast is", "To make")) for line in plain), plain


def gunicorn(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start gunicorn without the launcher; it has to refuse."""
    folder.mkdir()
    environ = environment(folder, BIND=f"127.0.0.1:{free_port()}", **settings)
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"],
        cwd=parsers.ROOT,
        env={"PATH": os.environ["PATH"], **{k: v for k, v in environ.items() if v}},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_gunicorn_alone_refuses_a_database_that_is_not_of_today(tmp_path: Path) -> None:
    done = gunicorn(tmp_path / "data")
    assert done.returncode != 0
    assert "not up to date" in done.stderr


def test_gunicorn_alone_refuses_to_serve_without_a_key(tmp_path: Path) -> None:
    done = gunicorn(tmp_path / "data", SECRET_KEY="")
    assert done.returncode != 0
    assert "There is no secret key yet" in done.stderr


def test_the_tests_own_server_says_why_it_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="Did you mean"):
        Server(tmp_path / "data", {"TRASH_DAY": "1"}).start()


def test_the_same_on_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    """Launcher, site and worker over a server, from an empty database to a file."""
    with postgres.empty_database() as url:
        settings = {"DATABASE_URL": url, "SHARED_FILE_SYSTEM": "yes"}
        with Server(tmp_path / "data", settings) as server:
            alice = Client(server.url).register("alice")
            stored = alice.put(alice.root(), "a.txt", b"kelp" * 50_000)
            assert stored.status == 201
            assert alice.download(stored.json["id"]).body == b"kelp" * 50_000
            assert not (tmp_path / "data" / "holdfast.db").exists()
            server.restart()
            assert alice.download(stored.json["id"]).body == b"kelp" * 50_000


# -- limits that gunicorn holds (H9)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"X-%d: y\r\n" % number for number in range(150))
            + b"\r\n",
            b"431",
        ),
    ],
    ids=["long address", "many headers"],
)
def test_what_is_too_long_is_refused(
    server: Server, request_head: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(request_head)
        answer = client.recv(65536)
    assert answer.split()[1] == status
    assert b"Traceback" not in answer
