"""Turn the URL of a member into the member, one factory per scheme."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raid.member import Member
from storage.members.local import LocalMember
from storage.members.s3 import S3Member
from storage.members.s3url import parse_bucket_url


def parse_member_url(url: str, base: Path) -> Member:
    """Return the member that a URL names, or raise ValueError with a sentence.

    A relative path (``file:members/0``) is taken from ``base``, the data folder.
    """
    scheme = urlsplit(url).scheme
    factory = _FACTORIES.get(scheme)
    if factory is None:
        raise ValueError(
            f"{url!r} is not the URL of a member; write file:///srv/disk0 or "
            "s3://bucket/prefix, one for each member, with spaces between them."
        )
    return factory(url, base)


def _local(url: str, base: Path) -> LocalMember:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{url!r} names a host; a folder of this machine has three slashes: "
            f"file:///{parts.netloc}{parts.path}."
        )
    if parts.query or parts.fragment:
        raise ValueError(
            f"{url!r} has a '?' or '#' in it; write %3F or %23 when the folder's "
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
