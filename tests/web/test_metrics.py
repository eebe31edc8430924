"""The metrics of a real instance: two web processes, a worker, and who serves them."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.database import SECRET_KEY, environment
from support.postgres import Postgres
from support.server import Server, free_port
from support.site import Site, until

ROOT = Path(__file__).resolve().parents[2]
Values = dict[tuple[Any, ...], float]
COUNT = "holdfast_http_request_seconds_count"
LOGIN = (COUNT, "auth.login", "GET", "200")
UP = ("holdfast_database_up",)


class Watched(Site):
    """A site of two web processes that serves its metrics, rows in PostgreSQL."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.metrics = free_port()
        settings = {
            "METRICS_BIND": f"127.0.0.1:{self.metrics}",
            "DATABASE_URL": postgres.url(),
            "SHARED_FILE_SYSTEM": "yes",
            "SECRET_KEY": SECRET_KEY,
        }
        super().__init__(folder, settings, environment={"WEB_CONCURRENCY": "2"})

    def scrape(self) -> Values:
        """Return every sample by its name and labels; empty before it is served."""
        try:
            status, text = ask(self.metrics, "/metrics")
        except (ConnectionError, http.client.HTTPException):
            return {}
        assert status == 200
        return parsed(text)

    def counted_by(self, pid: int) -> Values:
        """Return what one process has left of itself."""
        sheets = list((self.data / "metrics").glob(f"{pid}-*.prom"))
        return parsed(sheets[0].read_text()) if sheets else {}


def parsed(text: str) -> Values:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Ask over a connection of its own, so that any process may take it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def site(
    durable: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("site"), durable) as site:
        until(site.scrape, what="metrics are served")
        yield site


def visit_until_both_have_counted(site: Watched) -> int:
    """Ask for the login page until each web process has answered; returns how often."""
    visits = 0

    def both() -> bool:
        nonlocal visits
        for _ in range(10):
            assert ask(site.port, "/auth/login")[0] == 200
            visits += 1
        pids = site.server.web_pids()
        return len(pids) == 2 and all(LOGIN in site.counted_by(pid) for pid in pids)

    until(both, every=0.5, what="both web processes have counted")
    return visits


def test_numbers_add_up_over_processes_and_outlive_them(site: Watched) -> None:
    before = site.scrape().get(LOGIN, 0)
    visits = visit_until_both_have_counted(site)
    until(lambda: site.scrape()[LOGIN] == before + visits, what="all are counted")
    first, second = site.server.web_pids()
    assert min(site.counted_by(pid)[LOGIN] for pid in (first, second)) > 0
    os.kill(first, signal.SIGKILL)
    until(lambda: first not in site.server.web_pids(), what="it is dead")
    until(lambda: len(site.server.web_pids()) == 2, what="another has its place")
    assert site.scrape()[LOGIN] == before + visits
    assert site.counted_by(first) == {}, "what it left was taken in"
    more = visit_until_both_have_counted(site)
    total = before + visits + more
    until(lambda: site.scrape()[LOGIN] == total, what="the new one counts on")


def test_a_process_that_died_has_no_gauges(site: Watched) -> None:
    """It dies in the middle of an upload, which would run for ever."""
    name = ("holdfast_uploads_in_flight",)
    person = site.person("alice")
    path = f"/files/folder/{person.root()}/large.bin"
    with socket.create_connection(("127.0.0.1", site.port)) as link:
        cookies = "; ".join(f"{key}={it}" for key, it in person.cookies.items())
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
        head += f"Cookie: {cookies}\r\nX-CSRFToken: {person.token}\r\n"
        link.sendall(f"{head}Content-Length: 50000000\r\n\r\n".encode() + bytes(100))
        until(lambda: site.scrape().get(name) == 1, what="the upload is counted")
        [pid] = [
            pid for pid in site.server.web_pids() if site.counted_by(pid).get(name)
        ]
        os.kill(pid, signal.SIGKILL)
        until(lambda: site.scrape()[name] == 0, what="it is counted no more")


def test_what_an_operator_watches_is_there(site: Watched) -> None:
    person = site.person("bob")
    data = os.urandom(300_000)
    person.put(person.root(), "a.bin", data).expect(201)
    row = person.rows()[0]
    assert person.download(row["id"]).status == 200

    def settled() -> Values:
        found = site.scrape()
        return found if found.get((COUNT, "files.download", "GET", "200")) else {}

    found = until(settled, what="the download is counted")
    assert found[COUNT, "files.put", "PUT", "201"] == 1
    assert found["holdfast_array_state", "clean"] == 1
    for slot in "0123":
        assert found["holdfast_member_stored_state", slot, "in_sync"] == 1
        assert found["holdfast_member_observed_state", slot, "ok"] == 1
        assert found["holdfast_member_owed_objects", slot] == 0
        assert found["holdfast_member_free_bytes", slot] > 0
        assert found["holdfast_member_bytes_total", slot, "write"] > 90_000
    assert found[UP] == 1
    assert found[("holdfast_blobs",)] >= 1
    text = ask(site.metrics, "/metrics")[1]
    for secret in ("alice", "bob", "a.bin", row["id"], str(site.data), SECRET_KEY):
        assert secret not in text
    assert len(text.splitlines()) < 2000


def test_the_document_names_every_metric_and_no_other(site: Watched) -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    named = {
        name.removesuffix("_total") for name in re.findall(r"`(holdfast_\w+)`", page)
    }
    text = ask(site.metrics, "/metrics")[1]
    served = {name.removesuffix("_total") for name in re.findall(r"# HELP (\w+)", text)}
    upkeep = {f"holdfast_last_{what}_age_seconds" for what in ("scrub", "drill")}
    assert named == served | upkeep


def test_a_member_that_goes_away_is_seen(site: Watched) -> None:
    member = site.members[2]
    aside = member.with_name("d2.away")
    member.rename(aside)
    try:
        name = ("holdfast_member_observed_state", "2", "missing")
        until(lambda: site.scrape()[name] == 1, what="it is missing")
        until(lambda: site.scrape()["holdfast_array_state", "degraded"] == 1)
    finally:
        aside.rename(member)
    until(lambda: site.scrape()["holdfast_array_state", "clean"] == 1, seconds=60)


def test_they_are_served_on_their_own_address_alone(site: Watched) -> None:
    status, text = ask(site.port, "/metrics")
    assert status == 404 and "holdfast_" not in text
    for path in ("/", "/metrics/x", "/healthz", "/../metrics", "/files/"):
        status, text = ask(site.metrics, path)
        assert status == 404 and "holdfast_" not in text, path
    assert ask(site.metrics, "/metrics?x=1")[0] == 200
    for method in ("POST", "PUT", "DELETE"):
        assert ask(site.metrics, "/metrics", method)[0] == 501


def test_a_database_that_is_away_is_a_number(site: Watched, durable: Postgres) -> None:
    assert site.scrape()[UP] == 1
    durable.stop()
    try:
        found = site.scrape()
        assert found[UP] == 0
        assert found[LOGIN] > 0
        assert ("holdfast_blobs",) not in found
    finally:
        durable.start()
    until(lambda: site.scrape()[UP] == 1, what="it is back")


def test_the_server_of_metrics_is_started_again(site: Watched) -> None:
    old = site.server._child("metrics")
    os.kill(old, signal.SIGKILL)
    until(lambda: site.scrape().get(UP), what="metrics are served again")
    assert site.server._child("metrics") != old


def test_metrics_are_served_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with Server(tmp_path / "data", {"METRICS_BIND": f"unix:{path}"}):
        until(path.exists, what="the socket is there")
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(str(path))
            link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: link.recv(65536), b""))
        assert b"200 OK" in answer and b"holdfast_database_up 1.0" in answer


def test_without_the_setting_nobody_counts_and_nobody_serves(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        names = [" ".join(child.cmdline()) for child in server.family()]
        assert not [name for name in names if "metrics" in name]
        assert list((tmp_path / "data" / "metrics").iterdir()) == []


def run_alone(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program with these settings until it ends."""
    folder = Path(settings.pop("folder"))
    environ = {k: v for k, v in environment(folder, **settings).items() if v}
    keep = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**keep, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_address_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        for command in (("deploy.prepare",), ("flask", "metrics")):
            done = run_alone(
                *command,
                folder=str(tmp_path),
                METRICS_BIND=bind,
                BIND=f"127.0.0.1:{free_port()}",
            )
            assert done.returncode == 1
            assert bind in done.stderr and "HOLDFAST_METRICS_BIND" in done.stderr
            assert "Another program may use it" in done.stderr
            assert "Traceback" not in done.stderr
    done = run_alone("flask", "metrics", folder=str(tmp_path))
    assert done.returncode == 1 and "is not set" in done.stderr
