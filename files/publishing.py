"""`flask static`: give the assets to another server, before pages name them.

Every asset lies under the digest of all of them, so what an older release published
stays, and pages of both find theirs. `<digest>/published.json` is put last: where it
is, everything is.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext

from files import assets
from storage.members.s3body import Body
from storage.members.s3calls import Calls, calls_to
from storage.members.s3errors import Answered, Trouble
from storage.members.s3url import Bucket, parse_bucket_url

MARK = "published.json"
_SMALL = 512
commands = AppGroup("static", help="Give the assets to another server.")


@dataclass(frozen=True)
class Piece:
    """One asset as it is published."""

    key: str
    body: bytes
    content_type: str
    packed: bool = False


def pieces(found: assets.Assets) -> Iterator[Piece]:
    """Yield every asset, and last what says that they are all there."""
    for name, path in found.paths.items():
        kind = assets.TYPES[path.suffix]
        yield Piece(f"{found.digest}/{name}", path.read_bytes(), kind)
    listed = json.dumps({"assets": sorted(found.paths)}, indent=1) + "\n"
    yield Piece(f"{found.digest}/{MARK}", listed.encode(), "application/json")


def pack(piece: Piece) -> Piece:
    """Compress a text if that pays; the same input gives the same bytes."""
    is_text = piece.content_type.startswith(("text/", "image/svg", "application/"))
    if not is_text or len(piece.body) < _SMALL:
        return piece
    body = gzip.compress(piece.body, 9, mtime=0)
    return Piece(piece.key, body, piece.content_type, packed=True)


@commands.command("collect")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@with_appcontext
def collect(folder: Path) -> None:
    """Write every asset below DIR, under the digest that pages name."""
    found = assets.current()
    count = 0
    try:
        for piece in pieces(found):
            path = folder / piece.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(piece.body)
            count += 1
    except OSError as error:
        raise click.ClickException(
            f"{error.filename} can't be written ({error.strerror})."
        ) from error
    click.echo(f"{count} files are in {folder / found.digest}.")


@commands.command("publish")
@click.argument("url", metavar="s3://BUCKET/PREFIX")
@with_appcontext
def publish(url: str) -> None:
    """Put every asset into a bucket that a CDN serves; older ones stay.

    Type, compression and how long it may be kept are put with each. STATIC_URL is then
    the address at which the CDN serves PREFIX.
    """
    try:
        if not url.startswith("s3://"):
            raise ValueError("It has to begin with s3://, such as s3://bucket/static.")
        bucket = parse_bucket_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    found = assets.current()
    try:
        put, there = _put_all(bucket, found)
    except Trouble as error:
        raise click.ClickException(_trouble(bucket, error)) from error
    click.echo(
        f"{put} files were put below {bucket.label}/{found.digest}, "
        f"{there} were there. Pages of this release may name them now."
    )


def _put_all(bucket: Bucket, found: assets.Assets) -> tuple[int, int]:
    calls = calls_to(bucket)
    known = set(_known(calls, bucket, found.digest))
    put = 0
    every = [pack(piece) for piece in pieces(found)]
    for piece in every:
        key = _key(bucket, piece.key)
        if key not in known:
            size, request = len(piece.body), _request(bucket, key, piece)
            calls.ask("put_object", size=size, elsewhere=False, **request)
            put += 1
    return put, len(every) - put


def _known(calls: Calls, bucket: Bucket, digest: str) -> Iterator[str]:
    """Yield what is there; nothing under a digest ever changes."""
    more: dict[str, Any] = {}
    prefix = _key(bucket, f"{digest}/")
    while True:
        answer = calls.ask("list_objects_v2", Bucket=bucket.name, Prefix=prefix, **more)
        yield from (one["Key"] for one in answer.get("Contents", ()))
        if not answer.get("IsTruncated"):
            return
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _key(bucket: Bucket, name: str) -> str:
    return f"{bucket.prefix}/{name}" if bucket.prefix else name


def _request(bucket: Bucket, key: str, piece: Piece) -> dict[str, Any]:
    request: dict[str, Any] = {
        "Bucket": bucket.name,
        "Key": key,
        "Body": Body([piece.body]),
        "ContentType": piece.content_type,
        "CacheControl": assets.FOR_EVER,
    }
    if piece.packed:
        request["ContentEncoding"] = "gzip"
    if bucket.owner:
        request["ExpectedBucketOwner"] = bucket.owner
    return request


def _trouble(bucket: Bucket, error: Trouble) -> str:
    says = f"{bucket.label}: {error}. Pages must not name this release's assets yet."
    if isinstance(error, Answered) and error.status == 403:
        place = f"arn:aws:s3:::{bucket.name}"
        return (
            f"{says} The role needs s3:ListBucket on {place} and s3:PutObject on "
            f"{place}/{_key(bucket, '*')}."
        )
    return says
