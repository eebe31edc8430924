"""Conditional requests and byte ranges after RFC 9110, as pure functions.

One range is answered with 206. Several are joined when they overlap or touch; if more
than one is left the whole file is sent, which the RFC allows, so that no header can
make the server send more than the file.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from werkzeug.http import parse_etags

MAX_RANGES = 32
MAX_HEADER = 2048
_RANGE = re.compile(r"[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII)
# Numbers with more digits than any file has bytes; int() of long strings is slow.
_MAX_DIGITS = 19

# Gives the value of a header, None when the request does not have it.
Header = Callable[[str], str | None]


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `stop`, the latter excluded."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Return the number of bytes."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class Unsatisfiable(Exception):
    """None of the ranges lies in the file: 416."""


def parse(text: str | None, size: int) -> Span | None:
    """Return the span to send, None for the whole file; raises Unsatisfiable.

    A header that is malformed, or asks for what one span can't answer, is ignored.
    """
    if text is None or len(text) > MAX_HEADER:
        return None
    unit, _, text = text.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    pieces = text.split(",")
    if len(pieces) > MAX_RANGES:
        return None
    spans = []
    for piece in pieces:
        bounds = _bounds(piece)
        if bounds is None:
            return None
        span = _span(*bounds, size)
        if span is not None:
            spans.append(span)
    if not spans:
        raise Unsatisfiable
    joined = coalesce(spans)
    return joined[0] if len(joined) == 1 else None


def _bounds(piece: str) -> tuple[int | None, int | None] | None:
    found = _RANGE.fullmatch(piece)
    if not found or max(map(len, found.groups())) > _MAX_DIGITS:
        return None
    first, last = (int(text) if text else None for text in found.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return first, last


def _span(first: int | None, last: int | None, size: int) -> Span | None:
    if first is None:
        start, stop = max(0, size - (last or 0)), size
    else:
        start, stop = first, size if last is None else min(last + 1, size)
    return Span(start, stop) if start < stop else None


def coalesce(spans: list[Span]) -> list[Span]:
    """Join spans that overlap or touch, in order."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if joined and span.start <= joined[-1].stop:
            last = joined.pop()
            span = Span(last.start, max(last.stop, span.stop))
        joined.append(span)
    return joined


def decide(
    header: Header, etag: str, changed_at: datetime, size: int
) -> int | Span | None:
    """Return 412, 304 or 416, the span to send, or None for the whole file.

    The order of the conditions is that of RFC 9110, section 13.2.2.
    """
    changed = changed_at.replace(microsecond=0)
    if _failed(header, etag, changed):
        return 412
    if _unchanged(header, etag, changed):
        return 304
    if not _range_counts(header, etag):
        return None
    try:
        return parse(header("Range"), size)
    except Unsatisfiable:
        return 416


def _failed(header: Header, etag: str, changed: datetime) -> bool:
    match = header("If-Match")
    if match is not None:
        return not parse_etags(match).contains(etag)
    since = _date(header("If-Unmodified-Since"))
    return since is not None and changed > since


def _unchanged(header: Header, etag: str, changed: datetime) -> bool:
    match = header("If-None-Match")
    if match is not None:
        return parse_etags(match).contains_weak(etag)
    since = _date(header("If-Modified-Since"))
    return since is not None and changed <= since


def may_change(match: str | None, none_match: str | None, etag: str | None) -> bool:
    """Tell whether If-Match and If-None-Match let a file be written.

    `etag` is that of the file which is there, None where there is none.
    """
    if match is not None and (etag is None or not parse_etags(match).contains(etag)):
        return False
    if none_match is None or etag is None:
        return True
    return not parse_etags(none_match).contains_weak(etag)


def _range_counts(header: Header, etag: str) -> bool:
    validator = header("If-Range")
    if validator is None:
        return True
    # A date is no strong validator: a file can be replaced twice in one second.
    return validator.strip() == f'"{etag}"'


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None
