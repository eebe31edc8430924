"""Errors as a page or as JSON, always with the id of the request.

Which class is which status stands in one table in app.py; this module only renders. A
page for an error of our own is drawn without touching the database, and when even that
fails a page without a template says the same.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Flask, Response, current_app, make_response, render_template, request
from flask_login import current_user
from markupsafe import escape
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, HTTPException

from auth.access import wants_json
from storage.errors import RaidError
from storage.logs import note, request_id

LOG = logging.getLogger("holdfast.errors")


@dataclass(frozen=True)
class Failure:
    """What is said about an error."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False


TITLES = {
    400: "This can't be done",
    401: "You are not signed in",
    403: "This is not yours to do",
    404: "Nothing is here",
    405: "This can't be done here",
    408: "That took too long",
    409: "That clashes with what is there",
    412: "This has changed in the meantime",
    413: "That is too much",
    415: "That kind of request isn't understood",
    416: "There are no such bytes",
    422: "This can't be done",
    429: "Too many attempts",
    500: "Something broke on our side",
    503: "This can't be reached right now",
    507: "There is no room",
}
_MESSAGES = {
    400: "The request makes no sense to the server. Nothing was changed.",
    403: "You may not do this. Nothing was changed.",
    404: "There is nothing here. It may have been moved, deleted, or never existed.",
    405: "This address does not take that kind of request. Nothing was changed.",
    413: "The request is larger than this address takes. Nothing was changed.",
    415: "This address does not take that kind of body. Nothing was changed.",
    416: "The file does not have the bytes that were asked for.",
    429: "There were too many attempts. Wait a little, then try again.",
    500: "The server made a mistake. Your files are as they were.",
    503: "The server can't do this at the moment. Try again in a little while.",
}
_CODES = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_type",
    416: "bad_range",
    429: "throttled",
    500: "internal",
    503: "unavailable",
}
_ADVICE = {
    400: "Go back, reload the page and try again.",
    404: "Look for it in your files or in the trash.",
    409: "Reload the page to see how things stand.",
    412: "Reload the page to see how things stand.",
    500: "Try again. If it happens again, give an administrator the request id.",
    503: "Try again in a little while. Nothing is lost.",
    507: "Ask an administrator for more room, then try again.",
}
_TABLE = "holdfast_errors"
_AWAY = "holdfast_database_away"
# What these headers say belongs to the error and not to its text.
_KEPT = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")


def answer(failure: Failure) -> Response:
    """Turn a failure into JSON or a page."""
    note(error=failure.code)
    response = _json(failure) if wants_json() else _page(failure)
    response.status_code = failure.status
    response.headers.update(failure.headers)
    return response


def _json(failure: Failure) -> Response:
    error = {
        "code": failure.code,
        "message": failure.message,
        "request_id": request_id(),
    }
    return make_response({"error": error})


def _page(failure: Failure) -> Response:
    facts = {
        "code": failure.status,
        "title": TITLES.get(failure.status, TITLES[400]),
        "message": failure.message,
        "advice": _ADVICE.get(failure.status, ""),
        "request_id": request_id(),
    }
    if not failure.plain:
        try:
            return make_response(render_template("error.html", plain=False, **facts))
        except Exception:
            # An error page must come out whatever is broken; the log keeps the reason.
            LOG.exception("The error page could not be drawn.")
    return make_response(_plain_page(facts))


def _plain_page(facts: dict[str, object]) -> str:
    """Draw the page without the session and the database."""
    try:
        template = current_app.jinja_env.get_template("error.html")
        return template.render(plain=True, **facts)
    except Exception:
        LOG.exception("The plain error page could not be drawn.")
        return _bare_page(facts)


def _bare_page(facts: dict[str, object]) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(facts['title'])} · Holdfast</title>"
        f"<h1>{escape(facts['title'])}</h1><p>{escape(facts['message'])}</p>"
        f"<p>{escape(facts['advice'])}</p><p>Request {escape(facts['request_id'])}</p>"
        '<p><a href="/files/">To your files</a></p></html>'
    )


def _http_error(error: HTTPException) -> Response | HTTPException:
    """Answer what Flask and Werkzeug raise; redirects pass."""
    status = error.code or 500
    if status < 400 or error.response is not None:
        return error
    kept = {key: value for key, value in error.get_headers() if key in _KEPT}
    return answer(
        Failure(
            status,
            _CODES.get(status, "refused"),
            _MESSAGES.get(status, _MESSAGES[400 if status < 500 else 500]),
            kept,
            plain=status == 500,
        )
    )


def _refuse_bad_utf8() -> None:
    """Refuse an address that is not UTF-8; names would lose bytes otherwise."""
    try:
        str(request.environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadRequest from error


def register(
    app: Flask,
    table: Mapping[type[Exception], tuple[int, str]],
) -> None:
    """Answer each class of the table with its status and code; the rest is a 500."""
    app.extensions[_TABLE] = table
    for kind in table:
        app.register_error_handler(kind, _answer_known)


def register_database(
    app: Flask,
    away: tuple[type[Exception], ...],
    mistakes: tuple[type[Exception], ...],
) -> None:
    """Answer for a database that can't do its work; our own mistakes are a 500."""
    app.extensions[_AWAY] = away, mistakes
    for kind in away:
        app.register_error_handler(kind, _answer_without_database)
    for kind in mistakes:
        app.register_error_handler(kind, _our_mistake)


def _answer_known(error: Exception) -> Response:
    said = failure(error)
    if said.status >= 500:
        # Which members, which object: an operator looks for it in the log.
        note(why=str(error))
    return answer(said)


def failure(error: Exception) -> Failure:
    """Return what is said about an error of the table, be it one of several."""
    table = current_app.extensions[_TABLE]
    status, code = next(table[kind] for kind in type(error).__mro__ if kind in table)
    status = int(getattr(error, "status", status))
    wait = getattr(error, "retry_after", 5 if status == 503 else None)
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return Failure(status, str(getattr(error, "code", code)), told(error), headers)


def told(error: Exception) -> str:
    """Return what the present user is told; places are for administrators only."""
    if isinstance(error, RaidError) and not _for_administrator():
        return error.plain
    return str(error)


def _for_administrator() -> bool:
    try:
        return bool(getattr(current_user, "is_admin", False))
    except SQLAlchemyError:  # who that is can't be looked up now
        return False


def without_database(error: Exception) -> Failure:
    """Return what is said when the database can't do its work; the log says why.

    An error of the database that we caused is raised again.
    """
    away, mistakes = current_app.extensions[_AWAY]
    if isinstance(error, mistakes) or not isinstance(error, away):
        raise error
    LOG.warning("The database did not answer.", extra={"fields": {"why": str(error)}})
    return Failure(
        503,
        "database_unavailable",
        "The database is busy or can't be reached, so this was not done. "
        "Nothing is lost.",
        {"Retry-After": "5"},
        plain=True,
    )


def _answer_without_database(error: Exception) -> Response:
    return answer(without_database(error))


def _our_mistake(error: Exception) -> Response:
    # An error of the database that we caused is the 500 that it is.
    raise error


def init_app(app: Flask) -> None:
    """Answer every error of Flask's own, and addresses that are not UTF-8."""
    app.register_error_handler(HTTPException, _http_error)
    app.before_request(_refuse_bad_utf8)
