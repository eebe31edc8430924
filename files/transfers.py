"""Bytes in and out: PUT and what it would meet, the form with files, and downloads."""
# ruff: noqa: A002 - `id` is what the addresses call it

import base64
import mimetypes
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, flash, jsonify, redirect, request, url_for
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import http_date
from werkzeug.wrappers import Response

from auth import csrf
from auth.access import wants_json
from files import body, disposition, ranges, tree, uploads
from files.errorpages import Failure, failure, without_database
from files.errors import (
    BadRequest,
    BodyCut,
    BodyStalled,
    FilesError,
    PreconditionFailed,
)
from files.models import FILE, FOLDER, Entry
from files.multipart import Form, Part
from files.names import SHOWN_NAMES, check_name, printable, short
from storage import blobs
from storage.db import abandon, db, release
from storage.errors import RaidError, StorageError
from storage.logs import note
from storage.models import Blob

# What a form adds around its files; the exact size of each is counted as it comes.
FORM_OVERHEAD = 1 << 16
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60}", re.ASCII)
_DIGEST = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:?([^:,;]*):?", re.IGNORECASE)
_OF_THE_BYTES = (
    "Content-Type",
    "Content-Disposition",
    "Repr-Digest",
    "Holdfast-Verified",
)
# curl and browsers say these when they do not know.
_MEANINGLESS = {"application/x-www-form-urlencoded", "multipart/form-data"}


def add_routes(blueprint: Blueprint) -> None:
    """Add the addresses of this module to the blueprint of the pages."""
    add = blueprint.add_url_rule
    add("/folder/<id>/check", "check", check, methods=["GET"])
    add("/folder/<id>/upload", "upload", upload, methods=["POST"])
    # A name that begins with %2F is not led to the name without it.
    add("/folder/<id>/<name>", "put", put, methods=["PUT"], merge_slashes=False)
    add("/file/<id>/download", "download", download, methods=["GET"])


@csrf.raw_body
def put(id: str, name: str) -> Response:
    """Store the raw body under a name, whatever its Content-Type says."""
    stream = body.current(request.environ)
    if "Content-Range" in request.headers:
        raise BadRequest("A part of a file can't be put; send the whole file.")
    offer = uploads.Offer(
        name=check_name(name),
        size=stream.length_left,
        media_type=_media_type(request.mimetype, name),
        sha256=_client_digest(),
        taken=_taken(),
        key=_key(),
        if_match=request.headers.get("If-Match"),
        if_none_match=request.headers.get("If-None-Match"),
    )
    answer = uploads.upload(current_user.id, id, offer, stream)
    return _json(answer.body, 201)


def check(id: str) -> Response:
    """Say whether an upload of this name and size would be let in right now.

    A browser asks before it sends a large file, so that a refusal costs nothing; and
    again when it has lost the answer, which it gets here without sending anything.
    """
    size = request.args.get("size", type=int)
    offer = uploads.Offer(
        name=check_name(request.args.get("name", "")),
        size=size if size is not None and size >= 0 else None,
        sha256=_client_digest(),
        taken=_taken(),
        key=_key(),
    )
    answer = uploads.check(current_user.id, id, offer)
    return Response(status=204) if answer is None else _json(answer.body, 200)


def _taken() -> uploads.Taken:
    if request.args.get("replace") == "1":
        return uploads.Taken.REPLACE
    return uploads.Taken.REFUSE


def _key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(
            "An Idempotency-Key has 1 to 255 visible ASCII characters and no space."
        )
    return key


def _client_digest() -> bytes | None:
    found = {
        _digest(text)
        for header in ("Repr-Digest", "Content-Digest")
        for text in _DIGEST.findall(request.headers.get(header, ""))
    }
    if len(found) > 1:
        raise BadRequest("The digests of this request contradict each other.")
    return found.pop() if found else None


def _digest(text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:  # no base64, or not even ASCII
        digest = b""
    if len(digest) != 32:
        raise BadRequest(
            "The sha-256 digest must be 32 bytes in base64 between colons."
        )
    return digest


def _media_type(said: str | None, name: str) -> str | None:
    said = (said or "").partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(said) and said not in _MEANINGLESS:
        return said
    return mimetypes.guess_type(name)[0]


@csrf.streamed_form
def upload(id: str) -> Response:
    """Store the files of a form, keeping both where a name is taken."""
    stream = body.current(request.environ)
    user_id = current_user.id  # the row may be out of reach later
    tree.live_chain(db.session, user_id, id, FOLDER)
    _refuse_size(stream.length_left)
    release()  # a slow client must not hold a connection and its snapshot
    form = Form(stream, request.headers.get("Content-Type", ""))
    checked = csrf.header_token() is not None
    results: list[Result] = []
    try:
        for part in form.files():
            if not checked:
                csrf.check(form.fields.get("csrf_token"))
                checked = True
            if part.name == "file" and not part.is_empty():
                results.append(_store(user_id, id, part))
    except (BodyCut, BodyStalled) as error:
        raise _cut_after(results, error) from error
    if not checked:
        csrf.check(form.fields.get("csrf_token"))
    return _told(id, results)


def _refuse_size(size: int | None) -> None:
    if size is None:
        return
    size = max(0, size - FORM_OVERHEAD)
    uploads.limit_size(size)
    uploads.refuse_over_quota(current_user.id, size)


class Result:
    """What became of one file of a form."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.body: dict[str, Any] | None = None
        self.failure: Failure | None = None


def _store(user_id: int, folder_id: str, part: Part) -> Result:
    result = Result(printable(part.filename))
    try:
        offer = uploads.Offer(
            name=check_name(part.filename),
            media_type=_media_type(part.media_type, part.filename),
            taken=uploads.Taken.NUMBER,
        )
        answer = uploads.upload(user_id, folder_id, offer, part)
        result.body = answer.body
        result.name = answer.body["name"]
    except (BodyCut, BodyStalled):
        raise
    except (FilesError, StorageError, RaidError) as error:
        # The other files of the form are still wanted.
        result.failure = failure(error)
        release()
        note(why=str(error))
    except SQLAlchemyError as error:
        # Those that are kept must be told, or they would be sent again.
        result.failure = without_database(error)
        abandon()
    return result


def _cut_after(results: list[Result], error: FilesError) -> FilesError:
    """Return an error that does not hide what was kept before the form broke off."""
    kept = _kept(results)
    if not kept:
        return error
    return type(error)(
        f"The connection broke before all was sent. Kept: {_names(kept)}. "
        "Send the others again."
    )


def _kept(results: list[Result]) -> list[Result]:
    return [result for result in results if result.body is not None]


def _told(folder_id: str, results: list[Result]) -> Response:
    kept = _kept(results)
    failed = [(one.name, one.failure) for one in results if one.failure is not None]
    if wants_json():
        told = {
            "files": [result.body for result in kept],
            "failed": [
                {"name": name, "code": why.code, "message": why.message}
                for name, why in failed
            ],
        }
        if kept or not failed:
            return _json(told, 201)
        first = failed[0][1]
        return _json(told, first.status, first.headers)
    if kept:
        flash(f"Kept: {_names(kept)}.", "success")
    for name, why in failed[:SHOWN_NAMES]:
        flash(f"“{short(name)}” was not kept. {why.message}", "danger")
    more = len(failed) - SHOWN_NAMES
    if more > 0:
        files = "file was" if more == 1 else "files were"
        flash(f"{more} more {files} not kept.", "danger")
    if not results:
        flash("No file was chosen. Choose one first, then upload.", "warning")
    return redirect(url_for("files.folder", id=folder_id), 303)


def _names(results: list[Result]) -> str:
    names = ", ".join(f"“{short(one.name)}”" for one in results[:SHOWN_NAMES])
    more = len(results) - SHOWN_NAMES
    return f"{names} and {more} more" if more > 0 else names


def download(id: str) -> Response:
    """Send a file, or one range of it; every byte is verified before it leaves."""
    entry = tree.live_chain(db.session, current_user.id, id, FILE)[-1]
    blob = db.session.get_one(Blob, entry.blob_id)
    etag = disposition.etag(entry.id, blob.uuid)
    release()
    decided = ranges.decide(request.headers.get, etag, blob.created_at, entry.size)
    if decided == 412:
        raise PreconditionFailed(
            "The file has changed since you looked. Nothing was sent. Fetch it anew."
        )
    if decided == 416:
        raise RequestedRangeNotSatisfiable(entry.size)
    headers = _headers(entry, blob, etag)
    if isinstance(decided, int):
        return _without_bytes(decided, headers)
    span = decided or ranges.Span(0, entry.size)
    return _with_bytes(blob, headers, span, decided is not None, entry)


def _headers(entry: Entry, blob: Blob, etag: str) -> dict[str, str]:
    headers = dict(disposition.SECURITY)
    headers["Content-Type"] = disposition.media_type(entry.name)
    headers["Content-Disposition"] = disposition.attachment(entry.name)
    headers["ETag"] = f'"{etag}"'
    headers["Last-Modified"] = http_date(blob.created_at)
    headers["Accept-Ranges"] = "bytes"
    if blob.sha256:
        headers["Repr-Digest"] = disposition.repr_digest(blob.sha256)
    if blob.verified_at:
        headers["Holdfast-Verified"] = http_date(blob.verified_at)
    return headers


def _without_bytes(status: int, headers: dict[str, str]) -> Response:
    response = Response((), status, headers)
    for name in _OF_THE_BYTES:
        response.headers.pop(name, None)
    return response


def _with_bytes(
    blob: Blob, headers: dict[str, str], span: ranges.Span, part: bool, entry: Entry
) -> Response:
    if part:
        headers["Content-Range"] = span.content_range(entry.size)
    headers["Content-Length"] = str(span.length)
    status = 206 if part else 200
    if request.method == "HEAD" or not span.length:
        return Response((), status, headers)
    chunks = blobs.open_blob(blob).chunks(span.start, span.stop)
    # The first bytes are verified before any header leaves: what can't be read is
    # an honest 5xx, not a 200 that breaks off.
    first = next(chunks)
    return Response(_sent(first, chunks, span.length), status, headers)


def _sent(first: bytes, rest: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Yield the bytes; raises when they end early, which cuts the connection."""
    yield first
    left = length - len(first)
    for chunk in rest:
        left -= len(chunk)
        yield chunk
    if left:
        raise EOFError(f"The stored file ended {left} bytes early.")


def _json(
    told: dict[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    response: Response = jsonify(told)
    response.status_code = status
    response.headers.update(headers or {})
    return response
