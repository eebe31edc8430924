"""The worker's loop, its chores and its end; the threads of a web process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from storage import debts, purge, uploads, watch, worker
from storage.errors import Fenced
from storage.jobs import runner
from storage.models import Debt, Upload
from storage.worker import Worker
from support.arrays import Body
from support.database import environment
from support.store import KIB, Store, wanted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_other_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_chores", {})


def test_chores_are_done_now_and_then(store: Store) -> None:
    """At the first round, and again when their time has come."""
    store.settle()  # nothing else is left to do
    calls: list[str] = []
    worker.register_chore("often", lambda: calls.append("often") or 1, 0.0)
    worker.register_chore("rarely", lambda: calls.append("rarely") or 0, 300.0)
    one = Worker()
    assert one.tick() == 1
    one.tick()
    assert calls == ["often", "rarely", "often"]


def test_trouble_does_not_end_the_loop(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away for a round: logged, and tried again."""
    one, rounds = Worker(), []

    def tick(self: Worker) -> int:
        rounds.append(1)
        if len(rounds) == 1:
            raise OperationalError("SELECT 1", {}, Exception("database is locked"))
        self.stop()
        return 0

    monkeypatch.setattr(Worker, "tick", tick)
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.01)
    one.run()
    assert len(rounds) == 2


def test_one_step_that_fails_leaves_the_others_their_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge that can't go on must not keep debts from being paid."""

    def broken(*_: object) -> int:
        raise Fenced

    monkeypatch.setattr(worker.purge, "run", broken)
    store.lose(0)
    store.put(1000)
    store.bring_back(0)
    store.settle()
    assert store.debts() == []
    assert set(store.states()) == {"in_sync"}


@pytest.mark.sqlite
def test_a_mistake_in_one_step_leaves_the_others_their_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody thought of must not keep the journal from the members."""

    def broken(*_: object) -> int:
        raise KeyError(3)

    monkeypatch.setattr(worker.events, "settle", broken)
    store.tick()
    assert store.array_row().journal_number


def test_without_an_array_it_waits(make_app: Callable[..., Flask]) -> None:
    """A worker may be there before the array is."""
    app = make_app(members=False)
    with app.app_context():
        assert Worker().tick() == 0


def test_abandoned_uploads_are_found_by_their_silence(store: Store) -> None:
    """Half a minute without a touch, and only then."""
    log = uploads.Log(wanted(b"x" * 10), lambda _: None)
    log.begin()
    store.settle()
    assert len(store.rows(Upload)) == 1
    store.age_uploads()
    store.settle()
    assert store.rows(Upload) == []
    assert store.objects() == set()


@pytest.mark.sqlite
@pytest.mark.parametrize(("module", "name"), [(debts, "pay"), (purge, "run")])
def test_long_work_leaves_the_others_their_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    """A member that was away for days is owed hours of work; the journal can't wait."""
    monkeypatch.setattr(worker, "TURN_SECONDS", 0.05, raising=False)

    def endless(array: object, stop: Callable[[], bool]) -> int:
        _until(stop, 5)
        return 1

    monkeypatch.setattr(module, name, endless)
    assert store.tick()
    assert store.array_row().journal_number


@pytest.mark.threads
def test_the_threads_look_and_touch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web process sees members come and go by itself, and keeps its uploads."""
    monkeypatch.setattr("storage.watch.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("storage.watch.KEEP_SECONDS", 0.05)
    monkeypatch.setattr("storage.watch.TOUCH_SECONDS", 0.0)
    own = store.runtime
    watch.start(own)
    watch.start(own)
    assert len([t for t in own.threads if t.is_alive()]) == 2
    blob = store.put(300 * KIB)
    store.lose(0)
    _until(lambda: own.health.observed(0) == "missing")
    store.bring_back(0)
    _until(lambda: own.health.observed(0) is None)

    path = store.paths(blob.layout["slots"][0], blob.uuid)[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    store.check()
    _until(lambda: len(store.rows(Debt)) == 1)

    log = uploads.Log(wanted(b""), lambda _: None)
    log.begin()
    before = store.rows(Upload)[0].touched_at
    own.uploads.add(log.blob)
    _until(lambda: store.rows(Upload)[0].touched_at > before)
    threads = own.threads
    own.close()
    assert not any(thread.is_alive() for thread in threads)


def _until(check: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


@pytest.mark.threads
def test_a_thread_outlives_errors(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a look meets, the next one follows."""
    looked: list[int] = []

    def check(self: object) -> None:
        looked.append(1)
        raise [ValueError("odd"), OperationalError("SELECT", {}, Exception("locked"))][
            len(looked) % 2
        ]

    monkeypatch.setattr("storage.watch.CHECK_SECONDS", 0.01)
    monkeypatch.setattr("storage.runtime.Runtime.check_members", check)
    watch.start(store.runtime)
    _until(lambda: len(looked) > 4)
    store.runtime.close()


def test_uploads_side_by_side(store: Store) -> None:
    """Eight at once, each with its own bytes."""
    errors: list[BaseException] = []
    done: dict[int, bytes] = {}

    def upload(number: int) -> None:
        try:
            with store.app.app_context():
                data = bytes([number]) * (200 * KIB + number)
                done[number] = store.get(store.put(data).uuid)
                assert done[number] == data
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upload, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(done) == 8
    store.settle()
    store.check()
    assert store.rows(Upload) == store.debts() == []


@pytest.fixture
def process(sqlite_app: Flask, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`flask worker` as its own process."""
    from storage import migrate

    with sqlite_app.app_context():
        from storage.db import db

        db.drop_all()
        migrate.upgrade()
    known = environment(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "worker"],
        cwd=ROOT,
        env={**os.environ, **known},
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        yield child
        child.kill()


def test_sigterm_ends_it_at_once(process: subprocess.Popen[str]) -> None:
    """Within a second of the signal, cleanly."""
    assert process.stderr is not None
    while "has started" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_once_ends_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`worker --once` does all that is due."""
    monkeypatch.setattr("storage.migrate.require_current", lambda: None)
    monkeypatch.setattr("storage.logs.set_up", lambda: None)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    store.lose(0)
    store.put(1000)
    store.bring_back(0)
    try:
        result = store.app.test_cli_runner().invoke(args=["worker", "--once"])
    finally:
        for number, handler in zip(
            (signal.SIGTERM, signal.SIGINT), handlers, strict=True
        ):
            signal.signal(number, handler)
    assert result.exit_code == 0, result.output
    assert store.debts() == []


def test_once_outlasts_the_rest_of_its_own_jobs(
    make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that keeps to its pace, or waits a second, is not one that can't go on."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    store = make_store(4, PACE="5")
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    store.settle()
    assert store.states() == ["in_sync"] * 4 and store.debts() == []


def test_a_body_of_the_tests_ends() -> None:
    """The control: the source of these tests says 0 at its end."""
    body = Body(b"abc")
    view = memoryview(bytearray(10))
    assert (body.readinto(view), body.readinto(view)) == (3, 0)
