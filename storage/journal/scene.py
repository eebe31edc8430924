"""Which members there are, told by their superblocks: for when there is no database.

Nothing here writes, not even the admission of a member. One member may be missing and
one may lie: what a single member says alone is believed only when it has to be.
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from uuid import UUID

from raid.array import Array, ArrayMap, SlotEntry
from raid.errors import DamagedObject, MemberError, UnknownVersion
from raid.health import Health
from raid.keys import SUPERBLOCKS, parse_superblock_key
from raid.member import Member
from raid.superblock import MAX_LENGTH, Superblock

_MOST_SUPERBLOCKS = 8
"""A member keeps two; a liar may have any number."""
_MOST_NUMBER = 1 << 62
"""No honest array counts this far, and the rows that hold the numbers are signed."""


class NoMembers(Exception):
    """The places show no array that could be read; the message says what they show."""


@dataclass(frozen=True)
class Place:
    """A member that was recognised: where it is, and what it says it is."""

    url: str
    member: Member
    superblocks: tuple[Superblock, ...]

    @property
    def newest(self) -> Superblock:
        """Return the superblock that the member itself believes."""
        return self.superblocks[0]


@dataclass
class Scene:
    """The members of one array, by slot, and the map that they agree on."""

    block: Superblock
    places: dict[int, Place]
    incarnation: int
    event: int
    notes: list[str] = field(default_factory=list)
    spares: tuple[Place, ...] = ()

    @property
    def array(self) -> UUID:
        """Return the uuid of the array."""
        return self.block.array

    @property
    def width(self) -> int:
        """Return the number of slots."""
        return sum(entry.slot is not None for entry in self.block.members)

    @property
    def enough(self) -> int:
        """Return how many members have to say the same to be believed.

        One liar must not be enough; where fewer than three can be read, one has to do.
        """
        return 2 if len(self.places) >= 3 else 1

    def members(self) -> dict[int, Member]:
        """Return the members by slot."""
        return {slot: place.member for slot, place in self.places.items()}

    def place_of(self, member: UUID) -> Place | None:
        """Return where a member of the map was found."""
        for place in (*self.places.values(), *self.spares):
            if place.newest.member == member:
                return place
        return None

    def map(self) -> ArrayMap:
        """Return the map as the engine wants it, read-only."""
        slots = sorted(
            (
                SlotEntry(entry.slot, entry.member, entry.state, entry.url)
                for entry in self.block.members
                if entry.slot is not None
            ),
            key=lambda entry: entry.slot,
        )
        block = self.block
        return ArrayMap(
            block.array,
            block.level,
            block.shape,
            block.incarnation,
            block.event,
            tuple(slots),
            readonly=True,
        )

    def open(self, health: Health, executor: Executor) -> Array:
        """Return the array, to be read from."""
        return Array(self.map(), self.members(), health, executor)


# -- superblocks


def look(places: Mapping[str, Member]) -> Scene:
    """Recognise the members at some places, or raise NoMembers."""
    notes: list[str] = []
    found = [
        place
        for url, member in places.items()
        if (place := _recognise(url, member, notes)) is not None
    ]
    if not found:
        raise NoMembers(
            "None of the places holds a member that can be read. " + " ".join(notes)
        )
    array = _most_common(found, notes)
    ours = [place for place in found if place.newest.array == array]
    block = _agreed(ours, notes)
    by_slot = _by_slot(block, ours, notes)
    orders = [one.order for place in ours for one in place.superblocks]
    return Scene(
        block,
        by_slot,
        incarnation=max(order[0] for order in orders),
        event=max(order[1] for order in orders),
        notes=notes,
        spares=tuple(place for place in ours if place not in by_slot.values()),
    )


def _recognise(url: str, member: Member, notes: list[str]) -> Place | None:
    blocks: list[Superblock] = []
    try:
        keys = [info.key for info in member.list(SUPERBLOCKS)]
        numbers = {key: found for key in keys if (found := parse_superblock_key(key))}
        if not numbers:
            notes.append(f"{url} holds no member: there is no superblock.")
            return None
        newest = sorted(numbers, key=lambda key: numbers[key], reverse=True)
        for key in newest[:_MOST_SUPERBLOCKS]:
            block = _superblock(member, key)
            if block is not None and block.order == numbers[key]:
                blocks.append(block)
    except MemberError as error:
        notes.append(f"{url} can't be read: {error}")
    if not blocks:
        notes.append(f"{url} has no superblock that can be read, so it is left out.")
        return None
    same = {(block.array, block.member) for block in blocks}
    if len(same) > 1:
        notes.append(f"{url} says to be several members, so it is left out.")
        return None
    return Place(url, member, tuple(blocks))


def _superblock(member: Member, key: str) -> Superblock | None:
    try:
        block = Superblock.unpack(member.read(key, 0, MAX_LENGTH + 1))
    except (DamagedObject, UnknownVersion):
        return None
    return block if max(block.order) < _MOST_NUMBER else None


def _most_common(found: list[Place], notes: list[str]) -> UUID:
    counts = Counter(place.newest.array for place in found).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        said = "; ".join(f"{place.url}: {place.newest.array}" for place in found)
        raise NoMembers(
            "The places hold members of several arrays, and none of these has more "
            f"members here than the others ({said}). Name the members of one array."
        )
    array = counts[0][0]
    notes += [
        f"{place.url} holds a member of another array, {place.newest.array}, so it is "
        "left out."
        for place in found
        if place.newest.array != array
    ]
    return array


def _said(block: Superblock) -> tuple[object, ...]:
    """Return what a superblock says of the array, whoever holds it."""
    return (block.order, block.level, block.shape, block.members)


def _agreed(places: list[Place], notes: list[str]) -> Superblock:
    """Return the highest superblock that two members agree on, else the highest."""
    holders: dict[tuple[object, ...], int] = Counter()
    examples: dict[tuple[object, ...], Superblock] = {}
    for place in places:
        for block in place.superblocks:
            holders[_said(block)] += 1
            examples.setdefault(_said(block), block)
    by_height = sorted(examples.values(), key=lambda one: one.order, reverse=True)
    for block in by_height:
        if holders[_said(block)] >= 2:
            if block is not by_height[0]:
                notes.append(
                    f"One member alone knows event {by_height[0].event} of incarnation "
                    f"{by_height[0].incarnation}; the map is that of event "
                    f"{block.event} of incarnation {block.incarnation}, which more "
                    "members agree on."
                )
            return block
    highest = by_height[0]
    notes.append(
        f"No two members agree on the map; the highest is believed, event "
        f"{highest.event} of incarnation {highest.incarnation}."
    )
    return highest


def _by_slot(
    block: Superblock, places: list[Place], notes: list[str]
) -> dict[int, Place]:
    slots = {entry.member: entry.slot for entry in block.members}
    home = {entry.member: entry.url for entry in block.members}
    found: dict[int, Place] = {}
    # Of two with one identity, the one at its own url is real.
    for place in sorted(places, key=lambda one: one.url != home.get(one.newest.member)):
        slot = slots.get(place.newest.member)
        if slot is None:
            notes.append(f"{place.url} holds a member without a slot; left alone.")
        elif slot in found:
            notes.append(
                f"{place.url} is a clone of {found[slot].url}, which is used instead."
            )
        else:
            found[slot] = place
    for entry in block.members:
        if entry.slot is not None and entry.slot not in found:
            notes.append(f"The member of slot {entry.slot} is missing ({entry.url}).")
    if not found:
        raise NoMembers("None of the members has a slot of the array.")
    return found
