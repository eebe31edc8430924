"""Assets under one digest, and icons drawn into the page.

Style sheets and modules name each other by relative paths, so there is one digest over
all of them: `/static/<digest>/<path>` never changes and may be kept for ever. What an
installed package brings is served from there and never copied into this repository.
"""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, request
from markupsafe import Markup, escape

from auth.access import public

_BOOTSTRAP = "static/bootstrap5"
_FROM_BOOTSTRAP = {
    "bootstrap/bootstrap.min.css": "css/bootstrap.min.css",
    "bootstrap/bootstrap.min.js": "js/bootstrap.min.js",
    "bootstrap/popper.min.js": "umd/popper.min.js",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_MINUTE = "public, max-age=60"
_DIGEST_LENGTH = 16


class Assets:
    """The table of everything that is served, and its digest."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(sorted(paths.items()))
        self.tags = {name: _digest(path) for name, path in self.paths.items()}
        whole = sha256()
        for name, tag in self.tags.items():
            whole.update(f"{name}\0{tag}\0".encode())
        self.digest = whole.hexdigest()[:_DIGEST_LENGTH]

    def url(self, base: str, name: str) -> str:
        """Return the address of an asset, or raise because a template misspelt it."""
        if name not in self.paths:
            raise LookupError(f"There is no asset {name!r}.")
        return f"{base}/{self.digest}/{name}"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:_DIGEST_LENGTH]


def _bootstrap() -> Path:
    return Path(str(package_files("flask_bootstrap"))) / _BOOTSTRAP


@cache
def collect(folder: Path) -> Assets:
    """Gather our own files in `folder` and those that we take from Bootstrap-Flask."""
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in TYPES
    }
    for name, inside in _FROM_BOOTSTRAP.items():
        paths[name] = _bootstrap() / inside
    return Assets(paths)


def current() -> Assets:
    """Return the assets of this application."""
    return collect(Path(current_app.root_path) / "static")


def asset(name: str) -> str:
    """Return the address of an asset, for templates."""
    return current().url(current_app.config["HOLDFAST"].static_url, name)


@public
def serve(path: str = "") -> Response:
    """Send an asset; only an address with the right digest may be kept for ever."""
    digest, _, name = path.partition("/")
    assets = current()
    if digest == assets.digest and name in assets.paths:
        return _send(assets, name, FOR_EVER)
    if path in assets.paths:
        return _send(assets, path, FOR_A_MINUTE)
    # Not the error page: it has a form's token, and so a cookie.
    return Response("There is no such asset.\n", 404, mimetype="text/plain")


def _send(assets: Assets, name: str, keep: str) -> Response:
    path = assets.paths[name]
    response = Response(path.read_bytes(), content_type=TYPES[path.suffix])
    # The content makes the tag: a time stamp would differ between instances.
    response.set_etag(assets.tags[name])
    response.headers["Cache-Control"] = keep
    response.make_conditional(request)
    return response


@cache
def _drawing(name: str) -> tuple[str, str]:
    """Cut one icon out of the sprite, which is far too large to be sent."""
    sprite = (_bootstrap() / "icons/bootstrap-icons.svg").read_text(encoding="utf-8")
    pattern = rf'<symbol [^>]*viewBox="([^"]*)" id="{re.escape(name)}">(.*?)</symbol>'
    found = re.search(pattern, sprite, re.DOTALL)
    if found is None:
        raise LookupError(f"There is no icon {name!r} among the Bootstrap icons.")
    return found[1], found[2]


def icon(name: str, label: str | None = None) -> Markup:
    """Draw an icon; with a label it is an image of its own, else a decoration."""
    box, drawing = _drawing(name)
    role = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    # The drawing comes out of an installed package, never from a user.
    return Markup(  # noqa: S704
        f'<svg class="icon" width="1em" height="1em" fill="currentColor" '
        f'viewBox="{box}" focusable="false" {role}>{drawing}</svg>'
    )


def symbol(name: str) -> Markup:
    """Define an icon once, for a page that shows it in every row with `<use>`."""
    box, drawing = _drawing(name)
    return Markup(  # noqa: S704 - from the same installed package
        f'<symbol id="i-{escape(name)}" viewBox="{box}">{drawing}</symbol>'
    )


def init_app(app: Flask) -> None:
    """Serve the assets and give templates `asset`, `icon` and `symbol`."""
    helpers: dict[str, Any] = {"asset": asset, "icon": icon, "symbol": symbol}
    app.jinja_env.globals.update(helpers)
    for rule in ("/static/", "/static/<path:path>"):
        app.add_url_rule(rule, "static", serve, methods=["GET"])
