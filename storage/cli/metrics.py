"""`flask metrics`: the process that serves the numbers of this instance."""

import signal
import sys

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from storage import logs


@click.command("metrics")
@with_appcontext
def metrics() -> None:
    """Serve GET /metrics on METRICS_BIND; the launcher starts this by itself."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    bind = app.config["HOLDFAST"].metrics_bind
    if bind is None:
        raise click.ClickException(
            "HOLDFAST_METRICS_BIND is not set, so nothing is counted. Set it to an "
            "address such as 127.0.0.1:9464, and start the site again."
        )
    from storage.metrics import server

    logs.set_up()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        listening = server.listen(bind, server.text_of(app))
    except server.Taken as error:
        raise click.ClickException(str(error)) from error
    with listening:
        listening.serve_forever()
