"""`flask array widen`, `narrow` and `convert`: another shape, while everybody works."""

import getpass
from collections.abc import Callable

import click

from storage import reshaping
from storage.cli.group import array
from storage.errors import RaidError, StorageError
from storage.runtime import runtime


def _ask(change: Callable[[str], int]) -> None:
    try:
        # A fresh process knows of no member whether it is there.
        runtime().check_members()
        number = change(getpass.getuser())
    except (StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"New files have the new shape from now on; job {number} writes the old ones "
        "anew. See how far it is with: flask array jobs."
    )


@array.command("widen")
@click.argument("urls", nargs=-1, required=True)
def widen(urls: tuple[str, ...]) -> None:
    """Add members at empty places; old files are spread over them, too."""
    _ask(lambda actor: reshaping.widen(urls, actor=actor))


@array.command("narrow")
@click.argument("slot", type=int)
def narrow(slot: int) -> None:
    """Empty a slot; its member is retired when nothing names it any more."""
    _ask(lambda actor: reshaping.narrow(slot, actor=actor))


@array.command("convert")
@click.argument("level")
def convert(level: str) -> None:
    """Change the level: raid1, raid5, raid6 or raid10."""
    _ask(lambda actor: reshaping.convert(level, actor=actor))
