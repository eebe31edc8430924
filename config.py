"""Every setting, once: its name, default, parser and help.

The table feeds parsing, `flask settings`, docs/configuration.md and its test. Anything
misspelt, unreadable or dangerous refuses to start with a sentence that says what to do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy.engine import make_url

from deploy import parsers, safety

PREFIX = "HOLDFAST_"
KEY_FILE = "secret_key"
DATABASE_FILE = "holdfast.db"


class SettingsError(click.ClickException):
    """The settings can't be used; the message lists every reason."""


@dataclass(frozen=True)
class Setting:
    """One row of the table; `default` is the text that would be written to get it."""

    name: str
    default: str | None
    parse: Callable[[str], Any]
    help: str
    secret: bool = False

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return PREFIX + self.name

    @property
    def attribute(self) -> str:
        """Return the name of the attribute of `Settings`."""
        return self.name.lower()


@dataclass(frozen=True)
class Settings:
    """The parsed settings; one attribute for each row of the table."""

    data_dir: Path
    secret_key: str | None
    database_url: str
    array_level: str
    array_members: tuple[str, ...]
    shared_file_system: bool
    degraded_write: str
    registration: str
    public_url: str | None
    trusted_proxies: tuple[str, ...]
    static_url: str
    max_upload_bytes: int | None
    default_quota_bytes: int | None
    memory_bytes: int
    trash_days: float
    purge_grace_seconds: float
    scrub_days: float
    drill_days: float
    spare_grace_minutes: float
    pace: int
    password_min_length: int
    login_failures_account: int
    login_failures_address: int
    session_idle_days: float
    session_days: float
    threads: int
    grace_seconds: int
    bind: str
    transfers_bind: str | None
    metrics_bind: str | None

    @property
    def secure(self) -> bool:
        """Say whether people reach the site by https."""
        return (self.public_url or "").startswith("https:")

    @property
    def on_sqlite(self) -> bool:
        """Say whether the database is a SQLite file."""
        return self.database_url.startswith("sqlite")

    @property
    def key_file(self) -> Path:
        """Return where the generated secret key lives."""
        return self.data_dir / KEY_FILE


_DATA = "in the data folder"
_NO_RAID0 = (
    "raid0",
    "it keeps every byte once, so one lost member is the loss of every file",
)
SETTINGS = (
    Setting(
        "DATA_DIR",
        "instance",
        parsers.folder,
        "folder of the database, the default members and the generated secret key; a "
        "relative path starts at the folder of the program",
    ),
    Setting(
        "SECRET_KEY",
        None,
        str,
        "key that signs cookies, at least 32 characters; on SQLite it is generated "
        f"once {_DATA} (mode 0600), on PostgreSQL it is required",
        secret=True,
    ),
    Setting(
        "DATABASE_URL",
        None,
        parsers.database,
        f"`postgresql+psycopg://...`; unset means a SQLite file {_DATA}",
        secret=True,
    ),
    Setting(
        "ARRAY_LEVEL",
        "raid5",
        parsers.choice("raid1", "raid5", "raid6", "raid10", refused=_NO_RAID0),
        "level of the array when it is made: `raid1` (a copy on every member), "
        "`raid5` (one parity, at least 3 members), `raid6` (two, at least 4) or "
        "`raid10` (two copies, at least 4 members)",
    ),
    Setting(
        "ARRAY_MEMBERS",
        "file:members/0 file:members/1 file:members/2 file:members/3",
        parsers.members,
        "members of the array when it is made: URLs such as `file:///srv/d0` or "
        "`s3://bucket/prefix?region=eu-west-1`, separated by spaces; a relative "
        "`file:` path starts at the data folder",
    ),
    Setting(
        "SHARED_FILE_SYSTEM",
        "no",
        parsers.yes_or_no,
        "`yes` says that every host which uses the PostgreSQL database sees the same "
        "folders under the `file:` members (one host alone does)",
    ),
    Setting(
        "DEGRADED_WRITE",
        "accept",
        parsers.choice("accept", "refuse"),
        "what happens to new files while fewer members are healthy than the promise "
        "needs: `accept` or `refuse`",
    ),
    Setting(
        "REGISTRATION",
        "open",
        parsers.choice("open", "closed", later="invite"),
        "who may make an account: `open` for everyone, `closed` for nobody",
    ),
    Setting(
        "PUBLIC_URL",
        "none",
        parsers.or_none(parsers.public_url),
        "base of every absolute link; `https` brings Secure cookies and HSTS; needed "
        "when BIND is reachable from other hosts",
    ),
    Setting(
        "TRUSTED_PROXIES",
        "none",
        lambda text: () if text == "none" else parsers.proxies(text),
        "addresses or networks, or `unix`, whose `X-Forwarded-For` and `-Proto` are "
        "believed, one hop",
    ),
    Setting(
        "STATIC_URL",
        "/static",
        parsers.static_url,
        "base of the hashed assets; the content policy follows it",
    ),
    Setting(
        "MAX_UPLOAD_BYTES",
        "none",
        parsers.or_none(parsers.size(0)),
        "largest file that is taken; `none` is unlimited",
    ),
    Setting(
        "DEFAULT_QUOTA_BYTES",
        "none",
        parsers.or_none(parsers.size(0)),
        "room for each user, trash included; `none` is unlimited",
    ),
    Setting(
        "MEMORY_BYTES",
        "512 MiB",
        parsers.size(64 << 20),
        "bound on all buffers of one process; pressure slows the reading of uploads",
    ),
    Setting(
        "TRASH_DAYS",
        "30",
        parsers.decimal("days"),
        "days after which what lies in the trash is purged",
    ),
    Setting(
        "PURGE_GRACE_SECONDS",
        "86400",
        parsers.decimal("seconds", zero=True),
        "seconds between a purge and the removal of the bytes, so that running "
        "downloads end",
    ),
    Setting(
        "SCRUB_DAYS",
        "30",
        parsers.decimal("days"),
        "days after which a new scrub of every object of every member begins",
    ),
    Setting(
        "DRILL_DAYS",
        "7",
        parsers.decimal("days"),
        "days after which random files are read again with members left out",
    ),
    Setting(
        "SPARE_GRACE_MINUTES",
        "60",
        parsers.decimal("minutes", zero=True),
        "minutes that a member is away or faulty before a spare takes its slot",
    ),
    Setting(
        "PACE",
        "40",
        parsers.number(1, 100),
        "percent of the time that jobs (rebuild, scrub and the like) may work; "
        "the array page can choose another",
    ),
    Setting(
        "PASSWORD_MIN_LENGTH",
        "12",
        parsers.number(8, 64),
        "shortest password that is taken, in characters",
    ),
    Setting(
        "LOGIN_FAILURES_ACCOUNT",
        "10",
        parsers.number(1, 100),
        "wrong logins to one account in 15 minutes before it has to wait",
    ),
    Setting(
        "LOGIN_FAILURES_ADDRESS",
        "100",
        parsers.number(1, 1000000),
        "wrong logins from one address in 15 minutes before it has to wait",
    ),
    Setting(
        "SESSION_IDLE_DAYS",
        "14",
        parsers.decimal("days"),
        "days without a request after which a session ends",
    ),
    Setting(
        "SESSION_DAYS",
        "90",
        parsers.decimal("days"),
        "days after which every session ends",
    ),
    Setting(
        "THREADS",
        "32",
        parsers.number(4, 1000),
        "threads of a web process; each transfer keeps one busy for as long as its "
        "client takes",
    ),
    Setting(
        "GRACE_SECONDS",
        "30",
        parsers.number(1, 86400),
        "seconds that running transfers get to end after the site was told to stop",
    ),
    Setting(
        "BIND",
        "127.0.0.1:5000",
        parsers.bind,
        "where the site listens: `host:port` or `unix:/path`",
    ),
    Setting(
        "TRANSFERS_BIND",
        "none",
        parsers.or_none(parsers.bind),
        "where the pool of transfers listens, if it is another; `/readyz` waits for it",
    ),
    Setting(
        "METRICS_BIND",
        "none",
        parsers.or_none(parsers.bind),
        "metrics for Prometheus are here, without a login: `host:port`, `unix:/path`",
    ),
)


def load(environ: Mapping[str, str]) -> Settings:
    """Parse the settings, or raise `SettingsError` with every reason at once."""
    problems = _strangers(environ)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            values[setting.attribute] = _value(setting, environ)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    settings = _completed(values)
    problems = safety.dangers(settings, environ)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _strangers(environ: Mapping[str, str]) -> list[str]:
    known = {row.variable for row in SETTINGS}
    known |= {row.variable + "_FILE" for row in SETTINGS if row.secret}
    problems = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            close = get_close_matches(name, known, 1, 0.6)
            hint = f" Did you mean {close[0]}?" if close else ""
            problems.append(f"There is no setting {name}.{hint} Rename or unset it.")
    return problems


def _value(setting: Setting, environ: Mapping[str, str]) -> Any:
    text = environ.get(setting.variable, setting.default)
    if setting.secret and setting.variable + "_FILE" in environ:
        text = safety.secret_text(setting.variable, environ)
    if text is None:
        return None
    if not text.strip():
        raise ValueError(f"{setting.variable} is empty. Give it a value, or unset it.")
    try:
        return setting.parse(text.strip())
    except ValueError as error:
        # Who writes a key into a URL finds it refused, and not repeated in a log.
        shown = "its value" if setting.secret or "@" in text else repr(text)
        raise ValueError(
            f"{setting.variable}: {shown} can't be used; it must be {error}."
        ) from error


def _completed(values: dict[str, Any]) -> Settings:
    """Fill in what follows from the data folder."""
    settings = Settings(**values)
    if not settings.database_url:
        path = settings.data_dir / DATABASE_FILE
        settings = replace(settings, database_url=f"sqlite:///{path}")
    if not settings.secret_key and settings.on_sqlite and settings.key_file.exists():
        try:
            key = safety.read_secret(settings.key_file, "The generated secret key")
        except ValueError as error:
            raise SettingsError(str(error)) from error
        settings = replace(settings, secret_key=key)
    return settings


def shown(settings: Settings) -> dict[str, str]:
    """Return what every setting is, with secrets masked."""
    return {row.variable: _shown(row, settings) for row in SETTINGS}


def _shown(setting: Setting, settings: Settings) -> str:
    value = getattr(settings, setting.attribute)
    if setting.name == "DATABASE_URL":
        return make_url(value).render_as_string(hide_password=True)
    if setting.secret:
        return "(set)" if value else "(not set)"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def init_app(app: Flask, environ: Mapping[str, str]) -> None:
    """Load the settings into the application and add `flask settings`."""
    settings = load(environ)
    app.config["HOLDFAST"] = settings
    app.config["SECRET_KEY"] = settings.secret_key
    app.cli.add_command(_print_settings)


@click.command("settings")
@with_appcontext
def _print_settings() -> None:
    """Print every setting; secrets are masked."""
    for name, value in shown(current_app.config["HOLDFAST"]).items():
        click.echo(f"{name}={value}")
