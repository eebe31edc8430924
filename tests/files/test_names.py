"""Names: what is refused, how they sort, and how copies are numbered."""

import re
import time
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from files.errors import BadName
from files.names import MAX_BYTES, check_name, numbered, printable, sort_key, split

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
KEPT = [
    "a",
    "日本語 €.txt",
    " outer spaces ",
    "C:\\x",
    "..\\x",
    "CON",
    "...",
    "....\\\\",
    "%2e%2e%2f",
    "%41",
    'a"b',
    "a;b",
    "x'y",
    "👩‍👩‍👧.png",
    "<script>alert(1)</script>".replace("/", "∕"),
    "{{7*7}}",
    "=cmd()",
    "trailing.",
    "\u00a0",
    "a" * 255,
    "é" * 127,
]
REFUSED = [
    "",
    ".",
    "..",
    "a/b",
    "/etc/passwd",
    "a/../../b",
    "....//",
    "a\x00b",
    "a\nb",
    "a\rb",
    "\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\u202etxt.exe",
    "a\u2066b",
    "\u200f",
    "\u061c",
    "a" * 256,
    "é" * 128,
    "a" * 4096,
    "\ud800",
]


@pytest.mark.parametrize("name", KEPT)
def test_odd_names_are_kept_as_they_are(name: str) -> None:
    assert check_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_kept_are_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(BadName) as refused:
        check_name(name)
    assert re.fullmatch(r"[A-Z].*\.", str(refused.value), re.DOTALL)


def test_names_are_stored_composed() -> None:
    assert check_name("e\u0301") == "\u00e9"
    assert check_name("\u212b") == "\u00c5"


def test_a_name_counts_its_bytes_after_composing() -> None:
    decomposed = "e\u0301" * 127
    assert len(decomposed.encode()) > MAX_BYTES
    assert len(check_name(decomposed).encode()) == 254


def test_a_name_that_cannot_fit_is_refused_before_it_is_composed() -> None:
    """To put so many accents in order takes long, and no thread runs beside it."""
    raw = "a" + "\u0301" * 20_000 + "\u0316" * 20_000
    began = time.process_time()
    with pytest.raises(BadName, match="too long: 80001 bytes"):
        check_name(raw)
    with pytest.raises(BadName, match="not text"):
        check_name(raw + "\ud800")
    assert time.process_time() - began < 1


def test_no_name_that_fits_is_refused_for_its_length() -> None:
    """Of all characters, these are made of most others for the bytes that they take."""
    for letter in ("\u1f82", "\u00e9", "\uac01", "K"):
        raw = unicodedata.normalize("NFD", letter) * (MAX_BYTES // len(letter.encode()))
        assert len(check_name(raw).encode()) <= MAX_BYTES
    longest = max(
        len(unicodedata.normalize("NFD", chr(code))) for code in range(0x110000)
    )
    assert longest == 4


@given(TEXT)
def test_checking_a_checked_name_changes_nothing(raw: str) -> None:
    try:
        name = check_name(raw)
    except BadName:
        return
    assert check_name(name) == name


def natural(name: str) -> tuple[list[tuple[int, object]], bytes]:
    """The order that people expect, said in another way than the key says it."""
    folded = unicodedata.normalize("NFKC", name)
    folded = unicodedata.normalize("NFKC", folded.casefold())
    parts: list[tuple[int, object]] = []
    for found in re.finditer(r"(\d+)|(\D)", folded, re.DOTALL):
        if found[1]:
            parts.append((ord("0"), int(found[1])))
        else:
            parts.append((ord(found[2]), -1))
    return parts, name.encode()


@given(TEXT, TEXT)
def test_keys_compare_as_people_sort(one: str, other: str) -> None:
    assert (sort_key(one) < sort_key(other)) == (natural(one) < natural(other))


@given(
    st.text("ab ._", max_size=3),
    st.integers(0, 10**300),
    st.integers(0, 10**300),
    st.text("ab._", max_size=2),
)
def test_numbers_sort_by_value_whatever_their_length(
    stem: str, one: int, other: int, tail: str
) -> None:
    assume(one != other)
    keys = [sort_key(f"{stem}{number}{tail}") for number in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


@given(TEXT, TEXT)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert (sort_key(one) == sort_key(other)) == (one == other)


def test_a_list_sorts_naturally() -> None:
    names = ["b", "A10", "a9", "a1b", "a1", "B", "a010", "é", "e", "٣", "2"]
    expected = ["2", "٣", "a1", "a1b", "a9", "A10", "a010", "B", "b", "e", "é"]
    assert sorted(names, key=sort_key) == expected


def test_a_key_stays_small_enough_for_an_index() -> None:
    # One letter of three bytes that becomes eighteen letters.
    name = "\ufdfa" * 85
    assert len(sort_key(name)) <= 1000 + 1 + 255
    assert len({sort_key("\ufdfa" * 84 + c) for c in "abc"}) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "a (2).txt"),
        ("a", "a (2)"),
        ("a.tar.gz", "a (2).tar.gz"),
        (".profile", ".profile (2)"),
        ("...", "... (2)"),
        ("a. b", "a. b (2)"),
        ("日本.jpeg", "日本 (2).jpeg"),
        ("a (2).txt", "a (2) (2).txt"),
    ],
)
def test_copies_are_numbered_before_the_extension(name: str, expected: str) -> None:
    assert numbered(name, 2) == expected


def test_folders_are_numbered_at_the_end() -> None:
    assert numbered("v1.2", 3, folder=True) == "v1.2 (3)"


@given(TEXT, st.integers(2, 10**6), st.booleans())
def test_a_numbered_name_is_a_name(raw: str, number: int, folder: bool) -> None:
    try:
        name = check_name(raw * 7)
    except BadName:
        return
    copy = numbered(name, number, folder=folder)
    assert check_name(copy) == copy
    assert copy != name
    assert folder or split(copy)[1] == split(name)[1]


def test_a_long_name_loses_letters_and_never_half_of_one() -> None:
    assert numbered("é" * 127 + ".c", 2).endswith("é (2).c")
    # A letter with its accents goes as a whole.
    name = "q\u0323\u0301" * 51
    assert len(name.encode()) == 255
    assert numbered(name, 2) == "q\u0323\u0301" * 50 + " (2)"


def test_anything_can_be_shown() -> None:
    assert printable("a\x00\u202eb\udcff") == "a\ufffd\ufffdb?"
    assert len(printable("a" * 5000)) == 256
