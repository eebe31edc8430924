"""What may be configured but must not be run: weak secrets and open doors.

Every check answers with sentences that say what is wrong and what to do about it.
"""

import ipaddress
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from deploy.parsers import ROOT

KEY_LENGTH = 32
_ON = {"1", "true", "yes", "on"}
_WELL_KNOWN = ("changeme", "change-me", "secret", "insecure", "password", "default")
_NEW_KEY = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'


class Checked(Protocol):
    """The settings that are looked at here."""

    @property
    def secret_key(self) -> str | None:
        """The key that signs cookies."""

    @property
    def public_url(self) -> str | None:
        """The address under which people reach the site."""

    @property
    def bind(self) -> str:
        """Where the site listens."""

    @property
    def metrics_bind(self) -> str | None:
        """Where the metrics are served."""

    @property
    def array_members(self) -> tuple[str, ...]:
        """The members of a new array."""

    @property
    def shared_file_system(self) -> bool:
        """Whether all hosts see the same folders."""

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file."""


def dangers(settings: Checked, environ: Mapping[str, str]) -> list[str]:
    """Return why these settings must not be run."""
    return [
        *_debug(environ),
        *_key(settings),
        *_open_door(settings),
        *_one_address(settings),
        *_scattered_members(settings),
    ]


def secret_text(variable: str, environ: Mapping[str, str]) -> str:
    """Return the secret from the file that `<variable>_FILE` names."""
    if variable in environ:
        raise ValueError(f"{variable} and {variable}_FILE are both set. Unset one.")
    return read_secret(ROOT / environ[variable + "_FILE"], variable + "_FILE")


def read_secret(path: Path, name: str) -> str:
    """Return the secret in a file that nobody but its owner may touch."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {path} can't be read ({error}).") from error
    if mode & 0o077:
        raise ValueError(
            f"{name}: others may read or write {path} (mode {mode:04o}), so what it "
            f"holds is no secret. Run chmod 600 {path}, and put a new secret into it "
            "if others may have seen the old one."
        )
    return text


def _debug(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("FLASK_DEBUG", "").lower() in _ON:
        yield (
            "Debug mode is on (FLASK_DEBUG). It shows the program's memory to anyone "
            "who causes an error. Unset it."
        )


def _key(settings: Checked) -> Iterator[str]:
    key = settings.secret_key
    if key is None:
        if not settings.on_sqlite:
            yield (
                "HOLDFAST_SECRET_KEY is not set, and with PostgreSQL every instance "
                f"needs the same one. Make one with: {_NEW_KEY}"
            )
    elif len(key) < KEY_LENGTH or len(set(key)) < 10:
        yield (
            f"The secret key is too short or too simple: it needs {KEY_LENGTH} random "
            f"characters or more. Make one with: {_NEW_KEY}"
        )
    elif any(word in key.lower() for word in _WELL_KNOWN):
        yield (
            "The secret key looks like one from an example, which everybody knows. "
            f"Make one with: {_NEW_KEY}"
        )


def _open_door(settings: Checked) -> Iterator[str]:
    if settings.public_url is None and not _is_local(settings.bind):
        yield (
            f"HOLDFAST_BIND={settings.bind} is reachable from other hosts, so the site "
            "has to know its own address. Set HOLDFAST_PUBLIC_URL, for example "
            "https://files.example.org, or bind to 127.0.0.1."
        )


def _one_address(settings: Checked) -> Iterator[str]:
    if settings.metrics_bind == settings.bind:
        yield (
            f"HOLDFAST_METRICS_BIND={settings.metrics_bind} is where the site itself "
            "listens, and metrics are never served there. Give them an address of "
            "their own, such as 127.0.0.1:9464."
        )


def _is_local(bind: str) -> bool:
    if bind.startswith("unix:"):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _scattered_members(settings: Checked) -> Iterator[str]:
    on_disk = any(url.startswith("file:") for url in settings.array_members)
    if on_disk and not settings.on_sqlite and not settings.shared_file_system:
        yield (
            "Members in local folders (file:) and a PostgreSQL database that several "
            "hosts can use don't go together: each host would look into its own "
            "folders. If there is one host only, or all of them see the same folders, "
            "say so with HOLDFAST_SHARED_FILE_SYSTEM=yes."
        )
