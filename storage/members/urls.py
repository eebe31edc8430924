"""Turn the URL of a member into the member, one factory per scheme."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raid.member import Member
from storage.members.local import LocalMember
from storage.members.s3 import S3Member
from storage.members.s3url import known_parameters, parse_bucket_url


def parse_member_url(url: str, base: Path) -> Member:
    """Return the member that a URL names, or raise ValueError with a sentence.

    A relative path (``file:members/0``) is taken from ``base``, the data folder.
    """
    factory = _FACTORIES.get(_scheme(url))
    if factory is None:
        raise ValueError(
            f"{_named(url)} is not the URL of a member; write file:///srv/disk0 or "
            "s3://bucket/prefix, one for each member, with spaces between them."
        )
    return factory(url, base)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:  # brackets that are not an address of IPv6
        return ""


def may_hold_secret(url: str) -> bool:
    """Say whether somebody may have written credentials into a URL.

    Such a URL is refused anyway, and it is never repeated.
    """
    return "@" in url or not known_parameters(url)


def _named(url: str) -> str:
    return "This" if may_hold_secret(url) else repr(url)


def _with_three(url: str) -> str:
    if may_hold_secret(url):
        return "file:///srv/disk0"
    return f"file:///{urlsplit(url).netloc}{urlsplit(url).path}"


def _local(url: str, base: Path) -> LocalMember:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{_named(url)} names a host; a folder of this machine has three slashes: "
            f"{_with_three(url)}."
        )
    if parts.query or parts.fragment:
        raise ValueError(
            f"{_named(url)} has a '?' or '#' in it; write %3F or %23 when the folder's "
            "name has one."
        )
    path = unquote(parts.path)
    if not path or "\0" in path:
        raise ValueError(f"{url!r} names no folder; write file:///srv/disk0.")
    return LocalMember(base / path)


def _bucket(url: str, base: Path) -> S3Member:  # noqa: ARG001
    return S3Member(parse_bucket_url(url))


_FACTORIES: dict[str, Callable[[str, Path], Member]] = {
    "file": _local,
    "s3": _bucket,
}
