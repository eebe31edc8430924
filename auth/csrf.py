"""Every change must come from one of our own pages: tokens and origins.

Flask-WTF makes and checks the tokens. This module decides where a token may come from,
because reading `request.form` swallows the body of an upload: views marked `raw_body`
take it from the header alone, and views marked `streamed_form` find it in the stream
by themselves.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError, validate_csrf
from wtforms.validators import ValidationError

from auth.audit import note
from auth.errors import CsrfRefused, UnsupportedForm

# Every form of ours is a handful of fields, or a selection of a few thousand ids.
FORM_BYTES = 1 << 20
HEADER = "X-CSRFToken"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPES = frozenset(
    {"", "application/x-www-form-urlencoded", "multipart/form-data"}
)
_STALE = (
    "This page is out of date: its protection token is missing or belongs to another "
    "session. Nothing was changed. Reload the page and try again."
)
_FOREIGN = (
    "This request came from another site, so it was refused. Nothing was changed. "
    "Open the page here and try again."
)
_View = TypeVar("_View", bound=Callable[..., Any])
_protect = CSRFProtect()


def init_app(app: Flask) -> None:
    """Check every request that may change something."""
    app.config.update(
        WTF_CSRF_CHECK_DEFAULT=False,
        # Bound to the session instead: a page that is left open all day still works.
        WTF_CSRF_TIME_LIMIT=None,
        # `Origin` and `Sec-Fetch-Site` do this, and Referer may be switched off.
        WTF_CSRF_SSL_STRICT=False,
        WTF_CSRF_HEADERS=[HEADER],
    )
    _protect.init_app(app)
    app.before_request(guard)


def raw_body(view: _View) -> _View:
    """Mark a view whose body must never be parsed: the token comes in the header."""
    view.csrf_source = "header"  # type: ignore[attr-defined]
    return view


def streamed_form(view: _View) -> _View:
    """Mark a view that reads its multipart body itself and must call `check`.

    A token in the header is checked before the view; `header_token()` tells it so.
    """
    view.csrf_source = "stream"  # type: ignore[attr-defined]
    return view


def header_token() -> str | None:
    """Return the token in the header, if one was sent."""
    return request.headers.get(HEADER)


def check(token: str | None) -> None:
    """Refuse the request unless the token is one of the present session."""
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise _stale() from error


def guard() -> None:
    """Refuse a change that does not come from our own pages."""
    if request.method in _SAFE or request.endpoint is None:
        return
    _refuse_foreign()
    view = current_app.view_functions[request.endpoint]
    source = getattr(view, "csrf_source", "form")
    if source == "form":
        _check_form()
    elif source == "header" or header_token() is not None:
        check(header_token())


def _refuse_foreign() -> None:
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site not in ("same-origin", "none"):
        raise _foreign()
    origin = request.headers.get("Origin")
    if origin is not None and not _own(origin):
        raise _foreign()


def _own(origin: str) -> bool:
    public = current_app.config["HOLDFAST"].public_url
    try:
        sent = urlsplit(origin)
        ours = urlsplit(public or "")
    except ValueError:
        return False
    if public and (sent.scheme, sent.netloc) == (ours.scheme, ours.netloc):
        return True
    return sent.scheme in ("http", "https") and sent.netloc == request.host


def _check_form() -> None:
    if request.mimetype not in _FORM_TYPES:
        raise UnsupportedForm(
            "A form is sent as application/x-www-form-urlencoded or "
            "multipart/form-data. Nothing was changed."
        )
    request.max_content_length = FORM_BYTES
    try:
        _protect.protect()
    except CSRFError as error:
        raise _stale() from error


def _stale() -> CsrfRefused:
    note("csrf", "denied", why="token")
    return CsrfRefused(_STALE)


def _foreign() -> CsrfRefused:
    note("csrf", "denied", why="other site")
    return CsrfRefused(_FOREIGN)
