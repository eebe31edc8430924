"""Is this process alive, and can it serve? For load balancers: local checks only.

Members and the database are no part of the answer: one shared fault would take every
instance out at once. A degraded or failed array stays ready.
"""

import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, current_app, make_response

from storage import migrate

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROOM = 16 << 20
DRAINING = "draining"
"""A file in the data folder: while it is there, nobody new shall be sent here."""
blueprint = Blueprint("health", __name__)


def _say(ready: bool, word: str) -> Response:
    response = make_response({"status": word}, 200 if ready else 503)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer: the process is alive."""
    return _say(True, "alive")


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer: this process can serve requests."""
    if drain_file(current_app).exists():
        return _say(False, "draining")
    if shutil.disk_usage(current_app.config["HOLDFAST"].data_dir).free < ROOM:
        return _say(False, "the data folder is full")
    if not migrate.was_current():
        return _say(False, "the database is not up to date")
    if not _listens(current_app.config["HOLDFAST"].transfers_bind):
        return _say(False, "nobody takes uploads and downloads")
    return _say(True, "ready")


def _listens(bind: str | None) -> bool:
    """Tell whether somebody takes connections there, or nobody is meant to.

    Nothing is asked, and one who is too busy to answer is there: pages go on without.
    """
    if bind is None:
        return True
    try:
        _connect(bind).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        pass
    return True


def _connect(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    if not bind.startswith("unix:"):
        return socket.create_connection((host.strip("[]"), int(port)), 1)
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(1)
        link.connect(bind.removeprefix("unix:"))
    except OSError:
        link.close()
        raise
    return link


def drain_file(app: Flask) -> Path:
    """Return the file by which `flask drain` tells every process of this instance."""
    folder: Path = app.config["HOLDFAST"].data_dir
    return folder / DRAINING


class AnyHost:
    """Let these two be asked under any name, one that no host can have included.

    Load balancers write what they like there, and routing would refuse some of it.
    """

    def __init__(self, inner: "WSGIApplication") -> None:
        self._inner = inner

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Pass the request on."""
        if environ.get("PATH_INFO") in ("/healthz", "/readyz"):
            environ["HTTP_HOST"] = "localhost"
        return self._inner(environ, start_response)


def init_app(app: Flask) -> None:
    """Add the two addresses."""
    app.register_blueprint(blueprint)
    app.wsgi_app = AnyHost(app.wsgi_app)  # type: ignore[method-assign]
