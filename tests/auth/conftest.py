"""An application with nothing but accounts in it, on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, jsonify, render_template, request
from flask_login import current_user
from jinja2 import DictLoader

import auth
import config
from auth import access, csrf, errors, headers
from auth.models import LoginFailure, LoginSession, User
from storage import db as database
from storage import logs, proxies
from support import database as support
from support.people import Person

_PAGE = """<meta name="csrf-token" content="{{ csrf_token() }}">
<p class="problem">{{ problem or "" }}</p>
<form>{% for f in form if f.name != "csrf_token" %}{{ f.name }}
<b>{{ f.errors | join(" ") }}</b>{% endfor %}</form>
{% if registration_open %}<a href="/auth/register">Create an account</a>{% endif %}
<i class="next">{{ next }}</i><u>{{ current_user.name }}</u>"""
_TABLES = [kind.__table__ for kind in (User, LoginSession, LoginFailure)]
STATUS = {
    errors.NotSignedIn: 401,
    errors.RegistrationClosed: 403,
    errors.UnsupportedForm: 415,
    errors.Throttled: 429,
}


def _answer(error: errors.AuthError) -> tuple[Response, int]:
    body = jsonify(error={"code": error.code, "message": str(error)})
    return body, STATUS.get(type(error), 400)


def _add_views(app: Flask) -> None:
    """Stand-ins for the views that other packages protect with this one."""
    app.done = []  # type: ignore[attr-defined]

    @app.get("/files/")
    def files() -> str:
        return render_template("page.html")

    @app.post("/change")
    def change() -> str:
        app.done.append(request.form["what"])  # type: ignore[attr-defined]
        return "changed"

    @app.put("/raw/<name>")
    @csrf.raw_body
    def raw(name: str) -> str:
        app.done.append(request.stream.read())  # type: ignore[attr-defined]
        return "stored"

    @app.post("/stream")
    @csrf.streamed_form
    def stream() -> str:
        body = request.stream.read()
        if csrf.header_token() is None:
            csrf.check(body.decode())
        app.done.append(body)  # type: ignore[attr-defined]
        return "stored"

    @app.get("/admin")
    def admin() -> str:
        if not current_user.is_admin:
            abort(404)
        return "secret"

    @app.get("/health")
    def health() -> str:
        return "alive"

    access.make_public(app, "health")


def build(settings: config.Settings) -> Flask:
    """Build the application; its tables are empty."""
    app = Flask("holdfast", static_folder=None)
    pages = ("page", "auth/login", "auth/register", "auth/password")
    app.jinja_loader = DictLoader({f"{page}.html": _PAGE for page in pages})
    app.config.update(HOLDFAST=settings, SECRET_KEY=settings.secret_key, TESTING=True)
    logs.init_app(app)
    database.init_app(app)
    headers.init_app(app)
    auth.init_app(app)
    app.register_error_handler(errors.AuthError, _answer)
    _add_views(app)
    proxies.init_app(app)
    with app.app_context():
        database.db.metadata.create_all(database.db.engine, tables=_TABLES)
        _empty()
    return app


def _empty() -> None:
    with database.transaction() as rows:
        for table in reversed(_TABLES):
            rows.execute(table.delete())


@pytest.fixture(scope="session")
def accounts_url(postgres: support.Postgres) -> Iterator[str]:
    """One PostgreSQL database for all tests of accounts; each empties it first."""
    with postgres.empty_database() as url:
        yield url


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> str | None:
    """Where the rows are; None is a new file in the data folder."""
    if database_kind == "sqlite":
        return None
    return str(request.getfixturevalue("accounts_url"))


@pytest.fixture
def make(tmp_path: Path, database_url: str | None) -> Iterator[Callable[..., Flask]]:
    """A function that builds the application with other settings."""
    settings = config.load(support.environment(tmp_path, database_url))
    with ExitStack() as stack:

        def build_with(**changes: Any) -> Flask:
            app = build(replace(settings, **changes))
            stack.callback(support.close, app)
            return app

        yield build_with


@pytest.fixture
def app(make: Callable[..., Flask]) -> Flask:
    """The application as it is set up by default."""
    return make()


@pytest.fixture
def person(app: Flask) -> Person:
    """Somebody without an account."""
    return Person(app)
