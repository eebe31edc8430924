"""`flask array widen`, `narrow` and `convert`: another shape, while everybody works."""

import getpass
from collections.abc import Callable

import click

from storage import reshaping
from storage.cli.group import array
from storage.cli.waiting import wait_for
from storage.errors import RaidError, StorageError
from storage.runtime import runtime

_wait = click.option(
    "--wait", is_flag=True, help="Stay until every old file is written anew."
)


def _ask(change: Callable[[str], int], wait: bool) -> None:
    try:
        # A fresh process knows of no member whether it is there.
        runtime().check_members()
        number = change(getpass.getuser())
    except (StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error
    if wait:
        wait_for(number)
        return
    click.echo(
        f"New files have the new shape from now on; job {number} writes the old ones "
        "anew. See how far it is with: flask array jobs."
    )


@array.command("widen")
@click.argument("urls", nargs=-1, required=True)
@_wait
def widen(urls: tuple[str, ...], wait: bool) -> None:
    """Add members at empty places; old files are spread over them, too."""
    _ask(lambda actor: reshaping.widen(urls, actor=actor), wait)


@array.command("narrow")
@click.argument("slot", type=int)
@_wait
def narrow(slot: int, wait: bool) -> None:
    """Empty a slot; its member is retired when nothing names it any more."""
    _ask(lambda actor: reshaping.narrow(slot, actor=actor), wait)


@array.command("convert")
@click.argument("level")
@_wait
def convert(level: str, wait: bool) -> None:
    """Change the level: raid1, raid5, raid6 or raid10."""
    _ask(lambda actor: reshaping.convert(level, actor=actor), wait)
