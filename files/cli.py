"""`flask files import` and `export`: whole trees into a user's folders and out."""

import sys
import time
from pathlib import Path

import click
from flask import Flask
from flask.cli import AppGroup

from auth.errors import AuthError
from auth.queries import user_named
from files.errors import FilesError
from files.exporter import Exporter
from files.importer import Importer, Stopped, Tally
from storage.errors import RaidError, StorageError
from storage.words import filesize

commands = AppGroup("files", help="Bring files in from this machine, and out.")
_EVERY_SECONDS = 0.2


class Progress:
    """One line on a terminal that is written over; nothing anywhere else."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._began = time.monotonic()
        self._last = 0.0

    def update(self, tally: Tally) -> None:
        """Show how far it is, a few times a second."""
        now = time.monotonic()
        if self._shown and now - self._last >= _EVERY_SECONDS:
            self._last = now
            click.echo(f"\r\x1b[K{self.summary(tally)}", err=True, nl=False)

    def line(self, text: str) -> None:
        """Show a line of the report above the progress."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
        click.echo(text, err=True)

    def summary(self, tally: Tally) -> str:
        """Say what has been brought in, and how fast."""
        seconds = max(time.monotonic() - self._began, 0.001)
        rate = filesize(int(tally.bytes / seconds))
        return f"{tally.files} files, {filesize(tally.bytes)}, {rate}/s"


@commands.command("import")
@click.argument(
    "source",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--user", "name", required=True, help="Whose files they become.")
@click.option("--into", default="", help="Folder for them, made if it is missing.")
@click.option(
    "--replace",
    is_flag=True,
    help="Replace files that are there with another size or time.",
)
def import_tree(source: Path, name: str, into: str, replace: bool) -> None:
    """Bring what DIR holds into the folders of a user.

    It can be repeated: files that are there with the same size and time are passed
    over. Files that are there but differ are reported and stay as they are, unless
    --replace is given. Links and special files are left out. Ends with 1 if anything
    could not be brought in.
    """
    progress = Progress()
    try:
        user_id = user_named(name).id
        importer = Importer(
            user_id, replace=replace, progress=progress.update, report=progress.line
        )
        importer.run(source, into)
    except Stopped as error:
        _finish(progress, importer.tally)
        raise click.ClickException(f"Stopped at {error}") from error
    except (AuthError, FilesError, StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error
    _finish(progress, importer.tally)
    if importer.tally.failed:
        raise click.ClickException(
            f"{len(importer.tally.failed)} could not be brought in; see above."
        )


def _finish(progress: Progress, tally: Tally) -> None:
    progress.line(
        f"Brought in {progress.summary(tally)}; {tally.folders} new folders, "
        f"{tally.already} files were there already, {len(tally.skipped)} left out, "
        f"{len(tally.failed)} failed."
    )


@commands.command("export")
@click.argument("folder")
@click.argument(
    "target", metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--user", "name", required=True, help="Whose files they are.")
@click.option("--replace", is_flag=True, help="Replace files that are in DIR.")
def export_tree(folder: str, target: Path, name: str, replace: bool) -> None:
    """Write what FOLDER of a user holds into DIR as a plain tree.

    FOLDER is a path such as / or /Photos/2024. Every byte is verified while it is
    read, and files get their times. It can be repeated: files that are there with the
    same size and time are passed over, and those that differ stay unless --replace is
    given. What can't be read or written is listed at the end, and then it ends with 1.
    """
    progress = Progress()
    try:
        user_id = user_named(name).id
        exporter = Exporter(user_id, replace=replace, progress=progress.update)
        exporter.run(folder, target)
    except Stopped as error:
        _written(progress, exporter.tally)
        raise click.ClickException(f"Stopped at {error}") from error
    except (AuthError, FilesError, StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error
    _written(progress, exporter.tally)
    if exporter.tally.failed:
        raise click.ClickException(
            f"{len(exporter.tally.failed)} could not be written; see above."
        )


def _written(progress: Progress, tally: Tally) -> None:
    for line in tally.failed:
        progress.line(line)
    progress.line(
        f"Wrote {progress.summary(tally)}; {tally.folders} new folders, "
        f"{tally.already} files were there already, {len(tally.failed)} failed."
    )


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(commands)
