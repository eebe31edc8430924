"""Wait for a job: do its steps here while nobody else does, and show how far it is."""

import sys
import time
from collections.abc import Callable

import click
from sqlalchemy.exc import DBAPIError

from raid.errors import ArrayReadOnly, RaidError
from storage.db import db, release
from storage.errors import StorageError
from storage.jobs import runner
from storage.jobs.progress import Progress
from storage.jobs.table import ACTIVE
from storage.models import Job, JobState
from storage.runtime import runtime

LOOK_SECONDS = 0.5
"""How often a job that another worker does is looked at."""

_SHOWN_ROWS = 100


def is_well(job: Job) -> bool:
    """Tell whether a job came to its end and has nothing to report."""
    return job.state == JobState.DONE and not job.report and not job.problem


def wait_for(number: int, well: Callable[[Job], bool] = is_well) -> None:
    """Stay until a job has ended or is paused, then print what came of it.

    Ends the command with 1 unless all is `well`. Ctrl-C leaves the job to the worker.
    """
    line = _Line()
    try:
        job = _until_it_stands(number, line)
    finally:
        line.clear()
        runner.let_go()
    click.echo("\n".join(told(job)))
    if not well(job):
        raise SystemExit(1)


def _until_it_stands(number: int, line: "_Line") -> Job:
    while True:
        job = _job(number)
        line.show(job)
        if job.state not in ACTIVE or job.state == JobState.PAUSED:
            return job
        if not _step(number):
            time.sleep(LOOK_SECONDS)


def _job(number: int) -> Job:
    job = db.session.get(Job, number, populate_existing=True)
    release()
    if job is None:
        raise click.ClickException(f"There is no job {number}. See: flask array jobs.")
    return job


def _step(number: int) -> bool:
    """Do a step if it is due and nobody else does the job."""
    own = runtime()
    if own.rests.get(number, 0.0) > time.monotonic():
        return False
    try:
        own.check_members()
        own.forget_map()
        if own.array().map.readonly:
            raise ArrayReadOnly("The array is read-only, so no job is done.")
        return bool(runner.run_step(own.array(), number))
    except (RaidError, StorageError, DBAPIError) as error:
        raise click.ClickException(
            f"Job {number} stands still: {error} A worker goes on with it when it can."
        ) from error


def told(job: Job) -> list[str]:
    """Return the lines that say what came of a job."""
    counts = ", ".join(f"{count} {word}" for word, count in job.counts.items())
    lines = [f"The {job.kind} (job {job.id}) is {job.state}. {job.problem or ''}"]
    lines += [f"Counts: {counts}."] if counts else []
    for row in job.report[:_SHOWN_ROWS]:
        lines.append("  " + ", ".join(f"{word} {row[word]}" for word in row))
    more = len(job.report) - _SHOWN_ROWS
    return [*(text.rstrip() for text in lines), *([f"  and {more} more"] * (more > 0))]


class _Line:
    """One line on a terminal that is written over; nothing anywhere else."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, job: Job) -> None:
        """Write how far the job is over what was there."""
        if self._shown:
            text = f"\r\x1b[K{job.kind}: {Progress.of(job).words}"
            click.echo(text, err=True, nl=False)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
