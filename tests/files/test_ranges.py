"""U12, U18: ranges and conditions after RFC 9110, and never more than the file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import http_date

from files import ranges
from files.ranges import Span, Unsatisfiable

CHANGED = datetime(2026, 5, 4, 3, 2, 1, 999_999, UTC)
NOW = http_date(CHANGED.replace(microsecond=0))
BEFORE = http_date(CHANGED - timedelta(days=1))
AFTER = http_date(CHANGED + timedelta(days=1))
NEVER = "Fri, 31 Dec 9999 23:59:59 -2300"
"""A moment that is in no year that UTC can say."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=-1", Span(9, 10)),
        ("bytes=5-", Span(5, 10)),
        ("bytes=5-999999", Span(5, 10)),
        ("bytes=-99", Span(0, 10)),
        ("Bytes = 2-3", Span(2, 4)),
        ("bytes=0-4,3-7", Span(0, 8)),
        ("bytes=0-1,2-3", Span(0, 4)),
        ("bytes=0-0,99-", Span(0, 1)),
        ("bytes=0-0,2-2", None),
        ("bytes=2-1", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-0,x", None),
        ("bytes=+1-2", None),
        ("bytes=٠-١", None),
        ("lines=0-1", None),
        ("0-1", None),
        (None, None),
        ("bytes=" + ",".join(["0-0"] * 1000), None),
        ("bytes=0-" + "9" * 5000, None),
        ("bytes=" + "9" * 400 + "-", None),
    ],
)
def test_u12_ranges(text: str | None, expected: Span | None) -> None:
    assert ranges.parse(text, 10) == expected


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=999999-", "bytes=-0"])
def test_u12_a_range_outside_the_file_is_416(text: str) -> None:
    with pytest.raises(Unsatisfiable):
        ranges.parse(text, 10)


@given(
    st.integers(0, 50),
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 60),
            st.none() | st.integers(0, 60),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_a_span_holds_exactly_what_was_asked(
    size: int, asked: list[tuple[int | None, int | None]]
) -> None:
    def text(bound: int | None) -> str:
        return "" if bound is None else str(bound)

    header = "bytes=" + ",".join(f"{text(a)}-{text(b)}" for a, b in asked)
    wanted: set[int] = set()
    broken = False
    for first, last in asked:
        if (first is None and last is None) or (
            first is not None and last is not None and last < first
        ):
            broken = True
        elif first is None:
            wanted |= set(range(max(0, size - (last or 0)), size))
        else:
            wanted |= set(range(first, size if last is None else min(last + 1, size)))
    try:
        span = ranges.parse(header, size)
    except Unsatisfiable:
        assert not wanted
        assert not broken
        return
    if span is None:
        joined = wanted and wanted == set(range(min(wanted), max(wanted) + 1))
        assert broken or not joined
    else:
        assert set(range(span.start, span.stop)) == wanted
        assert 0 < span.length <= size


@given(st.text(max_size=60))
def test_no_header_breaks_the_parser(text: str) -> None:
    try:
        span = ranges.parse("bytes=" + text, 1000)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.stop <= 1000


def asked(**headers: str) -> Callable[[str], str | None]:
    return {key.replace("_", "-"): value for key, value in headers.items()}.get


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"If_Match": '"tag"'}, None),
        ({"If_Match": '"other", "tag"'}, None),
        ({"If_Match": "*"}, None),
        ({"If_Match": '"other"'}, 412),
        ({"If_Match": 'W/"tag"'}, 412),
        ({"If_Unmodified_Since": NOW}, None),
        ({"If_Unmodified_Since": BEFORE}, 412),
        ({"If_Match": '"tag"', "If_Unmodified_Since": BEFORE}, None),
        ({"If_None_Match": '"tag"'}, 304),
        ({"If_None_Match": 'W/"tag"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"other"'}, None),
        ({"If_Modified_Since": NOW}, 304),
        ({"If_Modified_Since": AFTER}, 304),
        ({"If_Modified_Since": BEFORE}, None),
        ({"If_Modified_Since": "yesterday"}, None),
        ({"If_Modified_Since": NEVER}, None),
        ({"If_Unmodified_Since": NEVER}, None),
        ({"If_None_Match": '"other"', "If_Modified_Since": AFTER}, None),
        ({"Range": "bytes=0-1"}, Span(0, 2)),
        ({"Range": "bytes=99-"}, 416),
        ({"Range": "bytes=0-1", "If_Range": '"tag"'}, Span(0, 2)),
        ({"Range": "bytes=0-1", "If_Range": '"other"'}, None),
        ({"Range": "bytes=0-1", "If_Range": 'W/"tag"'}, None),
        ({"Range": "bytes=0-1", "If_Range": NOW}, None),
        ({"Range": "bytes=99-", "If_Range": '"other"'}, None),
        ({"Range": "bytes=0-1", "If_None_Match": '"tag"'}, 304),
    ],
)
def test_conditions_come_in_the_order_of_the_rfc(
    headers: dict[str, str], expected: object
) -> None:
    assert ranges.decide(asked(**headers), "tag", CHANGED, 10) == expected


@pytest.mark.parametrize(
    ("match", "none_match", "etag", "expected"),
    [
        (None, None, None, True),
        (None, None, "tag", True),
        ('"tag"', None, "tag", True),
        ('"other", "tag"', None, "tag", True),
        ("*", None, "tag", True),
        ("*", None, None, False),
        ('"tag"', None, None, False),
        ('"other"', None, "tag", False),
        ('W/"tag"', None, "tag", False),
        ("", None, "tag", False),
        (None, "*", None, True),
        (None, "*", "tag", False),
        (None, '"tag"', "tag", False),
        (None, 'W/"tag"', "tag", False),
        (None, '"other"', "tag", True),
        ('"tag"', '"tag"', "tag", False),
        ('"tag"', '"other"', "tag", True),
    ],
)
def test_conditions_of_a_change(
    match: str | None, none_match: str | None, etag: str | None, expected: bool
) -> None:
    assert ranges.may_change(match, none_match, etag) is expected
