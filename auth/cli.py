"""Commands for accounts: `flask user create`, `passwd` and `disable`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from auth import services
from auth.audit import note
from auth.errors import AuthError, WeakPassword
from auth.passwords import LONGEST
from auth.queries import user_named
from storage import migrate

commands = AppGroup("user", help="Make accounts, set passwords, close accounts.")
_from_stdin = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input instead of asking for it.",
)


@contextmanager
def _said_clearly() -> Iterator[None]:
    """Turn what goes wrong into one sentence and exit code 1."""
    try:
        migrate.refuse_newer()
        yield
    except (AuthError, migrate.DatabaseError) as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        raise click.ClickException(_database_trouble()) from error


def _database_trouble() -> str:
    try:
        migrate.require_current()
    except migrate.DatabaseError as problem:
        return str(problem)
    except DBAPIError as problem:
        return f"The database can't be reached: {problem.orig}. Nothing was changed."
    return "The database is busy. Nothing was changed. Try again in a moment."


@commands.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@_from_stdin
def create(name: str, admin: bool, password_stdin: bool) -> None:
    """Make an account called NAME."""
    with _said_clearly():
        user = services.create_user(name, _password(password_stdin), admin=admin)
    note("user create", "ok", account=user.name)
    kind = "Administrator" if user.is_admin else "User"
    click.echo(f"{kind} {user.name} was created.")


@commands.command("passwd")
@click.argument("name")
@_from_stdin
def passwd(name: str, password_stdin: bool) -> None:
    """Set the password of NAME; their browsers are signed out."""
    with _said_clearly():
        user_named(name)
        user = services.set_password(name, _password(password_stdin))
    note("user passwd", "ok", account=user.name)
    click.echo(f"The password of {user.name} was set. Their sessions have ended.")


@commands.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Close the account of NAME at once; their files stay."""
    with _said_clearly():
        user = services.disable(name)
    note("user disable", "ok", account=user.name)
    click.echo(f"{user.name} is disabled. Their sessions have ended; files stay.")


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    # One byte more than any password can have shows that there is too much.
    raw = sys.stdin.buffer.read(4 * LONGEST + 3)
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise WeakPassword("The password on standard input is not UTF-8.") from error
