"""`flask array sweep` and `flask array quarantine`."""

import click

from raid.errors import RaidError
from storage import quarantine
from storage.cli.group import array
from storage.cli.waiting import wait_for
from storage.db import db, release
from storage.errors import StorageError
from storage.jobs import table
from storage.models import Job, JobKind, JobState
from storage.runtime import runtime


@array.command("sweep")
@click.option(
    "--delete", "remove", is_flag=True, help="Move what may go to quarantine."
)
@click.option(
    "--wait", is_flag=True, help="Stay until it has ended, and say what came."
)
def sweep(remove: bool, wait: bool) -> None:
    """Find objects on the members that no file needs.

    What is found is reported and remembered. With --delete, what was already unknown
    in a sweep at least a day ago and is at least a day old moves to quarantine, from
    which it goes after 30 days. Every member has to be there.
    """
    try:
        number = table.request(
            JobKind.SWEEP, params={"delete": remove}, actor="flask array"
        )
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    if remove and not _deletes(number):
        raise click.ClickException(
            f"A sweep that only looks is on its way (job {number}), and there is one "
            "at a time. Let it end, then ask again."
        )
    click.echo(f"The sweep is job {number}.")
    if wait:
        wait_for(number, _is_well)


def _deletes(number: int) -> bool:
    job = db.session.get_one(Job, number)
    release()
    return bool(job.params.get("delete", True))


def _is_well(job: Job) -> bool:
    """Tell whether a sweep came to its end: finding something is what it is for."""
    return job.state == JobState.DONE


@array.command("quarantine")
def count() -> None:
    """Count what was moved aside on each member; it goes after 30 days."""
    try:
        runtime().check_members()
        counted = quarantine.held(runtime().array())
    except (RaidError, StorageError) as error:
        raise click.ClickException(str(error)) from error
    for slot, (objects, size) in sorted(counted.items()):
        click.echo(f"slot {slot}: {objects} objects, {size} bytes")
