"""`flask drain`: let the load balancer send people elsewhere, before a stop."""

import time
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from storage import health


@click.command("drain")
@click.option(
    "--wait",
    default=25.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="How long to wait for the load balancer to notice.",
)
@click.option("--off", is_flag=True, help="Take people in again.")
@with_appcontext
def drain(wait: float, off: bool) -> None:
    """Make /readyz say no, and wait until nobody new is sent to this instance.

    Everything is still served meanwhile. A start of the site ends the draining. What
    was waited since it began counts.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    file = health.drain_file(app)
    try:
        if off:
            file.unlink(missing_ok=True)
        else:
            wait -= _since(file)
    except OSError as error:
        raise click.ClickException(
            f"{file} can't be written ({error.strerror}). Run this as the user of the "
            "site, with its settings."
        ) from error
    if off:
        click.echo("This instance is ready again.")
        return
    wait = max(0.0, wait)
    click.echo(f"This instance says that it is not ready; waiting {wait:.3g} s.")
    time.sleep(wait)


def _since(file: Path) -> float:
    """Begin the drain, or return for how many seconds it has been going on.

    On a stop of a host the transfers drain, and then the pages, who need not wait anew.
    """
    try:
        file.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return max(0.0, time.time() - file.stat().st_mtime)
    return 0.0
