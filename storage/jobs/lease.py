"""A lease that is renewed for as long as a step takes.

A step should take a second, but a bucket may make it take a minute. Without this
another worker would take the job over meanwhile, and what the first one did would be
refused. A process that stands still, or is gone, renews nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

_LOG = logging.getLogger("holdfast.jobs")


@contextmanager
def renewed(renew: Callable[[], Any], every_seconds: float) -> Iterator[None]:
    """Call ``renew`` in a thread now and then while the block runs."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every_seconds):
            try:
                with app.app_context():
                    renew()
            except SQLAlchemyError as error:
                # The step may end in time all the same; else it is done once more.
                _LOG.warning("A lease could not be renewed: %s", error)

    thread = threading.Thread(target=go_on, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
