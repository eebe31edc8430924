"""The disk under SQLite is full, fails, or gives back other pages than were written.

People go on working meanwhile. Every answer is right or an honest 503, the same
processes go on when the disk is well again, and all that was acknowledged is there.
"""

import random
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from support.busy import Crowd, nothing_leaked, refusal
from support.server import ServerError
from support.site import Site, until
from support.soak import times
from support.sqlitefaults import FullDisk, Pages

KIB = 1024


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FullDisk:
    """The disk under the database of the module's server."""
    return FullDisk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def site(disk: FullDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The real program over it."""
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, environment=disk.environment) as site:
        yield site


@pytest.fixture(scope="module")
def crowd(site: Site) -> Crowd:
    """People with accounts and some files."""
    crowd = Crowd(site, 2)
    with crowd.at_work():
        crowd.wait_for("kept", 5)
    return crowd


@pytest.fixture
def processes(site: Site) -> Iterator[None]:
    """The same web process and worker are there afterwards: nothing was restarted."""
    before = site.server.web_pids(), site.server.worker_pid()
    yield
    assert (site.server.web_pids(), site.server.worker_pid()) == before


def _database(site: Site) -> Path:
    return site.data / "holdfast.db"


def _told(site: Site, words: str) -> int:
    """How often the log names this reason."""
    return site.server.log.read_text("utf-8", "replace").count(words)


@pytest.mark.usefixtures("processes")
def test_the_disk_of_the_database_is_full(
    site: Site, crowd: Crowd, disk: FullDisk
) -> None:
    """Reading goes on, uploads are refused, and it works again when there is room."""
    with crowd.at_work():
        for _ in range(times(1)):
            before = _told(site, "database or disk is full")
            disk.fill()
            crowd.wait_for("upload refused")
            crowd.wait_for("listed")
            crowd.wait_for("read")
            assert _told(site, "database or disk is full") > before
            disk.free()
            crowd.wait_for("kept")
    assert crowd.check() > 0


@pytest.mark.usefixtures("processes")
def test_writes_of_the_database_fail_half_way(site: Site, crowd: Crowd) -> None:
    """A limit in the middle of a page of the journal: the write is torn, then fails."""
    pids = [*site.server.web_pids(), site.server.worker_pid()]
    for number in range(times(1)):
        failed = _told(site, "disk I/O error")
        until(lambda: _empties_its_journal(site), 60, what="no reader holds it")
        # Objects of the members are smaller than that and go on being written.
        _limit(pids, 600 * KIB + 1001 * (number + 1))
        try:
            with crowd.at_work():
                crowd.wait_for("upload refused", 2)
                crowd.wait_for("listed")
                _limit(pids, resource.RLIM_INFINITY)
                crowd.wait_for("kept")
        finally:
            _limit(pids, resource.RLIM_INFINITY)
        assert _told(site, "disk I/O error") > failed
    assert crowd.check() > 0


def _empties_its_journal(site: Site) -> bool:
    """Let it grow anew: a journal that is written over from its start stays as long."""
    with closing(sqlite3.connect(_database(site), timeout=10)) as database:
        busy, *_ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _limit(pids: list[int], size: int) -> None:
    """Let these processes write no file beyond this size."""
    for pid in pids:
        hard = psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE)[1]
        psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.usefixtures("processes")
def test_pages_are_spoilt_under_the_running_program(site: Site, crowd: Crowd) -> None:
    """No wrong name, size or byte is shown; with the pages back, all is there."""
    for seed in range(times(1)):
        pages = Pages(_database(site))
        dice = random.Random(seed)
        share = dice.sample(pages.all(), len(pages.all()) // 3)
        refused = sum(_refusals(crowd))
        words = "file is not a database" if seed % 2 else "malformed"
        told = _told(site, words)
        try:
            with crowd.at_work():
                head = [1] if seed % 2 else []
                pages.spoil({*share, *head, pages.root("entries")})
                crowd.wait_for("list refused", 2)
                assert site.client().get("/healthz").status == 200
                pages.repair()
                crowd.wait_for("kept")
        finally:
            pages.repair()
        assert sum(_refusals(crowd)) > refused
        assert _told(site, words) > told
    assert crowd.check() > 0


def _refusals(crowd: Crowd) -> list[int]:
    return [crowd.met(f"{word} refused") for word in ("upload", "list", "download")]


def test_pages_are_spoilt_while_it_is_stopped(site: Site, crowd: Crowd) -> None:
    """A bad head keeps it from starting; a bad page is no empty folder."""
    site.server.stop()
    pages = Pages(_database(site))
    try:
        pages.spoil([1])
        _refuses_to_start(site)
        pages.repair()
        pages.spoil([pages.root("entries")])
        site.server.start()
        busy = crowd.people[0]
        busy.person.close()
        assert refusal(busy.person.get("/files/")) == ""
        assert refusal(busy.person.put(busy.folder, "new", b"lost?")) == ""
    finally:
        pages.repair()
    until(lambda: busy.person.get("/files/").status == 200, 20, what="it is back")
    for one in crowd.people:
        one.person.close()


def _refuses_to_start(site: Site) -> None:
    before = _database(site).read_bytes()
    with pytest.raises(ServerError, match="ended while starting") as refused:
        site.server.start()
    site.server.process = None
    assert "holdfast.db can't be used" in str(refused.value)
    assert "not a database" in str(refused.value)
    assert _database(site).read_bytes() == before


def test_all_is_there_and_nothing_is_left_behind(site: Site, crowd: Crowd) -> None:
    """After all that."""
    assert crowd.check() > 0
    nothing_leaked(site, purged=False)
