"""Every view is private unless it says otherwise; where strangers go and return."""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import (
    Flask,
    current_app,
    has_request_context,
    redirect,
    request,
    url_for,
)
from flask_login import current_user
from werkzeug.wrappers import Response

from auth.audit import note
from auth.errors import NotSignedIn
from auth.models import User

_View = TypeVar("_View", bound=Callable[..., Any])
_LONGEST_NEXT = 2048


def init_app(app: Flask) -> None:
    """Ask every request for a session before anything else looks at it."""
    app.before_request(guard)


def public(view: _View) -> _View:
    """Let everybody use this view; nothing here touches the session for it."""
    view.public = True  # type: ignore[attr-defined]
    return view


def make_public(app: Flask, *endpoints: str) -> None:
    """Open endpoints of packages that do not import this one."""
    for endpoint in endpoints:
        public(app.view_functions[endpoint])


def guard() -> Response | None:
    """Send strangers to the login page, whatever they asked for."""
    if request.endpoint is None:
        return None
    view = current_app.view_functions[request.endpoint]
    if getattr(view, "public", False) or current_user.is_authenticated:
        return None
    return _ask_to_sign_in()


def refuse_disabled(user: User) -> None:
    """Refuse what a request still had under way when its account was disabled.

    `user` is the row as it is now. Commands may do what nobody is signed in for.
    """
    if has_request_context() and not user.is_active:
        note("access", "denied", why="disabled meanwhile")
        raise _not_signed_in()


def _not_signed_in() -> NotSignedIn:
    return NotSignedIn("You are not signed in. Sign in, then try again.")


def _ask_to_sign_in() -> Response:
    note("access", "denied", why="not signed in")
    if wants_json():
        raise _not_signed_in()
    if request.method not in ("GET", "HEAD"):
        return redirect(url_for("auth.login"))
    return redirect(url_for("auth.login", next=_here()))


def _here() -> str:
    path = quote(request.root_path.rstrip("/") + request.path)
    query = request.query_string.decode("ascii", "ignore")
    return f"{path}?{query}" if query else path


def wants_json() -> bool:
    """Tell whether the answer should be JSON: for PUT, and where it is asked for."""
    if request.method == "PUT":
        return True
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def safe_next(target: str | None) -> str:
    """Return `target` if it is a path on this site, else the files.

    Browsers drop tabs and line ends, read a backslash as a slash and `//host` as
    another site, so only a plain path is let through.
    """
    home = "/files/"
    if not target or len(target) > _LONGEST_NEXT:
        return home
    if any(ord(c) <= 32 or ord(c) == 127 or c == "\\" for c in target):
        return home
    if not target.startswith("/") or target.startswith("//"):
        return home
    try:
        parts = urlsplit(target)
    except ValueError:
        return home
    return home if parts.scheme or parts.netloc else target
