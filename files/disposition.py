"""What a download says about itself, so that no browser runs what a user stored.

Everything is an attachment, in a sandbox, of a type from a short list that browsers do
not execute; what the client once said about the type is never repeated.
"""

import base64
import hashlib
from pathlib import PurePosixPath
from urllib.parse import quote

_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "csv": "text/csv; charset=utf-8",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "m4a": "audio/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "tar": "application/x-tar",
    "txt": "text/plain; charset=utf-8",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "zip": "application/zip",
}
UNKNOWN = "application/octet-stream"
# RFC 8187: what may stand in an extended value as it is.
_ATTR_CHARS = "!#$&+-.^_`|~"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def media_type(name: str) -> str:
    """Return the type to serve a name as, from the list alone."""
    suffix = PurePosixPath(name).suffix[1:].lower()
    return _TYPES.get(suffix, UNKNOWN)


def attachment(name: str) -> str:
    """Return a Content-Disposition that keeps the name in any script."""
    plain = "".join(c if _harmless(c) else "_" for c in name)
    exact = quote(name, safe=_ATTR_CHARS)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"


def _harmless(character: str) -> bool:
    # A percent sign would be decoded by some browsers, quotes and backslashes end or
    # escape the string.
    return " " <= character <= "~" and character not in '"\\%/'


def etag(entry_id: str, blob_id: object) -> str:
    """Return a strong tag: new with every content, and no two users' are equal."""
    said = f"{entry_id}:{blob_id}".encode()
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def repr_digest(sha256: bytes) -> str:
    """Return the value of Repr-Digest (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"
