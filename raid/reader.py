"""Read a blob: only the units that a range needs, each verified before it leaves.

A unit that is late, missing or bad is rebuilt from the others of its row. Then only
the rebuilt unit is hashed: when it matches its tag, so did what it was made of, and
the inputs are looked at only when it differs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from raid.array import Array
from raid.errors import (
    BlobDamaged,
    BlobUnreachable,
    DamagedObject,
    MemberError,
    ObjectMissing,
    RaidError,
    UnknownVersion,
)
from raid.format import HEADER_LENGTH, ShardHeader
from raid.geometry import Code, Shape
from raid.keys import combined_key, manifest_key
from raid.manifest import Form, Manifest
from raid.member import Member
from raid.preference import is_far, rank
from raid.race import Ask, Race
from raid.rows import MAX_METADATA
from raid.runs import read_runs
from raid.segments import Damage
from raid.superblock import StoredState

OnDamage = Callable[[Damage], None]

_FIRST_READ = 16 * 1024
"""Usually holds the header, the table and the manifest of a combined object."""

_LONGEST_INSIDE = 2 * MAX_METADATA
"""A manifest inside a combined object has one row; names are all that can be long."""


@dataclass(frozen=True)
class BlobRef:
    """What the database knows of a blob; slots and shape are a combined segment's."""

    blob: UUID
    attempt: int
    size: int
    form: Form
    manifest_digest: bytes
    slots: tuple[int, ...] = ()
    k: int = 0
    m: int = 0
    code: int = 0

    def manifest_key(self, slot: int) -> str:
        """Return the key of the object on a slot that holds the manifest."""
        if slot not in self.slots:
            return manifest_key(self.blob, self.attempt)
        words = Shape(self.k, self.m, Code(self.code)).roles
        return combined_key(self.blob, self.attempt, words[self.slots.index(slot)])

    def role(self, slot: int) -> int | None:
        """Return the combined role that a slot has."""
        return self.slots.index(slot) if slot in self.slots else None


def read(
    array: Array,
    ref: BlobRef,
    start: int,
    stop: int,
    *,
    manifest: Manifest | None = None,
    on_damage: OnDamage,
) -> Iterator[bytes]:
    """Yield bytes start..stop of a blob, each chunk verified before it leaves.

    Raises instead of yielding what can't be verified; the first chunk is only read
    when it is asked for. ``on_damage`` is called in the thread that reads.
    """
    if start >= min(stop, ref.size):
        return
    found = manifest or load_manifest(array, ref, on_damage)
    if found.form is Form.INLINE:
        yield found.inline[start:stop]
        return
    yield from read_runs(array, found, start, stop, on_damage)


def load_manifest(array: Array, ref: BlobRef, on_damage: OnDamage) -> Manifest:
    """Return the manifest whose digest the database keeps, from any member."""
    search = _Search(array, ref, on_damage)
    slots = search.slots()
    resting = [slot for slot in slots if not array.health.usable(slot)]
    awake = [slot for slot in slots if slot not in resting]
    if is_far(array) and (manifest := search.race(awake)) is not None:
        return manifest
    for slot in search.left(awake, resting):
        if (manifest := search.ask(slot)) is not None:
            return manifest
    raise search.failure()


def read_manifest(member: Member, key: str, *, combined: bool) -> bytes:
    """Return the bytes of a manifest, alone or inside a combined object; unverified."""
    if not combined:
        return member.read(key)
    return _inside(member, key, member.read(key, 0, _FIRST_READ))


def _inside(member: Member, key: str, head: bytes) -> bytes:
    """Return the manifest inside a combined object that begins with ``head``."""
    header = ShardHeader.unpack(head)
    start = HEADER_LENGTH + header.table_length
    stop = start + header.manifest_length
    if header.manifest_length > _LONGEST_INSIDE:
        raise DamagedObject(f"{key} says that a manifest inside it is impossibly long.")
    if stop > len(head):
        return member.read(key, start, header.manifest_length)
    return head[start:stop]


class _Search:
    """Ask one member after the other for a manifest."""

    def __init__(self, array: Array, ref: BlobRef, on_damage: OnDamage) -> None:
        self._array = array
        self._ref = ref
        self._on_damage = on_damage
        self._away: list[int] = []
        self._done: set[int] = set()
        self._late: set[int] = set()
        self._newer: UnknownVersion | None = None

    def slots(self) -> list[int]:
        """Return all slots, started at one that the blob's uuid chooses."""
        known = [entry.slot for entry in self._array.map.slots]
        slots = [slot for slot in known if not self._array.is_gone(slot)] or known
        first = self._ref.blob.int % len(slots)
        turned = slots[first:] + slots[:first]
        return sorted(turned, key=lambda slot: rank(self._array, slot))

    def left(self, awake: list[int], resting: list[int]) -> Iterator[int]:
        """Yield who has not answered yet, the late ones at last."""
        yield from (slot for slot in awake if slot not in self._done | self._late)
        yield from resting
        yield from sorted(self._late)

    def race(self, slots: list[int]) -> Manifest | None:
        """Return the manifest of the first of some far members that has it."""
        asks = [self._ask_of(slot) for slot in slots if slot in self._array.members]
        race = Race(self._array, asks, 1, lambda came: 0 if came else 1)
        race.finish()
        self._late = {asks[number].slot for number in race.late}
        for number, error in race.failed.items():
            self._judge(asks[number].slot, _raising(error))
        for number, data in race.came.items():
            slot = asks[number].slot
            if (found := self._judge(slot, lambda: self._rest(slot, data))) is not None:  # noqa: B023
                return found
        return None

    def _ask_of(self, slot: int) -> Ask:
        length = None if self._ref.role(slot) is None else _FIRST_READ
        return Ask(slot, self._ref.manifest_key(slot), 0, length)

    def _rest(self, slot: int, data: bytes) -> bytes:
        """Return the manifest of what came first."""
        if self._ref.role(slot) is None:
            return data
        with self._array.using(slot) as member:
            return _inside(member, self._ref.manifest_key(slot), data)

    def ask(self, slot: int) -> Manifest | None:
        """Return the verified manifest of a member, or note why it has none."""
        combined = self._ref.role(slot) is not None

        def reading() -> bytes:
            with self._array.using(slot) as member:
                key = self._ref.manifest_key(slot)
                return read_manifest(member, key, combined=combined)

        return self._judge(slot, reading)

    def _judge(self, slot: int, reading: Callable[[], bytes]) -> Manifest | None:
        key = self._ref.manifest_key(slot)
        self._done.add(slot)
        try:
            data = reading()
            return Manifest.unpack(data, self._ref.manifest_digest)
        except ObjectMissing:
            self._note_absence(slot, key)
        except MemberError:
            self._away.append(slot)
        except DamagedObject as error:
            self._note(slot, key, str(error))
        except UnknownVersion as error:
            self._newer = error
        return None

    def _note_absence(self, slot: int, key: str) -> None:
        entry = self._array.map.entry(slot)
        if entry is None or entry.leaving:
            return
        if entry.state is StoredState.IN_SYNC:
            self._note(slot, key, "The object is missing.")

    def _note(self, slot: int, key: str, reason: str) -> None:
        role = self._ref.role(slot)
        segment = None if role is None else 0
        damage = Damage(slot, self._ref.blob, segment, role, key, reason)
        self._on_damage(damage)

    def failure(self) -> RaidError:
        """Return the honest error; absence means nothing unless all members agree."""
        if self._newer is not None:
            return self._newer
        if self._away:
            away = [self._array.label(slot) for slot in sorted(self._away)]
            return BlobUnreachable(
                f"The description of this file is on members that are away "
                f"({', '.join(away)}); it can be read when one is back.",
                away,
            )
        return BlobDamaged(
            "No member has the description of this file in good order; "
            "restore the file from a backup."
        )


def _raising(error: MemberError) -> Callable[[], bytes]:
    def reading() -> bytes:
        raise error

    return reading
