"""Sentences about the array, with numbers as words."""

from collections.abc import Iterable, Mapping, Sequence
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


def keeps(count: int) -> str:
    """Return what a member keeps that can't be destroyed there.

    >>> keeps(1)
    'It keeps the bytes of one purged file under its tombstone.'
    """
    if count == 1:
        return "It keeps the bytes of one purged file under its tombstone."
    return f"It keeps the bytes of {number(count)} purged files under their tombstones."


def some_of(count: int, width: int) -> str:
    """Return how many of how many, with the verb that follows.

    >>> some_of(1, 4)
    'One of four storage members is'
    """
    verb = "is" if count == 1 else "are"
    return f"{capital(number(count))} of {number(width)} storage members {verb}"


@dataclass(frozen=True)
class Facts:
    """What the sentences depend on.

    `returning` members are reachable and not in sync; those of them that are new to
    their slot are `rebuilding`. `unreadable` counts the files that can't be read now,
    `lost` those of them that no member's return would bring back. `in_pairs` is said of
    a level that survives some losses of more members than it promises.
    """

    width: int
    tolerates: int
    away: int
    writable: int
    returning: int
    refuse: bool
    rebuilding: int = 0
    unreadable: int = 0
    lost: int = 0
    in_pairs: bool = False

    @property
    def missing(self) -> int:
        """Return how many members take no new files."""
        return self.width - self.writable


def degraded(facts: Facts) -> str:
    """Say to everybody what a member's absence means for their files."""
    if facts.writable <= facts.tolerates and facts.refuse:
        until = "it returns" if facts.missing == 1 else "one returns"
        return (
            f"{some_of(facts.missing, facts.width)} away. {_readable(facts)}, but "
            f"nothing new can be stored until {until}."
        )
    if facts.writable <= 1:
        waiting = f" {_readable(facts)}." if facts.unreadable else ""
        return (
            f"Only one storage member is reachable.{waiting} New files are kept, but "
            "not yet twice. An administrator has been told."
        )
    if not facts.missing:
        how = "being rebuilt" if facts.rebuilding else "back and catching up"
        return (
            f"{some_of(facts.rebuilding or facts.returning, facts.width)} {how}. "
            f"{_readable(facts)} and new ones are safe on all {number(facts.width)}."
        )
    safe = "safe" if facts.writable > facts.tolerates else "kept"
    there = "the other " + (number(facts.writable) if facts.writable > 1 else "one")
    return (
        f"{some_of(facts.missing, facts.width)} {_how(facts)}. {_readable(facts)} and "
        f"new ones are {safe} on {there}."
    )


def _readable(facts: Facts) -> str:
    """Say what can be read, as the first half of a sentence about new files."""
    if not facts.unreadable:
        return "All files are readable"
    if facts.lost or not facts.away:
        return "Some files are damaged and can't be read, all others are readable"
    until = "it returns" if facts.away == 1 else "members return"
    return f"Some files can't be read until {until}, all others are readable"


def _how(facts: Facts) -> str:
    if facts.away == facts.missing:
        return "away"
    if facts.away:
        return "away or taking no new files"
    return "taking no new files"


def failed(facts: Facts) -> str:
    """Say to everybody that some files, and all new ones, have to wait."""
    until = _until(facts.away - facts.tolerates, in_pairs=facts.in_pairs)
    away = f"{capital(number(facts.away))} storage members are away"
    if facts.lost:
        return (
            f"{away}, and some files can't be read. More members are gone for good "
            "than the storage survives, so a part of these files will not come back. "
            "Nothing else will be deleted."
        )
    if not facts.unreadable:
        return (
            f"{away}. All files are readable, and nothing new can be stored until "
            f"{until}."
        )
    return (
        f"{away}, and some files can't "
        f"be read until {until}. Nothing is lost and nothing will be deleted."
    )


def _until(needed: int, *, in_pairs: bool) -> str:
    """Say how many have to return; of several pairs it depends on which ones do."""
    if needed == 1:
        return "one of them returns"
    return f"{'enough' if in_pairs else number(needed)} of them return"


def readonly(facts: Facts) -> str:
    """Say to everybody that nothing is written for now."""
    read = "Some files can't be read" if facts.unreadable else "Files can be read"
    return (
        f"The storage is read-only for now. {read}, and nothing new can be stored. An "
        "administrator has been told."
    )


NEWER = (
    "A newer release wrote to the members, so this one only reads. Nothing is written "
    "or removed. Install the newer release on this host."
)
NO_ARRAY = (
    "There is no storage yet, so no file can be kept. An administrator makes it with: "
    "flask array create."
)


def clean(width: int, tolerates: int, but: int = 0) -> str:
    """Say to an administrator what the array survives, and which files don't."""
    some = (
        f"one of these {number(width)} members"
        if tolerates == 1
        else f"{number(tolerates)} of these {number(width)} members"
    )
    rest = f" but {number(but)}" if but else ""
    return f"Every file{rest} survives the loss of any {some}."


def one_more(files: int, *, at_most: bool) -> str:
    """Say to an administrator what the next death would cost."""
    them = "one file is lost" if files == 1 else f"{files:,} files are lost"
    upto = "up to " if at_most and files > 1 else ""
    return f"If one more member dies now, {upto}{them}."


def without(files: int, *, at_most: bool, stores: bool) -> str:
    """Say to an administrator what it costs when a member is not used any more.

    >>> without(2, at_most=False, stores=True)
    "Without it 2 files can't be read until it is taken back."
    """
    until = "until it is taken back"
    written = "" if stores else f", and nothing new can be stored {until}"
    if not files:
        return f"Every file can be read without it{written}."
    them = "one file" if files == 1 else f"{files:,} files"
    upto = "up to " if at_most and files > 1 else ""
    also = "" if stores else ", and nothing new can be stored"
    return f"Without it {upto}{them} can't be read{also} {until}."


def given_up(files: int, *, at_most: bool) -> str:
    """Say to an administrator what is lost with a member that is replaced by force.

    >>> given_up(2, at_most=False)
    'Its disk is given up for ever, even if it comes back: 2 files need it.'
    """
    them = "one file needs it" if files == 1 else f"{files:,} files need it"
    upto = "up to " if at_most and files > 1 else ""
    needed = f"{upto}{them}" if files else "no file needs it"
    return f"Its disk is given up for ever, even if it comes back: {needed}."


def behind(waiting: int, seconds: float) -> str:
    """Say what would be lost if the database were lost now.

    >>> behind(0, 0.0)
    'Nothing would be lost with the database.'
    """
    if not waiting:
        return "Nothing would be lost with the database."
    changes = "one change waits" if waiting == 1 else f"{waiting:,} changes wait"
    return f"{capital(changes)}, the oldest for {round(seconds)} s."


_FATES = {
    "disk": "on one disk{name}: when it dies, they all do",
    "file system": "on one file system{name}: when it is full or broken, all are",
    "bucket": "in one bucket{name}: when it is deleted, they all are",
    "account": "in one account{name}: when it is closed or its key leaks, all are hit",
    "region": "in one region{name}: an outage there takes them all away",
    "provider": "with one provider{name}: what happens to it happens to all of them",
}
_PLACES = {
    "disk": "folders on one disk",
    "file system": "folders on one file system",
    "bucket": "prefixes in one bucket",
}


def shared(kind: str, name: str, slots: Sequence[int], *, grave: bool) -> str:
    """Warn that members share a fate; gravely when more do than may be lost.

    >>> shared("disk", "sda", [0, 1], grave=False)
    'Members 0 and 1 are on one disk (sda): when it dies, they all do.'
    """
    said = _FATES[kind].format(name=f" ({name})" if name else "")
    whole = f"Members {listed(map(str, slots))} are {said}."
    if not grave:
        return whole
    if kind in _PLACES:
        many = capital(number(len(slots)))
        return f"{whole} {many} {_PLACES[kind]} are not an array."
    return f"{whole} That is more than the array survives."


def counted(counts: Mapping[str, int]) -> str:
    """Return the counts of a job as a phrase.

    >>> counted({"objects": 12004, "removed_bytes": 1000, "bad": 0})
    '12,004 objects, 1 kB removed'
    """
    return ", ".join(_counted(word, count) for word, count in counts.items() if count)


def _counted(word: str, count: int) -> str:
    said = word.replace("_", " ")
    if said.endswith("bytes"):
        return f"{filesize(count)} {said.removesuffix('bytes')}".strip()
    return f"{count:,} {said}"


def listed(names: Iterable[str]) -> str:
    """Return names as people list them.

    >>> listed(["0", "1", "2"])
    '0, 1 and 2'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
