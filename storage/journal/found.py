"""What is on the members, told by the members alone: for when there is no database.

Nothing here writes, not even the admission of a member. One member may be missing and
one may lie: what a single member says alone is believed only when it has to be.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from uuid import UUID

from raid.array import Array, ArrayMap, SlotEntry
from raid.errors import DamagedObject, MemberError, UnknownVersion
from raid.health import Health
from raid.keys import (
    OBJECTS,
    SUPERBLOCKS,
    TOMBSTONES,
    KeyKind,
    ObjectKey,
    parse_key,
    parse_superblock_key,
)
from raid.manifest import Form, Manifest
from raid.member import Member
from raid.reader import read_manifest
from raid.superblock import MAX_LENGTH, Superblock, Tombstone

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
    found: dict[int, Place] = {}
    for place in places:
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


# -- what lies under o/ and t/


@dataclass
class Traces:
    """What the members hold of one blob: by slot, from their listings."""

    blob: UUID
    manifests: dict[int, list[tuple[int, str, bool]]] = field(default_factory=dict)
    """Attempt -> (slot, key, whether it is inside a combined object)."""
    shards: set[tuple[int, int, str, int]] = field(default_factory=set)
    """(segment, attempt, role, slot); a combined object is segment 0."""
    tombstones: set[int] = field(default_factory=set)

    def note(self, slot: int, key: str, parsed: ObjectKey) -> None:
        """Add one object of a listing."""
        if parsed.kind is KeyKind.TOMBSTONE:
            self.tombstones.add(slot)
            return
        if parsed.kind is not KeyKind.MANIFEST:
            self.shards.add((parsed.segment, parsed.attempt, parsed.role, slot))
        if parsed.kind is not KeyKind.SHARD:
            combined = parsed.kind is KeyKind.COMBINED
            self.manifests.setdefault(parsed.attempt, []).append((slot, key, combined))


def walk(scene: Scene, executor: Executor) -> Iterator[Traces]:
    """Yield what the members hold, blob by blob in the order of the uuids.

    One 256th of the array is in memory at a time. A member that can't be listed is
    named in the scene's notes, once.
    """
    lost: set[int] = set()
    for unit in range(256):
        blobs: dict[UUID, Traces] = {}
        slots = [slot for slot in scene.places if slot not in lost]
        listings = executor.map(lambda slot: _list(scene, slot, unit), slots)  # noqa: B023
        for slot, (found, error) in zip(slots, listings, strict=True):
            if error is not None:
                lost.add(slot)
                scene.notes.append(f"Slot {slot} can't be listed: {error}")
            for key, parsed in found:
                traces = blobs.setdefault(parsed.blob, Traces(parsed.blob))
                traces.note(slot, key, parsed)
        yield from (blobs[blob] for blob in sorted(blobs))


_Listing = tuple[list[tuple[str, ObjectKey]], MemberError | None]


def _list(scene: Scene, slot: int, unit: int) -> _Listing:
    member = scene.places[slot].member
    found: list[tuple[str, ObjectKey]] = []
    try:
        for area in (OBJECTS, TOMBSTONES):
            for info in member.list(f"{area}{unit:02x}/"):
                parsed = parse_key(info.key)
                if parsed is not None:
                    found.append((info.key, parsed))
    except MemberError as error:
        return found, error
    return found, None


@dataclass(frozen=True)
class Described:
    """A manifest that is intact, on how many members, and whether its bytes are."""

    manifest: Manifest
    holders: int
    complete: bool


def describe(scene: Scene, traces: Traces) -> Described | None:
    """Return the manifest to believe of a blob that nothing else is known of.

    What enough members hold goes before what one says alone, what is complete before
    what is not; of those the highest attempt.
    """
    held: dict[bytes, set[int]] = defaultdict(set)
    manifests: dict[bytes, Manifest] = {}
    for attempt, holders in traces.manifests.items():
        for slot, key, combined in holders:
            manifest = _manifest(scene, slot, key, combined)
            if manifest is None or manifest.attempt != attempt:
                continue
            if (manifest.array, manifest.blob) != (scene.array, traces.blob):
                continue
            manifests[manifest.digest] = manifest
            held[manifest.digest].add(slot)
    described = [
        Described(manifest, len(held[digest]), complete(manifest, traces))
        for digest, manifest in manifests.items()
    ]
    return max(described, key=lambda one: _rank(scene, one), default=None)


def _rank(scene: Scene, one: Described) -> tuple[bool, bool, int, int, bytes]:
    sure = one.holders >= scene.enough
    manifest = one.manifest
    return sure, one.complete, manifest.attempt, one.holders, manifest.digest


def _manifest(scene: Scene, slot: int, key: str, combined: bool) -> Manifest | None:
    try:
        member = scene.places[slot].member
        return Manifest.unpack(read_manifest(member, key, combined=combined))
    except (MemberError, DamagedObject, UnknownVersion):
        return None


def complete(manifest: Manifest, traces: Traces) -> bool:
    """Tell whether the listings show enough roles of every segment."""
    if manifest.form in (Form.EMPTY, Form.INLINE):
        return True
    for number, row in enumerate(manifest.segments):
        there = sum(
            (number, row.attempt, word, slot) in traces.shards
            for word, slot in zip(row.shape.roles, row.slots, strict=True)
        )
        if there < row.shape.k:
            return False
    return True


def matching(scene: Scene, traces: Traces, digest: bytes) -> Manifest | None:
    """Return the manifest with a digest that is known, from whoever has it whole."""
    for attempt in sorted(traces.manifests, reverse=True):
        for slot, key, combined in traces.manifests[attempt]:
            manifest = _manifest(scene, slot, key, combined)
            if manifest is not None and manifest.digest == digest:
                return manifest
    return None


def tombstones(scene: Scene, traces: Traces) -> int:
    """Return on how many members a tombstone of the blob is intact."""
    return sum(_is_tombstone(scene, slot, traces.blob) for slot in traces.tombstones)


def _is_tombstone(scene: Scene, slot: int, blob: UUID) -> bool:
    key = f"{TOMBSTONES}{blob.hex[:2]}/{blob}"
    try:
        stone = Tombstone.unpack(scene.places[slot].member.read(key))
    except (MemberError, DamagedObject, UnknownVersion):
        return False
    return (stone.array, stone.blob) == (scene.array, blob)
