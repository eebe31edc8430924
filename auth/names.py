"""User names: which are allowed, and which count as the same.

Names of every script are welcome. Two names that differ only in case, width or
composition are one account, and characters nobody can see are refused, because a name
that looks like another's is a way to be taken for them.
"""

import unicodedata

from auth.errors import BadEmail, BadUserName

LONGEST_NAME = 64
LONGEST_EMAIL = 254
_PUNCTUATION = frozenset("._-@")
# Letters and marks by their category, and yet drawn as nothing.
_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
_RULE = (
    f"A user name has 1 to {LONGEST_NAME} letters, digits and . _ - @, "
    "and begins with a letter or digit."
)


def clean_name(typed: str) -> str:
    """Return the name as it is stored, or raise with the rule it breaks."""
    if len(typed) > 4 * LONGEST_NAME:
        raise BadUserName(_RULE)
    name = unicodedata.normalize("NFKC", typed).strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name[0].isalnum():
        raise BadUserName(_RULE)
    if not all(_allowed(character) for character in name):
        raise BadUserName(_RULE)
    if len(fold(name)) > 4 * LONGEST_NAME - 1:
        raise BadUserName(_RULE)
    return name


def _allowed(character: str) -> bool:
    if character in _PUNCTUATION:
        return True
    if ord(character) in _INVISIBLE:
        return False
    return unicodedata.category(character)[0] in "LMN"


def fold(name: str) -> str:
    """Return the key under which a name is unique; never fails, whatever was typed."""
    key = name[: 16 * LONGEST_NAME]
    # Folding can make characters that compose anew, so it is done until it rests.
    for _ in range(4):
        folded = unicodedata.normalize("NFKC", key).casefold()
        folded = unicodedata.normalize("NFKC", folded).strip()
        if folded == key:
            break
        key = folded
    return key


def clean_email(typed: str) -> str | None:
    """Return the address, None if none was given, or raise if it can't be one."""
    email = typed.strip()
    if not email:
        return None
    local, at, domain = email.rpartition("@")
    seen = all(c.isprintable() and not c.isspace() for c in email)
    if not (local and at and domain and seen) or len(email) > LONGEST_EMAIL:
        raise BadEmail(
            "This does not look like an e-mail address. "
            "Correct it, or leave the field empty."
        )
    return email
