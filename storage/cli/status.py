"""`flask array status` and `flask array create`."""

import json

import click
from flask import current_app
from sqlalchemy.exc import DBAPIError

from raid.errors import RaidError
from storage import queries, services
from storage.cli.group import array
from storage.errors import NoArray, StorageError
from storage.runtime import runtime


@array.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Print level, state, members and what they are owed; asks every member."""
    try:
        runtime().check_members()
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
        f"{found.level}, {found.width} members, {found.k} data + {found.m} redundant",
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
    return lines


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
