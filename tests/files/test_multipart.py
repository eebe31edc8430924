"""U10 (the decoder's part): forms with files, whole, odd and hostile."""

import io
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.body import GuardedBody
from files.errors import BadRequest, BodyCut, FilesError, TooLarge
from files.multipart import MAX_PARTS, Form, Part

BOUNDARY = "----kelp"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(body: bytes, content_type: str = TYPE, length: int | None = -1) -> Form:
    length = len(body) if length == -1 else length
    return Form(GuardedBody(io.BytesIO(body), length), content_type)


def field(name: str, value: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + value + b"\r\n"


def file(filename: str, data: bytes, name: str = "file", more: str = "") -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="{filename}"\r\n{more}\r\n'
    )
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def everything(part: Part, step: int = 1000) -> bytes:
    out = bytearray()
    view = memoryview(bytearray(step))
    while count := part.readinto(view):
        out += view[:count]
    return bytes(out)


def test_fields_come_before_the_files_they_stand_before() -> None:
    body = field("csrf_token", b"abc") + file("a.txt", b"A") + field("late", b"x")
    body += file("b.txt", b"B" * 100_000, more="Content-Type: text/plain\r\n") + END
    made = form(body)
    seen = []
    for part in made.files():
        seen.append((part.filename, everything(part), dict(made.fields)))
    assert [(name, len(data)) for name, data, _ in seen] == [
        ("a.txt", 1),
        ("b.txt", 100_000),
    ]
    assert seen[0][2] == {"csrf_token": "abc"}
    assert seen[1][2] == {"csrf_token": "abc", "late": "x"}
    assert seen[1][1] == b"B" * 100_000


@given(
    st.lists(st.binary(max_size=300) | st.sampled_from([b"\r\n", b"\r\n--", b"\n"])),
    st.integers(1, 50),
)
def test_any_bytes_come_through(contents: list[bytes], step: int) -> None:
    if any(f"--{BOUNDARY}".encode() in data for data in contents):
        return
    body = b"".join(file(f"{n}", data) for n, data in enumerate(contents)) + END
    assert [everything(part, step) for part in form(body).files()] == contents


def test_a_file_that_is_not_read_is_passed_over() -> None:
    body = file("a", b"x" * 500_000) + file("b", b"B") + END
    parts = form(body).files()
    next(parts)
    assert everything(next(parts)) == b"B"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("日本語 €.txt", "日本語 €.txt"),
        ("a%22b", 'a"b'),
        (r"a\"b", 'a"b'),
        ("%41", "%41"),
        ("a;b", "a;b"),
        ("x'y", "x'y"),
        ("../x", "../x"),
        ("C:\\x", "C:\\x"),
        ("..\\..\\x", "..\\..\\x"),
        ("a\\", "a\\"),
        ("a=b", "a=b"),
    ],
)
def test_u3_names_arrive_as_browsers_write_them(sent: str, name: str) -> None:
    part = next(form(file(sent, b"1") + END).files())
    assert part.filename == name


def test_a_picker_with_nothing_chosen_is_empty() -> None:
    part = next(form(file("", b"") + END).files())
    assert part.is_empty()
    part = next(form(file("", b"x") + END).files())
    assert not part.is_empty()
    part = next(form(file("a", b"") + END).files())
    assert not part.is_empty()


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 65536,
        "multipart/mixed; boundary=b",
    ],
)
def test_u10_a_bad_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest):
        form(b"", content_type)


HOSTILE = {
    "no boundary in it": b"x" * 1_000_000,
    "nothing": b"",
    "too many parts": file("a", b"") * (MAX_PARTS + 1) + END,
    "two thousand fields": field("a", b"") * 2000 + END,
    "a field of 1 MB": field("a", b"x" * 1_000_000) + END,
    "many fields": field("a", b"x" * 1000) * 100 + END,
    "endless headers": f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * 100_000,
    "no end": file("a", b"x" * 1000),
    "no name at all": f"--{BOUNDARY}\r\nA: b\r\n\r\nx\r\n".encode() + END,
    "headers that are no text": b"------kelp\r\nContent-Disposition: \xff\r\n\r\n"
    + END,
    "a field that is no text": field("a", b"\xff") + END,
    "long epilogue": file("a", b"") + END + b"x" * 1_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_u10_hostile_forms_are_refused(kind: str) -> None:
    with pytest.raises(FilesError) as refused:
        for part in form(HOSTILE[kind]).files():
            everything(part)
    assert refused.value.status in (400, 413)
    assert str(refused.value).endswith(".")


def test_u10_a_nested_form_is_just_bytes() -> None:
    inner = b"--inner\r\nContent-Disposition: form-data\r\n\r\nx\r\n--inner--\r\n"
    more = "Content-Type: multipart/mixed; boundary=inner\r\n"
    part = next(form(file("a", inner, more=more) + END).files())
    assert everything(part) == inner


@pytest.mark.parametrize("filler", [b"\r", b"\n", b"\r\n", b"\r\n--", b"-"])
def test_u10_ten_megabytes_of_line_breaks_stay_cheap(filler: bytes) -> None:
    data = filler * (10_000_000 // len(filler))
    body = file("a", data) + END
    made = form(body)
    total = 0
    tracemalloc.start()
    try:
        for part in made.files():
            scratch = memoryview(bytearray(1 << 16))
            while count := part.readinto(scratch):
                total += count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == len(data)
    assert peak < 2_000_000


def test_a_cut_form_is_a_cut_body() -> None:
    body = file("a", b"x" * 1000) + END
    with pytest.raises(BodyCut):
        for part in form(body[:500], length=len(body)).files():
            everything(part)


def test_two_files_fields_are_two_files() -> None:
    body = file("a", b"1") + file("a", b"2") + END
    assert [everything(part) for part in form(body).files()] == [b"1", b"2"]


def test_the_limit_of_fields_says_so() -> None:
    with pytest.raises(TooLarge, match="too long"):
        list(form(HOSTILE["many fields"]).files())


def test_reading_goes_on_where_it_stopped() -> None:
    part = next(form(file("a", b"0123456789") + END).files())
    view: Any = memoryview(bytearray(4))
    assert part.readinto(view) == 4
    assert everything(part) == b"456789"
    assert part.size == 10
