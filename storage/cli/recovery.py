"""`flask array recover`."""

import click
from sqlalchemy.exc import DBAPIError

from raid.errors import RaidError
from storage import migrate
from storage.cli.group import array
from storage.errors import StorageError
from storage.journal import recovery


@array.command("recover")
@click.option("--dry-run", is_flag=True, help="Print the report and write nothing.")
@click.argument("urls", nargs=-1)
def recover(dry_run: bool, urls: tuple[str, ...]) -> None:
    """Rebuild the database from the members.

    For an empty database, and for one that was restored from an old backup. Without
    URLs the members are looked for where the setting ARRAY_MEMBERS says. Nothing is
    ever removed from a member. Ends with 1 when a file is damaged.
    """
    try:
        if migrate.stored_version() is None:
            migrate.upgrade()  # an empty database: tables are no content
        migrate.require_current()
        report = recovery.recover(urls, dry_run=dry_run)
    except (StorageError, RaidError, migrate.DatabaseError) as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        raise click.ClickException(
            f"The database can't be used ({error.orig}). Nothing was changed. Check "
            "that it runs and that HOLDFAST_DATABASE_URL is right, then try again."
        ) from error
    click.echo("\n".join(report.lines))
    if report.changes and dry_run:
        click.echo("Nothing was written, because this was a dry run.")
    elif report.changes:
        click.echo("The database was rebuilt. Start the site: it begins an inventory.")
    if report.damaged:
        raise click.exceptions.Exit(1)
