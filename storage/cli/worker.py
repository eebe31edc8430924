"""`flask worker`."""

import logging
import signal

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from storage import logs, migrate
from storage.metrics import hook
from storage.worker import Worker


@click.command("worker")
@click.option("--once", is_flag=True, help="Do what is due, then end.")
@with_appcontext
def worker(once: bool) -> None:
    """Pay debts, purge, undo abandoned uploads: the background work."""
    logs.set_up()
    try:
        migrate.require_current()
    except migrate.DatabaseError as error:
        raise click.ClickException(str(error)) from error
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    hook.begin(app)
    working = Worker()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: working.stop())
    logging.getLogger("holdfast.worker").info("The worker has started.")
    if once:
        working.run_once()
    else:
        working.run()
