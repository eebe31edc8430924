"""One secret key for all instances: another one would sign people out at random.

The database holds a mark of the key, HMAC-SHA-256 of a fixed text under it, from which
nothing follows about a random key of 32 characters or more. A start compares it.
"""

import hashlib
import hmac

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from auth.errors import AnotherKey
from auth.models import KeyMark
from storage.db import transaction

_TEXT = b"holdfast: the key of all instances"
_ONLY = 1
commands = AppGroup("key", help="The secret key that all instances share.")


def mark(key: str) -> str:
    """Return what the database holds of a key, 64 hexadecimal digits."""
    return hmac.new(key.encode(), _TEXT, hashlib.sha256).hexdigest()


def check() -> None:
    """Note the key if it is the first; raise `AnotherKey` if others have another."""
    settings = current_app.config["HOLDFAST"]
    if settings.on_sqlite or settings.secret_key is None:
        return  # one instance, whose key is nobody else's
    own = mark(settings.secret_key)
    with transaction() as session:
        row = session.get(KeyMark, _ONLY)
        if row is None:
            session.add(KeyMark(id=_ONLY, mark=own))
        elif not hmac.compare_digest(row.mark, own):
            raise AnotherKey(
                "This instance has another secret key than the others of this "
                "database, so people would be signed out at random. Give all of them "
                "the same HOLDFAST_SECRET_KEY. If the key was changed on purpose, on "
                "every instance, say so once: flask key accept"
            )


@commands.command("accept")
@with_appcontext
def accept() -> None:
    """Take the key of this instance for the one that all have from now on."""
    settings = current_app.config["HOLDFAST"]
    if settings.secret_key is None:
        raise click.ClickException("There is no secret key. Set HOLDFAST_SECRET_KEY.")
    with transaction() as session:
        session.merge(KeyMark(id=_ONLY, mark=mark(settings.secret_key)))
    click.echo("Instances with this key start, others refuse. Open forms fail once.")
