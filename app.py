"""The application: a table of contents, and which error is which answer."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from sqlalchemy import exc as database

import auth
import auth.access
import auth.headers
import config
import files.assets
import files.body
import files.errorpages
import files.views
import storage.cli
import storage.db
import storage.health
import storage.logs
import storage.metrics.hook
import storage.migrate
import storage.proxies
import storage.runtime
import storage.views
from auth import errors as accounts
from files import errors as filing
from raid import errors as raid
from storage import errors as storing

# An error that knows its own status or code wins; the most exact class is taken.
ERRORS: dict[type[Exception], tuple[int, str]] = {
    accounts.AuthError: (400, "refused"),
    accounts.NotSignedIn: (401, "not_signed_in"),
    accounts.RegistrationClosed: (403, "registration_closed"),
    accounts.NoSuchUser: (404, "no_such_user"),
    accounts.UnsupportedForm: (415, "unsupported_form"),
    accounts.Throttled: (429, "throttled"),
    filing.FilesError: (400, "bad_request"),
    storing.StorageError: (503, "storage_unavailable"),
    raid.RaidError: (500, "storage_error"),
    raid.Retryable: (503, "storage_unavailable"),
    raid.ArrayReadOnly: (503, "array_read_only"),
    raid.ArrayFailed: (503, "array_failed"),
    raid.WriteRefused: (503, "degraded_write_refused"),
    raid.BlobUnreachable: (503, "members_away"),
    raid.BlobDamaged: (500, "damaged"),
    raid.NoSpace: (507, "no_space"),
}
# The database can't do its work: locked, full, damaged, away, read-only, or every
# connection is taken.
DATABASE_AWAY: tuple[type[Exception], ...] = (
    database.DatabaseError,
    database.InterfaceError,
    database.TimeoutError,
)
# They are DatabaseErrors, too, but it is what was asked that is wrong.
OUR_MISTAKES: tuple[type[Exception], ...] = (
    database.DataError,
    database.IntegrityError,
    database.NotSupportedError,
    database.ProgrammingError,
)


def create_app(environ: Mapping[str, str] | None = None) -> Flask:
    """Put the application together; nothing is opened, made or started here."""
    app = Flask(__name__, static_folder=None)
    config.init_app(app, os.environ if environ is None else environ)
    storage.db.init_app(app)
    storage.migrate.init_app(app)
    auth.headers.init_app(app)
    storage.logs.init_app(app)
    storage.metrics.hook.init_app(app)
    storage.health.init_app(app)
    files.assets.init_app(app)
    files.errorpages.init_app(app)
    files.errorpages.register(app, ERRORS)
    files.errorpages.register_database(app, DATABASE_AWAY, OUR_MISTAKES)
    auth.init_app(app)
    storage.runtime.init_app(app)
    storage.views.init_app(app)
    storage.cli.init_app(app)
    files.views.init_app(app)
    auth.access.make_public(app, "health.healthz", "health.readyz")
    files.body.init_app(app)
    storage.proxies.init_app(app)
    return app


if __name__ == "__main__":
    root = Path(__file__).resolve().parent
    # The launcher is small and stays: it need not carry the application.
    os.execv(  # noqa: S606 - our own interpreter and our own file
        sys.executable, [sys.executable, str(root / "deploy" / "launcher.py")]
    )
