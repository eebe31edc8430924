"""Names: what is refused, how they sort, and how copies are numbered.

Names are kept as NFC, case-sensitive, in at most 255 bytes of UTF-8. What other systems
find odd (backslashes, `CON`, outer spaces) is kept: a name is data here, never a path.
"""

import re
import unicodedata
from collections.abc import Iterator

from files.errors import BadName

MAX_BYTES = 255
# Composing joins four characters at most, so a longer name can't come to fit. It must
# not be composed at all: that takes time with the square of its accents.
_MOST_LETTERS = 4 * MAX_BYTES
# What is said on the next page travels in the cookie, of which browsers keep 4 KiB.
SHOWN_NAMES = 5
_SHOWN_LETTERS = 60
# PostgreSQL refuses index rows over a third of a page, and NFKC can make a name a
# dozen times longer; names that agree this far are put in order by their raw bytes.
MAX_FOLDED_BYTES = 1000

_BIDI = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_NUMBER = b"0"
_END = b"\x00"
_EXTENSION = re.compile(r"(?s)\A(?P<stem>.+?)(?P<tail>(?:\.tar)?\.[^.\s]{1,32})\Z")


def check_name(raw: str) -> str:
    """Return `raw` as it is stored (NFC), or raise BadName with the reason."""
    try:
        _refuse_long(raw)
        name = unicodedata.normalize("NFC", raw)
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise BadName(
            "This name contains bytes that are not text. Give it another name."
        ) from error
    reason = _reason(name, length)
    if reason:
        raise BadName(reason)
    return name


def _refuse_long(raw: str) -> None:
    if len(raw) > _MOST_LETTERS:
        raise BadName(_too_long(len(raw.encode())))


def _reason(name: str, length: int) -> str | None:
    if not name:
        return "A name can't be empty. Type at least one character."
    if name in (".", ".."):
        return "The names . and .. mean folders everywhere. Choose another name."
    if "/" in name:
        return "A name can't contain a slash (/). Choose another character."
    if any(unicodedata.category(c) == "Cc" for c in name):
        return (
            "This name contains control characters, which can't be seen. Type it anew."
        )
    if not _BIDI.isdisjoint(name):
        return (
            "This name contains hidden characters that change the direction of text "
            "and can make one name look like another. Type it anew."
        )
    if length > MAX_BYTES:
        return _too_long(length)
    return None


def _too_long(length: int) -> str:
    return (
        f"This name is too long: {length} bytes, and {MAX_BYTES} is the most "
        "(letters outside English take two to four each). Shorten it."
    )


def sort_key(name: str) -> bytes:
    """Return bytes that compare as people sort: without case, numbers by value.

    A run of digits becomes the byte of "0", its length without leading zeros and its
    digits, so that 9 comes before 10 whatever the number of digits. The raw name at
    the end makes the key unique in a folder.
    """
    folded = unicodedata.normalize("NFKC", name)
    folded = unicodedata.normalize("NFKC", folded.casefold())
    key = b"".join(_tokens(folded))[:MAX_FOLDED_BYTES]
    return key + _END + name.encode()


def _tokens(folded: str) -> Iterator[bytes]:
    digits: list[str] = []
    for character in folded:
        value = unicodedata.decimal(character, None)
        if value is not None:
            digits.append(str(value))
            continue
        if digits:
            yield _number(digits)
            digits = []
        yield character.encode()
    if digits:
        yield _number(digits)


def _number(digits: list[str]) -> bytes:
    run = "".join(digits).lstrip("0").encode()
    # The length as base 255 "tally": 0xFF for every full 255, then the rest. It
    # compares as the number does, for runs of any length.
    return _NUMBER + b"\xff" * (len(run) // 255) + bytes([len(run) % 255]) + run


def numbered(name: str, number: int, *, folder: bool = False) -> str:
    """Return `name` with a number before its extension, in at most 255 bytes."""
    stem, tail = (name, "") if folder else split(name)
    suffix = f" ({number}){tail}"
    return _cut(stem, MAX_BYTES - len(suffix.encode())) + suffix


def split(name: str) -> tuple[str, str]:
    """Split off the extension: `a.tar.gz` is `a` and `.tar.gz`, `.profile` has none."""
    found = _EXTENSION.match(name)
    if not found or not found["stem"].strip("."):
        return name, ""
    return found["stem"], found["tail"]


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    cut = encoded[:limit].decode(errors="ignore")
    # Never leave a letter without the accents that followed it in the name.
    while cut and unicodedata.combining(text[len(cut)]):
        cut = cut[:-1]
    return cut


def short(name: str) -> str:
    """Return a name, or its first letters, for what is said on the next page."""
    return name if len(name) <= _SHOWN_LETTERS else f"{name[:_SHOWN_LETTERS]}…"


def printable(raw: str) -> str:
    """Return `raw` so that it can be shown or logged whatever it contains."""
    text = raw.encode(errors="replace").decode()
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) == "Cc" or c in _BIDI
        else c
        for c in text
    )
    return shown if len(shown) <= MAX_BYTES else shown[:MAX_BYTES] + "…"
