"""What is counted, how it is added up, and what a scrape says of the database."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from werkzeug.test import EnvironBuilder

from config import SettingsError
from raid.array import ArrayState
from raid.errors import MemberSlow, ObjectMissing
from raid.figures import Figures
from raid.memory import MemoryMember
from storage import glossary, membership
from storage.db import transaction, utcnow
from storage.metrics import hook, place, rows, server
from storage.metrics.merge import Merger
from storage.metrics.meters import ARRAY_STATES, MEMBER_STATES, Meters
from storage.metrics.rows import Rows
from storage.models import (
    ArrayRow,
    Debt,
    DebtKind,
    Job,
    JobKind,
    JobState,
    MemberRow,
    Reason,
)
from support.people import Person
from support.store import KIB, Store

pytestmark = pytest.mark.sqlite


def values(text: str) -> dict[tuple[Any, ...], float]:
    """Return every sample, by its name and the values of its labels in their order."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(*collectors: Any) -> dict[tuple[Any, ...], float]:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    return values(generate_latest(registry).decode())


def ended_pid() -> int:
    """Return the id of a process that there was."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def leave(folder: Path, pid: int, text: str, number: int = 1) -> Path:
    path = folder / f"{pid}-{number}.prom"
    path.write_text(text)
    return path


COUNTED = """\
# HELP holdfast_member_requests_total Reads.
# TYPE holdfast_member_requests_total counter
holdfast_member_requests_total{slot="0",way="read"} %d
# HELP holdfast_uploads_in_flight Uploads.
# TYPE holdfast_uploads_in_flight gauge
holdfast_uploads_in_flight %d
# HELP holdfast_array_rank State.
# TYPE holdfast_array_rank gauge
holdfast_array_rank %d
# HELP holdfast_member_free_bytes Room.
# TYPE holdfast_member_free_bytes gauge
holdfast_member_free_bytes{slot="0"} %d
"""
REQUESTS = ("holdfast_member_requests_total", "0", "read")
UPLOADS = ("holdfast_uploads_in_flight",)


# -- what a member was asked for


def test_reads_and_writes_are_counted_whatever_comes_of_them() -> None:
    ticks = iter(range(100))
    figures = Figures(lambda: float(next(ticks)))
    member = figures.lend(2, MemoryMember("m"))
    member.put("o/aa/x", [b"12345", b"67"])
    assert member.read("o/aa/x", 2, 3) == b"345"
    with pytest.raises(ObjectMissing):
        member.read("o/aa/y")
    assert [info.key for info in member.list("")] == ["o/aa/x"]
    figures.error(2, MemberSlow("m", "It was late."))
    figures.error(2, ObjectMissing("m", "o/aa/y"))
    found = figures.now()[2]
    assert (found.write.requests, found.write.bytes, found.write.seconds) == (1, 7, 1)
    assert (found.read.requests, found.read.bytes, found.read.seconds) == (2, 3, 2)
    assert found.errors == {"slow": 1}
    member.read("o/aa/x")
    assert found.read.requests == 2, "what was told does not change"


def test_nothing_is_lost_between_threads() -> None:
    figures = Figures(lambda: 0.0)
    member = figures.lend(0, MemoryMember("m"))
    member.put("o/aa/x", [b"1"])

    def work() -> None:
        for _ in range(500):
            member.read("o/aa/x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures.now()[0].read.requests == 2000


# -- adding up


def test_processes_add_up_and_only_the_living_have_gauges(tmp_path: Path) -> None:
    leave(tmp_path, os.getpid(), COUNTED % (5, 2, 0, 700), 1)
    leave(tmp_path, os.getpid(), COUNTED % (7, 1, 1, 300), 2)
    dead = leave(tmp_path, ended_pid(), COUNTED % (30, 9, 3, 1))
    merger = Merger(tmp_path)
    for _ in range(2):  # what the dead one left is taken in once
        found = read(merger)
        assert found[REQUESTS] == 42
        assert found[UPLOADS] == 3
        assert found["holdfast_member_free_bytes", "0"] == 300
        assert not dead.exists()
    states = {word: found["holdfast_array_state", word] for word in ARRAY_STATES}
    assert states == {"clean": 0, "degraded": 1, "readonly": 0, "failed": 0}


def test_a_process_that_writes_no_more_has_no_gauges(tmp_path: Path) -> None:
    """Its id may be somebody else's by now."""
    path = leave(tmp_path, os.getpid(), COUNTED % (5, 2, 0, 700))
    old = path.stat().st_mtime - place.STALE_SECONDS - 1
    os.utime(path, (old, old))
    found = read(Merger(tmp_path))
    assert found[REQUESTS] == 5
    assert UPLOADS not in found
    assert not [key for key in found if "state" in key[0] or "rank" in key[0]]


def test_a_start_forgets_what_was_counted_before(tmp_path: Path) -> None:
    folder = place.folder(tmp_path)
    place.empty(folder)
    leave(folder, os.getpid(), COUNTED % (5, 2, 0, 700))
    (folder / "1-2.new").write_text("half")
    place.empty(folder)
    assert list(folder.iterdir()) == []
    assert read(Merger(folder)) == {}


def test_a_full_disk_is_a_warning(
    make_app: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(METRICS_BIND="127.0.0.1:9464")
    meters: Meters = app.extensions["holdfast_meters"]
    sheet = place.Sheet(place.folder(app.config["HOLDFAST"].data_dir))
    meters._write(sheet)
    before = sheet._path.read_bytes()

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    meters._write(sheet)
    assert "Metrics can't be written down" in caplog.text
    assert sheet._path.read_bytes() == before


def test_every_word_of_a_state_has_a_rank() -> None:
    assert set(ARRAY_STATES) == set(ArrayState)
    assert {*MEMBER_STATES} - {"ok"} == set(glossary.OBSERVED_STATES)


# -- what a process counts


@pytest.fixture
def counting(make_store: Callable[..., Store]) -> Iterator[Store]:
    store = make_store(METRICS_BIND="127.0.0.1:9464")
    (place.folder(store.app.config["HOLDFAST"].data_dir)).mkdir(exist_ok=True)
    yield store


def own(store: Store) -> dict[tuple[Any, ...], float]:
    """Return what this process would write down, merged as a scrape does."""
    meters: Meters = store.app.extensions["holdfast_meters"]
    folder = place.folder(store.app.config["HOLDFAST"].data_dir)
    place.empty(folder)
    meters._write(place.Sheet(folder))
    return read(Merger(folder))


def test_members_are_counted_by_slot(counting: Store) -> None:
    blob = counting.put(700 * KIB)
    counting.get(blob.uuid)
    counting.runtime.check_members()
    found = own(counting)
    wrote = {s: found["holdfast_member_bytes_total", s, "write"] for s in "0123"}
    assert all(count > 200 * KIB for count in wrote.values())
    assert sum(found["holdfast_member_bytes_total", s, "read"] for s in "0123") > (
        700 * KIB
    )
    assert found["holdfast_member_requests_total", "0", "write"] == 1
    assert found["holdfast_member_seconds_total", "0", "write"] > 0
    assert found["holdfast_member_observed_state", "0", "ok"] == 1
    assert found["holdfast_array_state", "clean"] == 1
    assert found["holdfast_member_free_bytes", "3"] > 0
    counting.lose(1)
    counting.get(blob.uuid)
    counting.runtime.check_members()
    found = own(counting)
    assert found["holdfast_member_observed_state", "1", "missing"] == 1
    assert found["holdfast_member_observed_state", "1", "ok"] == 0
    assert found["holdfast_array_state", "degraded"] == 1


def test_an_error_of_a_member_is_counted_by_its_word(counting: Store) -> None:
    array = counting.runtime.array()
    with pytest.raises(MemberSlow), array.using(2) as member:
        raise MemberSlow(member.label, "It was late.")
    assert own(counting)["holdfast_member_errors_total", "2", "slow"] == 1


def test_late_reads_are_counted(counting: Store) -> None:
    assert own(counting)["holdfast_reads_hedged_total",] == 0
    pace = counting.runtime.health.pace
    assert pace.allow(2, 300)
    pace.late(1)
    found = own(counting)
    assert found["holdfast_reads_hedged_total",] == 2
    assert found["holdfast_reads_hedged_bytes_total",] == 300
    assert found["holdfast_reads_saved_total",] == 1
    assert found["holdfast_reads_waited_total",] == 0


def test_transfers_are_in_flight_while_they_run(counting: Store) -> None:
    blob = counting.put(700 * KIB)
    from storage import blobs

    chunks = blobs.open_blob(blob).chunks()
    assert own(counting)[("holdfast_downloads_in_flight",)] == 0
    next(chunks)
    assert own(counting)[("holdfast_downloads_in_flight",)] == 1
    chunks.close()
    counting.runtime.uploads.add(blob.uuid)
    found = own(counting)
    assert found[("holdfast_downloads_in_flight",)] == 0
    assert found[UPLOADS] == 1


def test_requests_are_counted_by_route_and_never_by_path(counting: Store) -> None:
    person = Person(counting.app)
    person.get("/healthz")
    person.get("/files/folder/a-secret-id")
    person.get("/no/such/page")
    person.send("BREW", "/healthz")
    found = own(counting)
    name = "holdfast_http_request_seconds_count"
    assert found[name, "health.healthz", "GET", "200"] == 1
    assert found[name, "files.folder", "GET", "302"] == 1
    assert found[name, "none", "GET", "404"] == 1
    assert found[name, "none", "other", "405"] == 1
    assert not [key for key in found if "secret" in str(key) or "BREW" in str(key)]
    total = sum(value for key, value in found.items() if key[0] == name)
    endless = [
        value
        for key, value in found.items()
        if key[0] == "holdfast_http_request_seconds_bucket" and "+Inf" in key
    ]
    assert sum(endless) == total


def test_an_answer_that_was_cut_is_no_success(counting: Store) -> None:
    def answer(path: str) -> Response:
        number = int(path)
        return Response(iter([b"half", b"and half"]), number)

    counting.app.add_url_rule("/cut/<path>", "cut", answer)
    counting.app.view_functions["cut"].public = True  # type: ignore[attr-defined]
    for status in ("200", "206", "503"):
        path = EnvironBuilder(f"/cut/{status}").get_environ()
        body = counting.app.wsgi_app(path, lambda *_: bytes)
        next(iter(body))
        body.close()  # type: ignore[attr-defined]
    counting.app.test_client().get("/cut/200", buffered=True)
    found = own(counting)
    name = "holdfast_http_request_seconds_count"
    assert found[name, "cut", "GET", "cut"] == 2
    assert found[name, "cut", "GET", "503"] == 1
    assert found[name, "cut", "GET", "200"] == 1
    assert (name, "cut", "GET", "206") not in found


def test_without_the_setting_nothing_is_counted(store: Store) -> None:
    hook.begin(store.app)
    assert "holdfast_meters" not in store.app.extensions
    assert store.runtime.array().figures is None
    script = (
        "import app, sys; app.create_app({'HOLDFAST_SECRET_KEY': 'x7Kq'*5 + "
        "'pLm92aZcVbNqWe'}); assert 'prometheus_client' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == 0, done.stderr


# -- who serves them


def test_a_socket_that_nobody_listens_on_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with server.listen(f"unix:{path}", lambda: b""):
        with pytest.raises(server.Taken, match="HOLDFAST_METRICS_BIND"):
            server.listen(f"unix:{path}", lambda: b"")
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    with pytest.raises(server.Taken):
        server.listen(f"unix:{path}", lambda: b"")
    assert path.read_text() == "kept"


def test_metrics_and_the_site_have_an_address_each(
    make_app: Callable[..., Flask],
) -> None:
    with pytest.raises(SettingsError, match="never served there"):
        make_app(BIND="127.0.0.1:9464", METRICS_BIND="127.0.0.1:9464")


# -- the database


def test_the_database_tells_states_debts_and_work(store: Store) -> None:
    store.put(700 * KIB)
    store.lose(3)
    store.runtime.check_members()
    store.put(300 * KIB)
    membership.fail(3, actor="root", force=False)
    with transaction() as session:
        job = Job(kind=JobKind.SCRUB, state=JobState.PAUSED)
        job.done_bytes, job.total_bytes = 25, 100
        session.add(job)
    found = read(Rows(store.app, seconds=30))
    assert found[("holdfast_database_up",)] == 1
    assert found["holdfast_member_stored_state", "3", "faulty"] == 1
    assert found["holdfast_member_stored_state", "3", "in_sync"] == 0
    assert found["holdfast_member_owed_objects", "3"] >= 1
    assert found["holdfast_debts", "manifest"] == 1
    assert found[("holdfast_blobs",)] == 2
    assert found[("holdfast_blob_bytes",)] == 1000 * KIB
    assert found[("holdfast_blobs_at_risk",)] == 0
    assert found[("holdfast_blobs_damaged",)] == 0
    assert found["holdfast_jobs", "scrub", "paused"] == 1
    assert found["holdfast_jobs", "drill", "queued"] == 0
    assert found["holdfast_job_done_bytes", "scrub", ""] == 25
    assert found["holdfast_job_total_bytes", "scrub", ""] == 100
    assert ("holdfast_last_drill_age_seconds",) not in found


def test_what_a_bucket_keeps_is_not_owed(store: Store) -> None:
    """Else an alarm about debts never ends where there are versions."""
    member = next(row.uuid for row in store.rows(MemberRow) if row.slot == 2)
    reasons = (Reason.KEPT, Reason.KEPT, Reason.AWAY)
    about = {"member_uuid": member, "kind": DebtKind.TOMBSTONE, "attempt": 1}
    owed = [Debt(blob=store.put(10).uuid, reason=why, **about) for why in reasons]
    with transaction() as session:
        session.add_all(owed)
    found = read(Rows(store.app, seconds=30))
    assert found["holdfast_member_owed_objects", "2"] == 1
    assert found["holdfast_debts", "tombstone"] == 1
    kept = [found["holdfast_member_kept_blobs", slot] for slot in "0123"]
    assert kept == [0, 0, 2, 0]


def test_scrubs_that_never_end_make_the_last_one_older_and_older(store: Store) -> None:
    """Else an alarm stays silent just where none ever ended."""
    name = ("holdfast_last_scrub_age_seconds",)
    assert read(Rows(store.app, seconds=30))[name] < 3600
    with transaction() as session:
        session.execute(
            update(ArrayRow).values(created_at=utcnow() - timedelta(days=40))
        )
        session.add(
            Job(kind=JobKind.SCRUB, state=JobState.FAILED, finished_at=utcnow())
        )
    assert read(Rows(store.app, seconds=30))[name] == pytest.approx(
        40 * 86_400, abs=600
    )


def test_a_database_that_hangs_is_told_in_time_and_asked_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, asked = threading.Event(), []

    def hang() -> Iterator[Any]:
        asked.append(1)
        over.wait(60)
        return iter(())

    monkeypatch.setattr(rows, "_all", hang)
    collector = Rows(store.app, seconds=0.05)
    for _ in range(3):
        assert read(collector) == {("holdfast_database_up",): 0}
    assert asked == [1]
    over.set()
    with collector._asking:  # it has ended
        pass
    monkeypatch.undo()
    patient = Rows(store.app, seconds=60)
    assert read(patient)[("holdfast_database_up",)] == 1


def test_a_database_that_refuses_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Iterator[Any]:
        raise OperationalError("SELECT", {}, Exception("it is away"))

    monkeypatch.setattr(rows, "_all", refuse)
    assert read(Rows(store.app)) == {("holdfast_database_up",): 0}
    assert "it is away" in caplog.text
