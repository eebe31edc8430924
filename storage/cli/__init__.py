"""`flask array ...`, `worker`, `metrics`, `drain`, a module for each kind."""

from flask import Flask

from storage.cli import (  # noqa: F401 - they add their commands
    jobs,
    members,
    probe,
    recovery,
    reshaping,
    status,
    sweep,
)
from storage.cli.drain import drain
from storage.cli.group import array
from storage.cli.metrics import metrics
from storage.cli.worker import worker


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(array)
    app.cli.add_command(worker)
    app.cli.add_command(metrics)
    app.cli.add_command(drain)
