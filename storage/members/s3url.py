"""What the URL of a bucket says, checked before anything is asked of a server.

``s3://bucket/prefix?region=eu-west-1&endpoint=https://...&profile=backup&...``; the
table of parameters is in docs/configuration.md. Credentials never stand in a URL.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

_NAMES = (
    "region",
    "endpoint",
    "profile",
    "owner",
    "storage_class",
    "sse",
    "kms_key",
    "weight",
    "addressing",
)
_COLD = ("GLACIER", "DEEP_ARCHIVE")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_PREFIX = 512


@dataclass(frozen=True)
class Bucket:
    """A bucket with a prefix, and how it is reached; empty texts were not given.

    ``sse`` is empty, ``s3`` or ``kms``. ``weight`` says how near and cheap the member
    is: reads prefer the higher one.
    """

    name: str
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    profile: str = ""
    owner: str = ""
    storage_class: str = ""
    sse: str = ""
    kms_key: str = ""
    weight: int = 100
    addressing: str = ""

    @property
    def label(self) -> str:
        """Name the place for people, without what only says how to get there."""
        place = f"s3://{self.name}/{self.prefix}".rstrip("/")
        host = urlsplit(self.endpoint).netloc
        return f"{place} at {host}" if host else place

    @property
    def on_amazon(self) -> bool:
        """Say whether the bucket is Amazon's own S3."""
        return not self.endpoint


def parse_bucket_url(url: str) -> Bucket:
    """Return what the URL of a bucket says, or raise ValueError with a sentence."""
    try:
        parts = urlsplit(url)
        said = _parameters(parts.query)
        if parts.fragment:
            raise ValueError("it has a '#' in it; write %23 for one")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError(
                "it names no bucket; a bucket's name has 3 to 63 lower-case letters, "
                "digits, dots and hyphens (and credentials never stand in a URL)"
            )
        prefix = _prefix(unquote(parts.path))
        for name, check in _CHECKS.items():
            if name in said:
                check(said[name])
        if "kms_key" in said and said.get("sse") != "kms":
            raise ValueError("a kms_key needs sse=kms beside it")
        weight = int(said.pop("weight", "100"))
        return Bucket(parts.netloc, prefix, weight=weight, **said)
    except ValueError as error:
        raise ValueError(
            f"The URL of a bucket can't be used: {error}. Write it like "
            "s3://bucket/prefix?region=eu-west-1."
        ) from error


def known_parameters(url: str) -> bool:
    """Say whether a URL has no other parameters than a bucket's may have."""
    try:
        said = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        return False
    return all(name in _NAMES for name, _ in said)


def _parameters(query: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if name not in _NAMES:
            # The name may be a misspelt secret's, its value is never repeated.
            raise ValueError(
                f"it has no parameter {name[:40]!r}; there are {', '.join(_NAMES)}"
            )
        if name in said or not value.strip():
            raise ValueError(f"{name} has to be there once and with a value")
        said[name] = value.strip()
    return said


def _prefix(path: str) -> str:
    prefix = path.strip("/")
    names = prefix.split("/") if prefix else []
    if any(name in ("", ".", "..") for name in names):
        raise ValueError("its prefix has an empty, '.' or '..' part")
    if not prefix.isprintable() or len(prefix.encode()) > _LONGEST_PREFIX:
        raise ValueError(
            f"its prefix has more than {_LONGEST_PREFIX} bytes or control characters"
        )
    return prefix


def _check_endpoint(text: str) -> None:
    parts = urlsplit(text)
    plain = parts.scheme in ("http", "https") and parts.hostname
    if not plain or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("endpoint has to be like https://s3.example.org:9000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("endpoint must not hold credentials; name a profile instead")


def _check_class(text: str) -> None:
    if text in _COLD:
        raise ValueError(
            f"objects of the storage class {text} can't be read at once; "
            "choose another, such as STANDARD_IA or GLACIER_IR"
        )
    _matching(r"[A-Z0-9_]{1,40}", "storage_class has to be like STANDARD_IA")(text)


def _matching(pattern: str, says: str) -> Callable[[str], None]:
    wanted = re.compile(pattern)

    def check(text: str) -> None:
        if not wanted.fullmatch(text):
            raise ValueError(says)

    return check


_CHECKS = {
    "region": _matching(r"[A-Za-z0-9-]{1,40}", "region has to be like eu-west-1"),
    "endpoint": _check_endpoint,
    "profile": _matching(r"[^\s\[\]]{1,100}", "profile has to be a profile's name"),
    "owner": _matching(r"[0-9]{12}", "owner has to be an account of 12 digits"),
    "storage_class": _check_class,
    "sse": _matching(r"s3|kms", "sse has to be s3 or kms"),
    "kms_key": _matching(r"[A-Za-z0-9:/_-]{1,200}", "kms_key has to be a key's ARN"),
    "weight": _matching(r"[1-9][0-9]{0,3}", "weight has to be from 1 to 9999"),
    "addressing": _matching(r"path|virtual", "addressing has to be path or virtual"),
}
