"""Parsers of settings: a text in, a value out.

A parser that refuses raises a ValueError whose message completes the sentence
"it must be ...".
"""

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from storage.members.s3url import parse_bucket_url

ROOT = Path(__file__).resolve().parent.parent
_UNITS = {"": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def folder(text: str) -> Path:
    """Return an absolute folder; relative ones start at the program's folder."""
    # Relative to the program, so that every command finds the same folder.
    return Path(os.path.normpath(ROOT / Path(text).expanduser()))


def number(low: int, high: int) -> Callable[[str], int]:
    """Parse a whole number between two bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def decimal(what: str, *, zero: bool = False) -> Callable[[str], float]:
    """Parse a number of days or seconds."""

    def parse(text: str) -> float:
        number = text if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else "-1"
        if float(number) < 0 or (float(number) == 0 and not zero):
            raise ValueError(f"a number of {what} such as 30 or 0.5")
        return float(number)

    return parse


def size(low: int) -> Callable[[str], int]:
    """Parse a number of bytes, with or without a binary unit."""

    def parse(text: str) -> int:
        found = re.fullmatch(r"([0-9]{1,15}) ?(|KiB|MiB|GiB|TiB)", text)
        number = int(found[1]) << _UNITS[found[2]] if found else -1
        if number < low:
            least = f" of at least {low}" if low else ""
            raise ValueError(f"a number of bytes{least} such as 1073741824 or 1 GiB")
        return number

    return parse


def or_none(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Parse `none` or what the other parser takes."""

    def optional(text: str) -> Any:
        return None if text == "none" else parse(text)

    return optional


def choice(
    *words: str, later: str = "", refused: tuple[str, str] = ("", "")
) -> Callable[[str], str]:
    """Parse one of a few words; `refused` is one that never will be, and why."""

    def parse(text: str) -> str:
        if text not in words:
            wanted = " or ".join(words)
            unbuilt = f" ({text} is not built yet)" if text == later else ""
            never = f"; {text} is refused: {refused[1]}" if text == refused[0] else ""
            raise ValueError(f"{wanted}{unbuilt}{never}")
        return text

    return parse


def yes_or_no(text: str) -> bool:
    """Parse `yes` or `no`."""
    return choice("yes", "no")(text) == "yes"


def members(text: str) -> tuple[str, ...]:
    """Parse the URLs of the members."""
    urls = tuple(text.split())
    for url in urls:
        if url.startswith("s3:"):
            _check_bucket(url)
        elif not re.fullmatch(r"file:.+", url):
            raise ValueError("a list of URLs such as file:///srv/d0 s3://bucket/prefix")
    if not urls or len(set(urls)) < len(urls):
        raise ValueError("a list of file: and s3: URLs, each of them once")
    return urls


def _check_bucket(url: str) -> None:
    try:
        parse_bucket_url(url)
    except ValueError as error:
        raise ValueError(f"made of URLs that can be used. {error}") from error


def proxies(text: str) -> tuple[str, ...]:
    """Parse addresses, networks and the word `unix`."""
    words = tuple(text.replace(",", " ").split())
    for word in words:
        try:
            if word != "unix":
                ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(
                "a list of addresses, networks or the word unix"
            ) from error
    return words


def public_url(text: str) -> str:
    """Parse the address under which people reach the site."""
    parts = urlsplit(text)
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or rest:
        raise ValueError("an address such as https://files.example.org, with no path")
    return text.rstrip("/")


def static_url(text: str) -> str:
    """Parse the base of the assets."""
    parts = urlsplit(text)
    away = parts.scheme in ("http", "https") and bool(parts.hostname)
    here = not parts.scheme and re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", text)
    if not (away or here) or parts.query or parts.fragment:
        raise ValueError("a path such as /static, or a URL of a server of static files")
    return text.rstrip("/")


def database(text: str) -> str:
    """Parse the URL of the database."""
    wanted = "postgresql+psycopg://user@host/name or sqlite:////absolute/path"
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError(wanted) from error
    on_file = url.drivername == "sqlite" and str(url.database or "").startswith("/")
    if url.drivername != "postgresql+psycopg" and not on_file:
        raise ValueError(wanted)
    return text


def bind(text: str) -> str:
    """Parse where to listen."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"unix:/.+", text):
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("host:port such as 127.0.0.1:5000, or unix:/path")
        if ":" in host and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]", host):
            raise ValueError("[address]:port for an IPv6 address")
    return text
