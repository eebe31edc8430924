"""Sentences about the array, with numbers as words."""

from dataclasses import dataclass

_NUMBERS = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def filesize(count: int | None) -> str:
    """Return bytes as people read them: 999 B, 1.4 GB, 25 MB."""
    if count is None:
        return ""
    value = float(count)
    unit = 0
    while unit + 1 < len(_UNITS) and round(value, 1 if value < 9.95 else 0) >= 1000:
        value /= 1000
        unit += 1
    if unit == 0:
        return f"{count} B"
    digits = 1 if value < 9.95 else 0
    text = f"{value:.{digits}f}"
    return f"{text.removesuffix('.0')} {_UNITS[unit]}"


def number(count: int) -> str:
    """Return a small number as a word.

    >>> number(4)
    'four'
    """
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def capital(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def some_of(count: int, width: int) -> str:
    """Return how many of how many, with the verb that follows.

    >>> some_of(1, 4)
    'One of four storage members is'
    """
    verb = "is" if count == 1 else "are"
    return f"{capital(number(count))} of {number(width)} storage members {verb}"


@dataclass(frozen=True)
class Facts:
    """What the sentences depend on."""

    width: int
    tolerates: int
    away: int
    writable: int
    returning: int
    refuse: bool


def degraded(facts: Facts) -> str:
    """Say to everybody what a member's absence means for their files."""
    if facts.writable <= facts.tolerates and facts.refuse:
        return (
            f"{some_of(facts.width - facts.writable, facts.width)} away. All files are "
            "readable, but nothing new can be stored until "
            f"{'it returns' if facts.width - facts.writable == 1 else 'one returns'}."
        )
    if facts.writable <= 1:
        return (
            "Only one storage member is reachable. New files are kept, but not yet "
            "twice. An administrator has been told."
        )
    missing = facts.width - facts.writable
    if not missing:
        return (
            f"{some_of(facts.returning, facts.width)} back and catching up. All files "
            f"are readable and new ones are safe on all {number(facts.width)}."
        )
    safe = "safe" if facts.writable > facts.tolerates else "kept"
    there = "the other " + (number(facts.writable) if facts.writable > 1 else "one")
    return (
        f"{some_of(missing, facts.width)} {_how(facts, missing)}. All files are "
        f"readable and new ones are {safe} on {there}."
    )


def _how(facts: Facts, missing: int) -> str:
    if facts.away == missing:
        return "away"
    if facts.away:
        return "away or taking no new files"
    return "taking no new files"


def failed(facts: Facts) -> str:
    """Say to everybody that some files have to wait."""
    needed = facts.away - facts.tolerates
    until = f"{number(needed)} of them {'returns' if needed == 1 else 'return'}"
    return (
        f"{capital(number(facts.away))} storage members are away, and some files can't "
        f"be read until {until}. Nothing is lost and nothing will be deleted."
    )


READONLY = (
    "The storage is read-only for now. Files can be read, and nothing new can be "
    "stored. An administrator has been told."
)
NEWER = (
    "A newer release wrote to the members, so this one only reads. Nothing is written "
    "or removed. Install the newer release on this host."
)
NO_ARRAY = (
    "There is no storage yet, so no file can be kept. An administrator makes it with: "
    "flask array create."
)


def clean(width: int, tolerates: int) -> str:
    """Say to an administrator what the array survives."""
    some = (
        f"one of these {number(width)} members"
        if tolerates == 1
        else f"{number(tolerates)} of these {number(width)} members"
    )
    return f"Every file survives the loss of any {some}."
