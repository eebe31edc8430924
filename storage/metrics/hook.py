"""Let an application count, where METRICS_BIND asks for it; else this costs nothing."""

from typing import TYPE_CHECKING

from flask import Flask, request
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from storage.metrics.meters import Meters

_KEY = "holdfast_meters"
_RUNTIME = "holdfast_runtime"


def init_app(app: Flask) -> None:
    """Count requests, when somebody will read the numbers."""
    if app.config["HOLDFAST"].metrics_bind is None:
        return
    # It loads an HTTP server and more, which nobody needs who does not count.
    from storage.metrics.meters import ENDPOINT, Counting, Meters

    def name(response: Response) -> Response:
        request.environ[ENDPOINT] = request.endpoint
        return response

    meters = app.extensions[_KEY] = Meters(app, _RUNTIME)
    app.wsgi_app = Counting(app.wsgi_app, meters)  # type: ignore[method-assign]
    app.after_request(name)


def begin(app: Flask) -> None:
    """Write the numbers of this process down; the worker has no requests."""
    meters: Meters | None = app.extensions.get(_KEY)
    if meters is not None:
        meters.begin()
