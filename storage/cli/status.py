"""`flask array status` and `flask array create`."""

import json

import click
from flask import current_app
from sqlalchemy.exc import DBAPIError

from raid.errors import RaidError
from raid.geometry import Level
from storage import activity, domains, queries, services
from storage.cli.group import array
from storage.errors import NoArray, StorageError
from storage.runtime import runtime


@array.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Print level, state, members and what they are owed; asks every member."""
    try:
        runtime().check_members()
        domains.look(runtime())
        found = queries.status()
    except NoArray as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        raise click.ClickException(
            f"The database can't be used ({error.orig}). Nothing was changed. Check "
            "that it runs and that HOLDFAST_DATABASE_URL is right, then try again."
        ) from error
    assert found is not None
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: queries.ArrayStatus) -> list[str]:
    lines = [
        f"{found.state.capitalize()}. {found.sentence}",
        "",
        f"{found.level}, {found.width} members, {_layout(found)}",
        f"{found.blobs} blobs, {found.bytes} bytes, {found.at_risk} at risk, "
        f"{found.damaged} damaged",
        "",
        f"{'slot':<6}{'state':<12}{'observed':<15}{'owed':>8}  place",
    ]
    for member in found.members:
        slot = "-" if member.slot is None else str(member.slot)
        seen = member.observed or "present"
        lines.append(
            f"{slot:<6}{member.state:<12}{seen:<15}{member.owed:>8}  {member.url}"
        )
        if member.problem:
            lines.append(f"      {member.problem}")
        if member.kept:
            lines.append(f"      {member.keeps}")
    return [*lines, *_more(found)]


def _layout(found: queries.ArrayStatus) -> str:
    """Say how files lie on the members."""
    if found.level == Level.RAID1:
        return "a copy on each"
    if found.level == Level.RAID10:
        where = "on neighbours" if found.width % 2 else "in pairs"
        return f"2 copies of everything, {where}"
    return f"{found.k} data + {found.m} redundant"


def _more(found: queries.ArrayStatus) -> list[str]:
    """Say what is going on, what was done last, and what members share."""
    lines = [f"{job.title}: {job.state}, {job.progress}" for job in found.jobs]
    if found.upkeep is not None:
        lines.append(_last("full scrub", found.upkeep.scrub))
        lines.append(_last("recovery drill", found.upkeep.drill))
        lines.append(found.upkeep.catalogue)
    lines += [warning.sentence for warning in found.warnings]
    return ["", *lines]


def _last(what: str, job: activity.JobLine | None) -> str:
    if job is None or job.finished_at is None:
        return f"No {what} was done yet."
    when = f"{job.finished_at:%Y-%m-%d %H:%M} UTC"
    return f"The last {what} ended on {when}" + (
        f": {job.counted}." if job.counts else "."
    )


@array.command("create")
@click.option(
    "--level",
    help="raid1, raid5, raid6 or raid10; the setting ARRAY_LEVEL otherwise.",
)
@click.argument("urls", nargs=-1)
def create(level: str | None, urls: tuple[str, ...]) -> None:
    """Format empty places as the members of a new array.

    Without URLs, those of the setting ARRAY_MEMBERS are taken.
    """
    settings = current_app.config["HOLDFAST"]
    try:
        services.create_array(
            level or settings.array_level, urls or settings.array_members
        )
    except (StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("The array was made. See it with: flask array status.")
