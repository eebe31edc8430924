"""Make a machine ready to serve: settings, folder, key, database, members.

The launcher runs this in a process of its own and waits for it; it may be repeated at
any time and changes nothing the second time.
"""

import os
import secrets
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

import config
from deploy.parsers import ROOT
from storage import health
from storage.metrics import place


class NotReady(Exception):
    """The site can't be served; the message says why and what to do."""


def make_folder(settings: config.Settings) -> None:
    """Make the data folder, for its owner only."""
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        # The default members stand in it; only folders that are here are formatted.
        (folder / "members").mkdir(mode=0o700, exist_ok=True)
        # What former processes counted is no part of what is counted now.
        place.empty(place.folder(folder))
        (folder / health.DRAINING).unlink(missing_ok=True)
    except OSError as error:
        raise NotReady(
            f"The data folder {folder} can't be made ({error.strerror}). Make it by "
            "hand, or set HOLDFAST_DATA_DIR to a folder that may be written."
        ) from error


def make_key(settings: config.Settings) -> None:
    """Make the secret key once; with PostgreSQL the operator gives it."""
    if settings.secret_key is not None or not settings.on_sqlite:
        return
    path = settings.key_file
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link never replaces: whoever is first decides the key of all.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def check_addresses(settings: config.Settings) -> None:
    """Say so when an address is taken, before anything is started."""
    _check_address(settings.bind, "HOLDFAST_BIND", 5001)
    if settings.metrics_bind is not None:
        _check_address(settings.metrics_bind, "HOLDFAST_METRICS_BIND", 9465)


def _check_address(bind: str, variable: str, other: int) -> None:
    if bind.startswith("unix:"):
        _check_socket(Path(bind.removeprefix("unix:")), variable)
        return
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise NotReady(
                f"Nothing can listen on {bind} ({error.strerror}). Another "
                "program may use it, perhaps another Holdfast. End that one, or set "
                f"{variable} to another address, such as 127.0.0.1:{other}."
            ) from error


def _check_socket(path: Path, variable: str) -> None:
    if not path.parent.is_dir():
        raise NotReady(f"The folder of the socket {path} does not exist. Make it.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise NotReady(
        f"Another program listens on {path}. End it, or set {variable} to another path."
    )


def check_assets(settings: config.Settings) -> None:
    """Refuse to serve pages whose assets the CDN of STATIC_URL has not got.

    A CDN that can't be reached from here is no reason: people may well reach it.
    """
    from files import assets, publishing

    base = settings.static_url
    if base.startswith("/"):
        return
    found = assets.collect(ROOT / "static")
    url = f"{base}/{found.digest}/{publishing.MARK}"
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - http or https
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in (403, 404, 410):
            print(f"{url} answers {error.code}; going on.", file=sys.stderr)
            return
        raise NotReady(
            f"The assets of this release are not at HOLDFAST_STATIC_URL ({url} answers "
            f"{error.code}), and pages would come without style. Publish them first: "
            "flask static publish s3://BUCKET/PREFIX"
        ) from error
    except OSError as error:
        print(f"{url} can't be reached ({error}); going on.", file=sys.stderr)


def make_ready() -> config.Settings:
    """Do everything that has to be done before the first request."""
    os.umask(0o077)
    settings = config.load(os.environ)
    check_addresses(settings)
    check_assets(settings)
    make_folder(settings)
    make_key(settings)
    _make_database()
    return settings


def _make_database() -> None:
    from app import create_app
    from auth import keymark
    from auth.errors import AnotherKey
    from storage import migrate, services
    from storage.errors import RaidError, StorageError

    app = create_app()
    with app.app_context():
        try:
            migrate.upgrade(then=keymark.check)
            migrate.upgrade(then=services.ensure_array)
        except DBAPIError as error:
            raise NotReady(_database_trouble(app.config["HOLDFAST"], error)) from error
        except (AnotherKey, StorageError, RaidError, migrate.DatabaseError) as error:
            raise NotReady(str(error)) from error


def _database_trouble(settings: config.Settings, error: DBAPIError) -> str:
    place = make_url(settings.database_url).render_as_string(hide_password=True)
    if "locked" in str(error.orig):
        return (
            f"The database {place} is locked by another program, so it could not be "
            "brought up to date. Nothing was changed. End that program, then start "
            "again."
        )
    return (
        f"The database {place} can't be used ({error.orig}). Nothing was changed. "
        "Check that it runs and that HOLDFAST_DATABASE_URL is right, then start again."
    )


def welcome(settings: config.Settings) -> str:
    """Say where the site is and how the first administrator is made."""
    place = settings.public_url or settings.bind
    if "://" not in place and not place.startswith("unix:"):
        place = f"http://{place}"
    flask = Path(sys.executable).with_name("flask")
    return (
        f"Holdfast is at {place}\n"
        f"To make the first administrator: {flask} user create NAME --admin"
    )


def main() -> int:
    """Prepare, and print what people want to know; 1 with a sentence otherwise."""
    try:
        settings = make_ready()
    except config.SettingsError as error:
        print(error.message, file=sys.stderr)
        return 2
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    print(welcome(settings), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
