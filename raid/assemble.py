"""Find out what the members are, and make the array of those that belong to it.

Environment variables say where to look; superblocks say what is there; the map (the
database's) decides. What does not belong is named and never touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from raid.array import ArrayMap, SlotEntry, Waiting
from raid.errors import DamagedObject, MemberError, MemberMissing, UnknownVersion
from raid.keys import SUPERBLOCKS, parse_superblock_key, superblock_key
from raid.member import Member
from raid.superblock import MAX_LENGTH, Superblock


class Problem(StrEnum):
    """Why what is at a URL is not the member that belongs there."""

    BLANK = "blank"
    UNREADABLE = "unreadable"
    NEWER = "newer"
    AWAY = "away"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Found:
    """What a look at one place showed; ``sentence`` explains a problem."""

    superblock: Superblock | None = None
    problem: Problem | None = None
    sentence: str = ""
    error: MemberError | None = None


@dataclass
class Assembled:
    """The members by slot, each admitted to its identity, and what is odd.

    A slot in ``problems`` has a sentence. It still has a member when there is a place
    for it, which refuses everything until the right disk is there. Slots are in
    ``behind`` or ``ahead`` when their superblock is older or newer than the map, and
    in ``newer`` when a newer release wrote it: then the array is to be read-only.
    ``beside`` has the members without a slot that are where the map says. A member in
    ``rolled_back`` has an older superblock than it was known to have: what it held
    since then may be gone.
    """

    members: dict[int, Member] = field(default_factory=dict)
    beside: dict[UUID, Member] = field(default_factory=dict)
    rolled_back: set[UUID] = field(default_factory=set)
    problems: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    behind: set[int] = field(default_factory=set)
    ahead: set[int] = field(default_factory=set)
    newer: set[int] = field(default_factory=set)


def inspect(member: Member) -> Found:
    """Look at a place without changing it: the newest superblock that is whole."""
    try:
        # Never a list of everything: a member holds millions of objects.
        infos = member.list(SUPERBLOCKS)
        keys = [info.key for info in infos if parse_superblock_key(info.key)]
        if not keys:
            used = next(iter(member.list("")), None) is not None
            return _without_superblock(member, used)
        return _newest(member, keys)
    except MemberError as error:
        return Found(None, Problem.AWAY, str(error), error)


def _without_superblock(member: Member, used: bool) -> Found:
    if not used:
        return Found(None, Problem.BLANK, f"{member.label} is empty: no member yet.")
    return Found(
        None,
        Problem.FOREIGN,
        f"{member.label} holds other files and no superblock; choose an empty place.",
    )


def _newest(member: Member, keys: Iterable[str]) -> Found:
    for key in sorted(keys, key=lambda k: parse_superblock_key(k) or (), reverse=True):
        try:
            return Found(Superblock.unpack(member.read(key, 0, MAX_LENGTH + 1)))
        except UnknownVersion as error:
            return Found(None, Problem.NEWER, f"{member.label}: {error}")
        except DamagedObject:
            continue  # the one before it may be whole
    return Found(
        None,
        Problem.UNREADABLE,
        f"{member.label} has a superblock that can't be read; replace the member.",
    )


def format_member(member: Member, superblock: Superblock) -> None:
    """Make a blank place a member; anything else there is an error."""
    found = inspect(member)
    if found.problem is not Problem.BLANK:
        raise MemberMissing(
            member.label,
            f"{member.label} is not blank, so it is not formatted. {found.sentence}",
        )
    key = superblock_key(superblock.incarnation, superblock.event)
    member.put(key, [superblock.pack()], essential=True)
    member.admit(superblock.array, superblock.member)


def assemble(array_map: ArrayMap, places: Mapping[str, Member]) -> Assembled:
    """Match places, by url, with the slots of a map by the members' superblocks.

    A member that stands at another url than the map's is used where it stands. Of two
    with one identity the one at its own url is real, and without that neither is.
    """
    found = {url: inspect(member) for url, member in places.items()}
    result = Assembled()
    for entry in array_map.slots:
        url = _place_of(array_map, entry, found, result)
        if url is not None:
            _compare(array_map, entry, found[url].superblock, result)
            result.members[entry.slot] = places[url]
            places[url].admit(array_map.array, entry.member)
    for waiting in array_map.waiting:
        _place_beside(array_map, waiting, places, found, result)
    _name_strangers(array_map, found, result)
    return result


def _place_beside(
    array_map: ArrayMap,
    waiting: Waiting,
    places: Mapping[str, Member],
    found: Mapping[str, Found],
    result: Assembled,
) -> None:
    """Find a member without a slot; it may have come with its disk to another url."""
    if not waiting.used:
        return
    here = [url for url, what in found.items() if _is(what, array_map, waiting)]
    blank = waiting.url in found and found[waiting.url].superblock is None
    if waiting.url in here or len(here) == 1:
        url = waiting.url if waiting.url in here else here[0]
    elif blank and places[waiting.url] not in result.members.values():
        url = waiting.url  # it refuses everything until the right disk is there
    else:
        return
    result.beside[waiting.member] = places[url]
    places[url].admit(array_map.array, waiting.member)


def _place_of(
    array_map: ArrayMap,
    entry: SlotEntry,
    found: Mapping[str, Found],
    result: Assembled,
) -> str | None:
    """Return the url where the member of a slot is, or should be."""
    here = [url for url, what in found.items() if _is(what, array_map, entry)]
    if len(here) > 1:
        result.notes.append(
            f"Slot {entry.slot} has clones at {', '.join(here)}; "
            "detach all but the right one."
        )
    if entry.url in here:
        return entry.url
    if len(here) == 1:
        result.notes.append(
            f"The member of slot {entry.slot} is at {here[0]} and not at {entry.url}; "
            "it is used where it is."
        )
        return here[0]
    if here or entry.url not in found:
        result.problems[entry.slot] = (
            f"Slot {entry.slot} is missing: no place has its member alone."
            if here
            else f"Slot {entry.slot} is missing: nothing looks for it at {entry.url}; "
            "name its place in the settings or replace the member."
        )
        return None
    result.problems[entry.slot] = (
        f"Slot {entry.slot} is missing: {_sentence(entry.url, found[entry.url])}"
    )
    taken = found[entry.url].superblock
    others: list[SlotEntry | Waiting] = [*array_map.slots, *array_map.waiting]
    at_home = {known.member for known in others if known != entry}
    return None if taken and taken.member in at_home else entry.url


def _is(found: Found, array_map: ArrayMap, entry: SlotEntry | Waiting) -> bool:
    block = found.superblock
    return block is not None and (block.array, block.member) == (
        array_map.array,
        entry.member,
    )


def _sentence(url: str, found: Found) -> str:
    if found.superblock is None:
        return found.sentence
    return f"{url} holds another member; attach the right one."


def _compare(
    array_map: ArrayMap,
    entry: SlotEntry,
    block: Superblock | None,
    result: Assembled,
) -> None:
    """Note a member whose superblock is older or newer than the database."""
    if block is None or block.member != entry.member:
        return
    if block.newer:
        result.newer.add(entry.slot)
        result.notes.append(
            f"A newer release wrote to the member of slot {entry.slot}, so the array "
            "is read-only for this one; install the newer release."
        )
    known = (array_map.incarnation, array_map.event)
    if block.incarnation == array_map.incarnation and block.event < entry.told:
        result.rolled_back.add(entry.member)
        result.notes.append(
            f"The member of slot {entry.slot} is older than it was when it was last "
            "written to, as after its disk was restored; all that it holds is looked "
            "at before it counts again."
        )
    if block.order < known:
        result.behind.add(entry.slot)
    elif block.order > known:
        result.ahead.add(entry.slot)
        result.notes.append(
            f"Slot {entry.slot} knows a later event than the database, which may have "
            "been restored from an old backup; look before anything is written."
        )


def _name_strangers(
    array_map: ArrayMap, found: Mapping[str, Found], result: Assembled
) -> None:
    """Name the places that hold what the map does not know."""
    known = {entry.member for entry in array_map.slots}
    beside = {waiting.member: waiting for waiting in array_map.waiting}
    for url, what in found.items():
        block = what.superblock
        if block is None:
            continue
        waiting = beside.get(block.member)
        if block.array != array_map.array:
            result.notes.append(f"{url} holds a member of another array; left alone.")
        elif waiting is not None and not waiting.used:
            result.notes.append(
                f"{url} holds a member that was retired or replaced; it is not used."
            )
        elif waiting is None and block.member not in known:
            result.notes.append(f"{url} holds a member without a slot; left alone.")
