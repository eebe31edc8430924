"""U3, U5, U6, U12, U18, H10: what a download says, sends and refuses."""

import base64
import hashlib
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Headers
from werkzeug.http import http_date, parse_date, parse_options_header

from files import disposition, transfers
from storage import blobs
from support.drive import JSON, Drive, code

pytestmark = pytest.mark.sqlite
DATA = bytes(range(256)) * 3000
NAMES = [
    "日本語 €.txt",
    'a"b',
    "a;b",
    "%41",
    "x'y",
    "👩‍👩‍👧.png",
    "a\\b",
    " outer ",
    "plain.txt",
    "=cmd()",
    "é" * 127,
    "a%22b",
    "..\\..\\x",
    "CON",
    "(1) [2] {3}",
    "a,b",
]


def test_u3_the_name_comes_back(drive: Drive) -> None:
    for name in NAMES:
        sent = "".join(f"%{byte:02X}" for byte in name.encode())
        answer = drive.put(sent, b"x")
        assert answer.get_json()["name"] == name
        said = drive.read(answer.get_json()["id"]).headers["Content-Disposition"]
        check_disposition(said, name)


def check_disposition(said: str, name: str) -> None:
    found = re.fullmatch(
        r'attachment; filename="([ !#$&-.0-\[\]-~]*)"; '
        r"filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)",
        said,
    )
    assert found, said
    assert unquote(found[2]) == name
    kind, options = parse_options_header(said)
    assert kind == "attachment"
    assert options["filename"] == name


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=50))
def test_u3_any_name_makes_a_valid_header(name: str) -> None:
    said = disposition.attachment(name)
    assert said.isascii()
    assert said.isprintable()
    check_disposition(said, name)


RISKY = ["html", "svg", "xhtml", "xml", "js", "pdf", "epub", "md", "eml", "mht", "swf"]


def test_u5_u6_nothing_stored_can_run(drive: Drive) -> None:
    html = {"Content-Type": "text/html; charset=utf-8"}
    for suffix in RISKY:
        answer = drive.put(f"a.{suffix}", b"<script>alert(1)</script>", headers=html)
        file = answer.get_json()["id"]
        for query in ("", "?inline=1&type=text/html", "?download=0"):
            read = drive.get(f"/files/file/{file}/download{query}")
            assert read.status_code == 200
            check_harmless(read.headers)


def check_harmless(said: Headers) -> None:
    assert said["Content-Disposition"].startswith("attachment;")
    assert said["X-Content-Type-Options"] == "nosniff"
    policy = said["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "allow-" not in policy
    assert said["Content-Type"] in ("application/octet-stream", "application/pdf")
    assert said["Cache-Control"] == "private, no-store"


def test_u6_a_text_stays_text(drive: Drive) -> None:
    html = {"Content-Type": "text/html"}
    file = drive.put("a.txt", b"x", headers=html).get_json()["id"]
    assert drive.read(file).headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("size", [0, 1, 70_000, len(DATA)])
def test_u18_head_and_get_agree(drive: Drive, size: int) -> None:
    file = drive.file("a.png", DATA[:size])
    get = drive.read(file)
    head = drive.send("HEAD", f"/files/file/{file}/download")
    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert len(get.data) == size
    kept = [
        "Content-Length",
        "Content-Type",
        "ETag",
        "Last-Modified",
        "Content-Disposition",
        "Accept-Ranges",
        "Repr-Digest",
    ]
    for name in kept:
        assert head.headers[name] == get.headers[name], name
    digest = base64.b64encode(hashlib.sha256(DATA[:size]).digest()).decode()
    assert get.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    for headers in ({"Range": "bytes=0-0"}, {"If_None_Match": get.headers["ETag"]}):
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        again = drive.send("HEAD", f"/files/file/{file}/download", headers=sent)
        plain = drive.read(file, **headers)
        assert again.status_code == plain.status_code
        assert again.headers.get("Content-Range") == plain.headers.get("Content-Range")


def test_u18_etags_follow_the_content_and_no_two_users_share_one(
    drive: Drive, other: Drive
) -> None:
    mine = drive.file("a", b"same")
    tag = drive.read(mine).headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert drive.read(mine).headers["ETag"] == tag
    assert drive.read(other.file("a", b"same")).status_code == 404
    theirs = other.read(other.file("b", b"same")).headers["ETag"]
    assert theirs != tag
    drive.post(f"/files/file/{mine}/rename", name="b")
    assert drive.read(mine).headers["ETag"] == tag
    drive.put("b", b"new", query="replace=1")
    assert drive.read(mine).headers["ETag"] != tag


def test_u18_not_modified(drive: Drive) -> None:
    file = drive.file("a", b"data")
    first = drive.read(file)
    for headers in (
        {"If_None_Match": first.headers["ETag"]},
        {"If_None_Match": f'"x", W/{first.headers["ETag"]}'},
        {"If_Modified_Since": first.headers["Last-Modified"]},
    ):
        answer = drive.read(file, **headers)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == first.headers["ETag"]
    moment = parse_date(first.headers["Last-Modified"])
    assert moment is not None
    earlier = http_date(moment - timedelta(days=1))
    assert drive.read(file, If_Modified_Since=earlier).status_code == 200
    assert drive.read(file, If_Match='"other"').status_code == 412
    assert drive.read(file, If_Unmodified_Since=earlier).status_code == 412
    assert drive.read(file, If_Match=first.headers["ETag"]).data == b"data"


RANGES = [
    ("bytes=0-0", slice(0, 1)),
    ("bytes=-1", slice(-1, None)),
    ("bytes=5-", slice(5, None)),
    ("bytes=65530-65540", slice(65530, 65541)),
    ("bytes=262140-262150", slice(262140, 262151)),
    ("bytes=100-99999999", slice(100, None)),
    ("bytes=0-9,5-20", slice(0, 21)),
]


def test_u12_a_range_is_a_206(drive: Drive) -> None:
    file = drive.file("a", DATA)
    for asked, part in RANGES:
        answer = drive.read(file, Range=asked)
        assert answer.status_code == 206
        assert answer.data == DATA[part]
        start, stop, _ = part.indices(len(DATA))
        said = f"bytes {start}-{stop - 1}/{len(DATA)}"
        assert answer.headers["Content-Range"] == said
        assert answer.headers["Content-Length"] == str(stop - start)


def test_u12_what_one_span_cannot_answer_is_the_whole_file_once(
    drive: Drive,
) -> None:
    file = drive.file("a", DATA)
    for asked in (
        "bytes=0-0,2-2",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)),
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=9-1",
        "pages=1-2",
    ):
        answer = drive.read(file, Range=asked)
        assert answer.status_code == 200
        assert answer.data == DATA


def test_u12_a_range_outside_is_a_416(drive: Drive) -> None:
    file = drive.file("a", DATA)
    for asked in ("bytes=999999999-", "bytes=-0", f"bytes={len(DATA)}-"):
        answer = drive.read(file, Range=asked)
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
        assert "does not have the bytes that were asked for" in answer.text
        assert answer.mimetype == "text/html"
        told = drive.read(file, Range=asked, **JSON)
        assert (told.status_code, code(told)) == (416, "bad_range")
        assert told.headers["Content-Range"] == f"bytes */{len(DATA)}"
    empty = drive.file("empty")
    assert drive.read(empty, Range="bytes=0-").status_code == 416
    assert drive.read(empty).status_code == 200


def test_u12_if_range(drive: Drive) -> None:
    file = drive.file("a", DATA)
    tag = drive.read(file).headers["ETag"]
    assert drive.read(file, Range="bytes=0-9", If_Range=tag).status_code == 206
    assert drive.read(file, Range="bytes=0-9", If_Range='"old"').status_code == 200
    drive.put("a", DATA[::-1], query="replace=1")
    answer = drive.read(file, Range="bytes=0-9", If_Range=tag)
    assert answer.status_code == 200
    assert answer.data == DATA[::-1]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_u12_any_range_is_bit_exact(
    big: tuple[Drive, str], data: st.DataObject
) -> None:
    drive, file = big
    start = data.draw(st.integers(0, len(DATA) - 1))
    stop = data.draw(st.integers(start, len(DATA) + 10))
    answer = drive.read(file, Range=f"bytes={start}-{stop}")
    assert answer.status_code == 206
    assert answer.data == DATA[start : stop + 1]


@pytest.fixture
def big(drive: Drive) -> tuple[Drive, str]:
    return drive, drive.file("big", DATA)


def broken(monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    """Let reading fail after so many chunks."""

    def chunks(self: Any, start: int, stop: int) -> Any:
        for _ in range(good):
            yield b"x" * 10
        raise blobs.BlobGone

    monkeypatch.setattr(blobs.Reading, "chunks", chunks)


def test_what_cannot_be_read_is_an_error_before_the_first_byte(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drive.file("a", DATA)
    assert drive.read(file).status_code == 200
    broken(monkeypatch, 0)
    answer = drive.read(file)
    assert answer.status_code >= 400
    assert "Content-Disposition" not in answer.headers


def test_a_failure_in_the_middle_is_no_clean_end(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drive.file("a", DATA)
    broken(monkeypatch, 3)
    with pytest.raises(blobs.BlobGone):
        drive.read(file)


def test_a_file_that_ends_early_is_no_clean_end() -> None:
    with pytest.raises(EOFError, match="5 bytes early"):
        list(transfers._sent(b"12", iter([b"345"]), 10))


def test_a_download_lets_go_of_the_database(drive: Drive, app: Flask) -> None:
    from storage.db import db

    file = drive.file("a", DATA)
    answer = drive.get(f"/files/file/{file}/download", buffered=False)
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    answer.close()


def test_h10_no_address_can_be_dressed_up_as_a_style_sheet(drive: Drive) -> None:
    file = drive.file("a", b"secret")
    control = drive.read(file)
    assert "no-store" in control.headers["Cache-Control"]
    for path in (
        f"/files/file/{file}/x.css",
        f"/files/file/{file};.js",
        f"/files/file/{file}%2f..%2f..%2fstatic%2fa.css",
        f"/files/folder/{drive.root}/x.css",
        f"/files/file/{file}/download/x.css",
        "/files/x.css",
    ):
        answer = drive.get(path)
        assert answer.status_code in (404, 405)
        assert "no-store" in answer.headers["Cache-Control"]
        assert b"secret" not in answer.data
