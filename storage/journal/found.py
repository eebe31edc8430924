"""What the members hold of each blob, told by their listings and manifests alone.

Nothing here writes. One member may lie: what a single member says alone is believed
only when it has to be.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID

from raid.errors import DamagedObject, MemberError, UnknownVersion
from raid.keys import OBJECTS, TOMBSTONES, KeyKind, ObjectKey, parse_key, tombstone_key
from raid.manifest import Form, Manifest
from raid.member import Member, ObjectInfo
from raid.reader import read_manifest
from raid.superblock import Tombstone
from storage.journal.scene import Scene


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


UNITS = 256
"""The first bytes of uuids, by which objects are listed."""
_TOMBSTONE = 4096
_LONGEST = 256 * 1024 * 1024
"""A manifest of more than ten terabytes; a liar may have objects of any size."""


def walk(scene: Scene, executor: Executor) -> Iterator[Traces]:
    """Yield what the members hold, blob by blob in the order of the uuids.

    One 256th of the array is in memory at a time. A member that can't be listed is
    named in the scene's notes, once.
    """
    listings = {slot: _Listing(place.member) for slot, place in scene.places.items()}
    for unit in range(UNITS):
        blobs: dict[UUID, Traces] = {}
        slots = list(listings)
        told = executor.map(lambda slot: listings[slot].unit(unit), slots)  # noqa: B023
        for slot, (found, error) in zip(slots, told, strict=True):
            if error is not None:
                del listings[slot]
                scene.notes.append(f"Slot {slot} can't be listed: {error}")
            for key, parsed in found:
                traces = blobs.setdefault(parsed.blob, Traces(parsed.blob))
                traces.note(slot, key, parsed)
        yield from (blobs[blob] for blob in sorted(blobs))


class _Listing:
    """What a member lists, in one go: a request for each unit is many for a bucket."""

    def __init__(self, member: Member) -> None:
        self._areas = [
            groupby(_listed(member, area), _unit_of) for area in (OBJECTS, TOMBSTONES)
        ]
        self._ahead: list[_Group | None] = [None for _ in self._areas]

    def unit(
        self, number: int
    ) -> tuple[list[tuple[str, ObjectKey]], MemberError | None]:
        """Return the objects of the next unit, and why there are no more."""
        found: list[tuple[str, ObjectKey]] = []
        try:
            for place in range(len(self._areas)):
                found += self._take(place, number)
        except MemberError as error:
            return found, error
        return found, None

    def _take(self, place: int, number: int) -> list[tuple[str, ObjectKey]]:
        name = f"{number:02x}"
        while True:
            group = self._ahead[place] or next(self._areas[place], None)
            self._ahead[place] = group
            if group is None or group[0] > name:
                return []
            self._ahead[place] = None
            if group[0] == name:
                return list(_known(group[1]))


_Group = tuple[str, Iterator[ObjectInfo]]


def _listed(member: Member, area: str) -> Iterator[ObjectInfo]:
    """List an area of a member when the first object is wanted, and not before."""
    yield from member.list(area)


def _unit_of(info: ObjectInfo) -> str:
    return info.key.split("/")[1]


def _known(listed: Iterator[ObjectInfo]) -> Iterator[tuple[str, ObjectKey]]:
    for info in listed:
        parsed = parse_key(info.key)
        alone = parsed is not None and parsed.kind is KeyKind.MANIFEST
        if parsed is not None and not (alone and info.size > _LONGEST):
            yield info.key, parsed


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


def complete(manifest: Manifest, traces: Traces, *, whole: bool = False) -> bool:
    """Tell whether the listings show enough roles of every segment, or all of them."""
    if manifest.form in (Form.EMPTY, Form.INLINE):
        return True
    for number, row in enumerate(manifest.segments):
        there = sum(
            (number, row.attempt, word, slot) in traces.shards
            for word, slot in zip(row.shape.roles, row.slots, strict=True)
        )
        if there < (len(row.slots) if whole else row.shape.k):
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
    member = scene.places[slot].member
    try:
        stone = Tombstone.unpack(member.read(tombstone_key(blob), 0, _TOMBSTONE))
    except (MemberError, DamagedObject, UnknownVersion):
        return False
    return (stone.array, stone.blob) == (scene.array, blob)
