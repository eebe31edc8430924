"""`flask array scrub`, `drill`, `jobs`, `pause`, `resume`, `cancel` and `pace`."""

from collections.abc import Callable

import click
from sqlalchemy import select
from sqlalchemy.orm import defer

from storage.cli.group import array
from storage.cli.waiting import wait_for
from storage.db import db, release
from storage.errors import StorageError
from storage.jobs import drill, scrub, table
from storage.jobs.progress import Progress
from storage.models import Job, JobKind, JobState

_SHOWN = 20
_WAIT = click.option(
    "--wait", is_flag=True, help="Stay until it has ended; exit 0 if all is well."
)


@array.command("scrub")
@click.option(
    "--check", "mode", flag_value=scrub.CHECK, help="Only report what is bad."
)
@click.option(
    "--repair",
    "mode",
    flag_value=scrub.REPAIR,
    default=True,
    help="Repair what is bad (the default).",
)
@_WAIT
def scrub_command(mode: str, wait: bool) -> None:
    """Look at every object of every member: presence, size, tags and parity."""
    number = _ask(JobKind.SCRUB, mode=mode)
    if wait:
        wait_for(number, lambda job: job.state == JobState.DONE and scrub.is_well(job))


@array.command("drill")
@_WAIT
def drill_command(wait: bool) -> None:
    """Read random files with every set of members left out in turn."""
    number = _ask(JobKind.DRILL)
    if wait:
        wait_for(number, lambda job: job.state == JobState.DONE and drill.is_well(job))


def _ask(kind: JobKind, **params: str) -> int:
    try:
        number = table.request(kind, params=params, actor="flask array")
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    # There is one at a time: what was asked for before stays as it was asked for.
    said = db.session.scalar(select(Job.params).where(Job.id == number)) or {}
    release()
    word = " ".join([kind.value, *map(str, said.values())])
    click.echo(f"Job {number}: {word}. See it with: flask array jobs.")
    return number


@array.command("jobs")
def jobs_command() -> None:
    """Print the newest jobs, with how far they are and what they counted."""
    found = db.session.scalars(
        select(Job).order_by(Job.id.desc()).limit(_SHOWN).options(defer(Job.report))
    ).all()
    release()
    if not found:
        click.echo("There was no job yet.")
    for job in found:
        click.echo(f"{job.id:>6}  {job.kind:<10}{job.state:<10} {_words(job)}")


def _words(job: Job) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in job.counts.items() if count)
    said = job.problem or ""
    if job.state in table.ACTIVE:
        return f"{Progress.of(job).words}. {said}".rstrip()
    return f"{counts}. {said}".lstrip(". ").rstrip()


def _change(number: int, change: Callable[..., bool], done: str, why_not: str) -> None:
    if not change(number, actor="flask array"):
        raise click.ClickException(
            f"Job {number} {why_not}, so nothing was changed. See: flask array jobs."
        )
    click.echo(f"Job {number} is {done}.")


@array.command("pause")
@click.argument("number", type=int)
def pause_command(number: int) -> None:
    """Stop a job where it is."""
    _change(number, table.pause, "paused", "is not under way")


@array.command("resume")
@click.argument("number", type=int)
def resume_command(number: int) -> None:
    """Let a paused job go on where it was."""
    _change(number, table.resume, "queued", "is not paused")


@array.command("cancel")
@click.argument("number", type=int)
def cancel_command(number: int) -> None:
    """End a job for good; what it has done so far stays done."""
    _change(number, table.cancel, "cancelled", "is not under way")


@array.command("pace")
@click.argument("percent", required=False)
def pace_command(percent: str | None) -> None:
    """Print or choose the percent of the time that jobs work; `default` resets it."""
    if percent is not None:
        try:
            table.set_pace(None if percent == "default" else int(percent))
        except ValueError as error:
            raise click.ClickException(
                "The pace is a number of percent from 1 to 100, or the word default."
            ) from error
    click.echo(f"Jobs work {table.pace()} percent of the time.")
