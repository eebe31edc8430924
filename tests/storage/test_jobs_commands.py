"""`flask array scrub`, `drill`, `jobs`, `pause`, `resume`, `cancel` and `pace`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import update

from storage.cli import waiting
from storage.db import transaction, utcnow
from storage.jobs import runner, table
from storage.jobs.progress import Progress, duration
from storage.models import ArrayRow, Job, JobKind, JobState
from support.faulty import flip
from support.store import KIB, Store

pytestmark = pytest.mark.sqlite


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)


def flask(store: Store, *args: str) -> Result:
    """Run a command of `flask array`."""
    result = store.app.test_cli_runner().invoke(args=["array", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def spoil(store: Store) -> Path:
    """Store a file and flip a bit of one of its shards."""
    blob = store.put(300 * KIB)
    path = store.paths(1, blob.uuid)[0]
    path.write_bytes(flip(path.read_bytes(), 8 * 5000))
    return path


def test_scrub_wait_does_it_here_and_exits_0_when_all_is_well(store: Store) -> None:
    store.put(300 * KIB)
    result = flask(store, "scrub", "--wait")
    assert result.exit_code == 0, result.output
    assert "The scrub (job 1) is done." in result.output
    assert "4 objects" in result.output


def test_check_exits_1_and_repair_puts_it_right(store: Store) -> None:
    path = spoil(store)
    bad = path.read_bytes()
    result = flask(store, "scrub", "--check", "--wait")
    assert result.exit_code == 1
    assert "what bad" in result.output and "slot 1" in result.output
    assert path.read_bytes() == bad
    result = flask(store, "scrub", "--repair", "--wait")
    assert result.exit_code == 0, result.output
    assert "1 repaired" in result.output
    assert path.read_bytes() != bad


def test_a_partial_scrub_is_not_well(store: Store) -> None:
    store.put(300 * KIB)
    store.lose(0)
    result = flask(store, "scrub", "--wait")
    assert result.exit_code == 1
    assert "Partial: 1 objects" in result.output


def test_drill_wait(store: Store) -> None:
    store.put(300 * KIB)
    result = flask(store, "drill", "--wait")
    assert result.exit_code == 0, result.output
    assert "4 readings" in result.output
    spoil(store)
    result = flask(store, "drill", "--wait")
    assert result.exit_code == 1
    assert "without 0" in result.output


def test_without_wait_it_is_left_to_the_worker(store: Store) -> None:
    assert "Job 1: scrub repair" in flask(store, "scrub").output
    assert "Job 1: scrub repair" in flask(store, "scrub", "--check").output, "the same"
    (job,) = store.rows(Job)
    assert (job.state, job.actor) == (JobState.QUEUED, "flask array")


def test_jobs_are_listed_and_changed(store: Store) -> None:
    assert "no job yet" in flask(store, "jobs").output
    flask(store, "scrub")
    assert "is paused" in flask(store, "pause", "1").output
    assert "paused" in flask(store, "jobs").output
    again = flask(store, "pause", "1")
    assert again.exit_code == 1 and "nothing was changed" in again.output
    result = flask(store, "scrub", "--wait")
    assert result.exit_code == 1, "a paused job is not waited for"
    assert "is paused" in result.output
    assert "is queued" in flask(store, "resume", "1").output
    assert flask(store, "resume", "1").exit_code == 1
    assert "is cancelled" in flask(store, "cancel", "1").output
    assert flask(store, "cancel", "1").exit_code == 1
    assert flask(store, "cancel", "99").exit_code == 1
    assert "cancelled" in flask(store, "jobs").output


def test_a_read_only_array_does_no_job_and_says_so(store: Store) -> None:
    with transaction() as session:
        session.execute(update(ArrayRow).values(readonly=True))
    result = flask(store, "scrub", "--wait")
    assert result.exit_code == 1
    assert "The array is read-only" in result.output
    assert store.rows(Job)[0].state == JobState.QUEUED


def test_the_pace_is_shown_chosen_and_reset(store: Store) -> None:
    assert "40 percent" in flask(store, "pace").output
    assert "70 percent" in flask(store, "pace", "70").output
    assert table.pace() == 70
    for wrong in ("0", "101", "fast"):
        result = flask(store, "pace", wrong)
        assert result.exit_code == 1 and "from 1 to 100" in result.output
    assert "40 percent" in flask(store, "pace", "default").output


def test_without_an_array_it_says_how_to_make_one(make_store: Any) -> None:
    store = make_store(members=False)
    result = flask(store, "scrub")
    assert result.exit_code == 1
    assert "flask array create" in result.output


def test_it_watches_what_another_worker_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is done here while the lease is another's; its end is seen."""
    number = table.request(JobKind.SCRUB)
    with transaction() as session:
        job = session.get(Job, number)
        assert job is not None
        job.state, job.lease = JobState.RUNNING, "another"
        job.lease_until = utcnow() + timedelta(seconds=60)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            with transaction() as session:
                job = session.get(Job, number)
                assert job is not None
                job.state = JobState.DONE

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    waiting.wait_for(number)
    assert len(looks) == 3
    (job,) = store.rows(Job)
    assert job.lease == "another" and job.done_objects == 0


def test_the_lease_is_given_back_when_somebody_stops_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C: the worker goes on at once and need not wait for the lease to run out."""
    store.put(10)
    number = table.request(JobKind.SCRUB)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting.time, "sleep", interrupted)
    table.set_pace(1)
    with pytest.raises(KeyboardInterrupt):
        waiting.wait_for(number)
    (job,) = store.rows(Job)
    assert (job.state, job.lease, job.lease_until) == (JobState.RUNNING, None, None)
    assert runner.run_step(store.runtime.array(), number) == 1
    assert store.rows(Job)[0].takeovers == 0


def test_progress_on_a_terminal_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(300 * KIB)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    waiting.wait_for(table.request(JobKind.SCRUB))
    shown = capsys.readouterr()
    assert "scrub: 100 %, 307 kB of 307 kB" in shown.err
    assert shown.err.endswith("\r\x1b[K")
    assert "is done" in shown.out


def test_progress_in_words() -> None:
    half = Progress(50_000_000, 100_000_000, 10.0, 1, 2)
    assert half.words == "50 %, 50 MB of 100 MB, 5 MB a second, 10 seconds left"
    assert Progress(0, 0, 0.0, 0, 0).words == "0 objects"
    assert Progress(0, 0, 5.0, 1, 4).words == "25 %, 1 of 4 objects, 15 seconds left"
    more = Progress(5000, 4000, 1.0, 0, 0)  # than there was when it began
    assert (more.percent, more.words.split(", ")[1]) == (100.0, "5 kB of 5 kB")
    assert Progress(0, 0, 1.0, 5, 4).words.startswith("100 %, 5 of 5 objects")
    spans = (1, 119, 120, 7200, 86400 * 2)
    words = ["1 second", "119 seconds", "2 minutes", "2 hours", "2 days"]
    assert [duration(seconds) for seconds in spans] == words
