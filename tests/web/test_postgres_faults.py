"""PostgreSQL is killed, restarted and cut off under people who go on working.

Every answer meanwhile is right or an honest 503, the same processes go on when the
database is back, and all that was acknowledged is there.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.busy import Crowd, nothing_leaked, refusal
from support.client import JSON
from support.database import SECRET_KEY
from support.postgres import CUT, Postgres
from support.site import Site, until
from support.soak import times


class Served(Site):
    """A site whose rows are in PostgreSQL."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        settings = {
            "DATABASE_URL": postgres.url(),
            "SHARED_FILE_SYSTEM": "yes",
            "SECRET_KEY": SECRET_KEY,
            "PURGE_GRACE_SECONDS": "0",
        }
        super().__init__(folder, settings)
        self.postgres = postgres

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database directly."""
        return self.postgres.ask(sql.replace("?", "%s"), *values)


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    """A server of PostgreSQL that calls fsync."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def site(
    durable: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The real program over it."""
    with Served(tmp_path_factory.mktemp("site"), durable) as site:
        yield site


@pytest.fixture(scope="module")
def crowd(site: Served) -> Crowd:
    """People with accounts."""
    return Crowd(site, 2)


@pytest.fixture
def processes(site: Served) -> Iterator[None]:
    """The same web process and worker are there afterwards: nothing was restarted."""
    before = site.server.web_pids(), site.server.worker_pid()
    yield
    assert (site.server.web_pids(), site.server.worker_pid()) == before


@pytest.fixture
def full(durable: Postgres) -> Iterator[list[psycopg.Connection]]:
    """All connections that the server allows are somebody else's; closed in the end."""
    others = [durable.link()]

    def taken() -> bool:
        """Take what is free, and tell whether nothing is left to the program."""
        with suppress(psycopg.OperationalError):
            while True:
                others.append(durable.link())
        return not others[0].execute(CUT).fetchall()

    until(taken, 30, 0.1, "every connection is taken")
    yield others
    for one in others:
        one.close()


@pytest.mark.usefixtures("processes")
def test_who_finds_the_database_full_waits_for_a_place(
    crowd: Crowd, full: list[psycopg.Connection]
) -> None:
    """Other instances took them all: their requests end soon, and this one goes on."""
    assert len(full) > 20
    person = crowd.people[0].person.twin()
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(person.get, "/files/")
        time.sleep(1.5)
        assert not page.done(), page.result().text
        for one in full:
            one.close()
        page.result(30).expect(200)
    person.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_postgres_goes_and_comes_back(
    site: Served, crowd: Crowd, durable: Postgres, how: str
) -> None:
    """Killed or stopped under uploads: refusals while it is away, and no loss."""
    crashes, refused = durable.recoveries(), crowd.met("upload refused")
    rounds = times(1)
    with crowd.at_work():
        for _ in range(rounds):
            crowd.wait_for("kept", 2)
            getattr(durable, how)()
            crowd.wait_for("upload refused", 2)
            crowd.wait_for("list refused", 2)
            assert site.client().get("/healthz").status == 200
            assert site.server.ready()
            durable.start()
            crowd.wait_for("kept", 2)
    assert crowd.met("upload refused") >= refused + 2 * rounds
    assert durable.recoveries() - crashes == (rounds if how == "kill" else 0)
    assert crowd.check() > 0


@pytest.mark.usefixtures("processes")
def test_connections_cut_in_the_middle_of_transactions(
    site: Served, crowd: Crowd, durable: Postgres
) -> None:
    """Whether a commit came through is known to nobody; the rows decide."""
    cut = 0
    with crowd.at_work():
        crowd.wait_for("kept", 2)
        while cut < times(4):
            cut += durable.cut_writers()
            crowd.judge()
        crowd.wait_for("kept", 2)
        assert durable.cut() > 0
        crowd.wait_for("kept", 2)
    assert crowd.met("upload refused") > 0
    assert crowd.check() > 0


@pytest.mark.usefixtures("processes")
def test_pages_and_json_while_it_is_away(
    site: Served, crowd: Crowd, durable: Postgres
) -> None:
    """People see a page in words, scripts get JSON, and the balancer is left alone."""
    person = crowd.people[0].person
    durable.stop()
    try:
        for path in ("/files/", "/files/trash", "/auth/password"):
            page = person.get(path)
            assert refusal(page) == "", path
            assert page.headers.get_content_type() == "text/html"
        answer = person.get("/files/", **JSON)
        assert refusal(answer) == ""
        assert answer.json["error"]["code"] == "database_unavailable"
        assert site.client().get("/auth/login").status in {200, 503}
        assert site.client().get("/readyz").status == 200
    finally:
        durable.start()
    until(lambda: person.get("/files/").status == 200, 20, what="it is back")


def test_the_worker_tidies_up_after_all_that(site: Served, crowd: Crowd) -> None:
    """What could not be undone while the database was away is undone later."""
    nothing_leaked(site)
    assert crowd.check() > 0
