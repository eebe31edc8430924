"""Look at everything that the members hold of a blob, and say what is not as it was.

One read of each object covers its presence, its size and every tag. That data and
parity belong together no tag can say: a wrong encoder tags its wrong parity rightly. So
the parity of one row of each segment is computed anew from data that was verified.

Only a definite answer counts: a member that can't be reached is no damage, and neither
is what a member lacks that is not in sync.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from raid.array import Array
from raid.errors import (
    DamagedObject,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberReadOnly,
    ObjectMissing,
    UnknownVersion,
)
from raid.format import payload_offset
from raid.geometry import UNIT, Code, Shape, units_of
from raid.keys import SUPERBLOCKS, manifest_key
from raid.levels import encode_parities
from raid.manifest import Form, Manifest, SegmentRow
from raid.member import Member
from raid.segments import Damage
from raid.shards import Place, object_key, place_of, read_table, role_key
from raid.superblock import StoredState
from raid.tags import unit_tag

UNITS_AT_ONCE = 16
"""What a thread reads at once: most objects in one go, huge ones piece by piece."""

_HOLDS_DATA = (StoredState.IN_SYNC, StoredState.REBUILDING, StoredState.STALE)

Pick = Callable[[int], int]
"""Given a count, names one of so many rows."""


class Kind(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing"
    SIZE = "size"
    BAD = "bad"
    PARITY = "parity"


@dataclass(frozen=True)
class Finding:
    """An object that is not as it was written."""

    kind: Kind
    damage: Damage


@dataclass
class Look:
    """What was seen of a segment, or of the manifests of a blob."""

    findings: list[Finding] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    unreachable: list[int] = field(default_factory=list)
    owed: int = 0

    @property
    def lost(self) -> int:
        """Return how many objects are of no use as they are."""
        return sum(one.kind is not Kind.PARITY for one in self.findings)

    def add(self, other: "Look") -> None:
        """Take what another look has seen as well."""
        self.findings += other.findings
        self.objects += other.objects
        self.bytes += other.bytes
        self.unreachable += other.unreachable
        self.owed += other.owed


class _WrongSize(DamagedObject):
    """An object is shorter or longer than it was written."""


@dataclass
class _Stored:
    """One object that a slot should hold: here a manifest that stands alone."""

    array: Array
    manifest: Manifest
    slot: int
    segment: int | None = None
    role: int | None = None

    @property
    def key(self) -> str:
        return manifest_key(self.manifest.blob, self.manifest.attempt)

    def check(self) -> int:
        """Read all of it and return how much that was; raise what is wrong."""
        right = self.manifest.pack()
        data = self._read(0, len(right) + 1)
        if len(data) != len(right):
            raise _WrongSize("The object is shorter or longer than it was written.")
        if data != right:
            raise DamagedObject("The manifest is not the one that was written.")
        return len(data)

    def _read(self, offset: int, length: int) -> bytes:
        """Read once more after trouble, if the member is in order apart from it.

        Then it was a passing one, or there is a bad sector under this very object.
        """
        member = self.array.members[self.slot]
        try:
            return member.read(self.key, offset, length)
        except ObjectMissing:
            raise
        except MemberError:
            self._prove_in_order(member)
        try:
            return member.read(self.key, offset, length)
        except MemberFailing as error:
            raise DamagedObject(f"The object can't be read: {error}") from error

    def _prove_in_order(self, member: Member) -> None:
        """Raise unless the member answers and its superblock can be read anew."""
        with suppress(MemberFull, MemberReadOnly):  # what it has can be read
            self.array.check(self.slot)
        for info in list(member.list(SUPERBLOCKS)):
            member.read(info.key)

    def finding(self, kind: Kind, reason: str) -> Finding:
        blob = self.manifest.blob
        damage = Damage(self.slot, blob, self.segment, self.role, self.key, reason)
        return Finding(kind, damage)


@dataclass
class _Shard(_Stored):
    """A shard or combined object; keeps the unit of the row that is asked for."""

    segment: int
    role: int
    sample: int | None = None
    kept: bytes | None = None

    @property
    def key(self) -> str:
        return object_key(self.manifest, self.segment, self.role)

    @property
    def row(self) -> SegmentRow:
        return self.manifest.segments[self.segment]

    def check(self) -> int:
        row = self.row
        inside = b""
        if self.manifest.form is Form.COMBINED:
            inside = self.manifest.pack()
        start = payload_offset(row.length, row.shape, len(inside))
        units = units_of(row.length, row.shape.k)
        place = place_of(self.manifest, self.segment)
        checked = _Units(place, row, self.role)
        for first in range(0, len(units), UNITS_AT_ONCE):
            some = units[first : first + UNITS_AT_ONCE]
            data = self._piece(start, first, some, last=first + len(some) == len(units))
            view = memoryview(data)
            if first == 0:
                checked.open(data, inside, start)
                view = view[start:]
            self._check_units(checked, view, first, some)
        return start + sum(units)

    def _piece(self, start: int, first: int, units: list[int], *, last: bool) -> bytes:
        """Read some units, the first ones with what stands before them.

        A byte more is asked for behind the last, which must not be there.
        """
        begin = start + first * UNIT if first else 0
        length = start + first * UNIT + sum(units) - begin
        data = self._read(begin, length + last)
        if len(data) != length:
            raise _WrongSize("The object is shorter or longer than it was written.")
        return data

    def _check_units(
        self, checked: "_Units", view: memoryview, first: int, units: list[int]
    ) -> None:
        at = 0
        for index, length in enumerate(units, first):
            unit = view[at : at + length]
            checked.check(index, unit)
            if index == self.sample:
                self.kept = bytes(unit)
            at += length


class _Units:
    """The tags of one role, out of its own table once that is verified."""

    def __init__(self, place: Place, row: SegmentRow, role: int) -> None:
        self._place, self._row, self._role = place, row, role
        self._column = row.shape.column(role)
        self._key = role_key(place, row.shape, self._column)

    def open(self, data: bytes, inside: bytes, start: int) -> None:
        """Verify what stands before the units."""
        self._table = read_table(data, self._place, self._row, self._role)
        if data[start - len(inside) : start] != inside:
            raise DamagedObject("The manifest inside is not the one that was written.")

    def check(self, index: int, unit: memoryview) -> None:
        """Compare a unit with its tag."""
        if unit_tag(self._key, unit, index) != self._table.tag(index, self._column):
            raise DamagedObject(f"Unit {index} differs from its tag.")


def _look_at(objects: Sequence[_Stored]) -> Look:
    """Look at one object after the other, then at the parity of the row picked."""
    found = Look()
    for one in objects:
        found.add(_look(one))
    found.findings += _wrong_parities(objects)
    return found


def look_at_manifests(array: Array, manifest: Manifest) -> Look:
    """Look at the manifest on every slot but those of combined roles.

    One that is being emptied is given no manifests, so none is missing there.
    """
    combined = manifest.form is Form.COMBINED
    with_role = set(manifest.segments[0].slots) if combined else set()
    staying = (entry.slot for entry in array.map.slots if not entry.leaving)
    slots = [slot for slot in staying if slot not in with_role]
    return _look_at([_Stored(array, manifest, slot) for slot in slots])


def look_at_segment(array: Array, manifest: Manifest, number: int, pick: Pick) -> Look:
    """Look at every role of a segment, and at the parity of one row picked."""
    row = manifest.segments[number]
    sample = None
    if row.shape.code is not Code.COPIES:  # equal tags are equal copies
        sample = pick(len(units_of(row.length, row.shape.k)))
    return _look_at(
        [
            _Shard(array, manifest, slot, number, role, sample)
            for role, slot in enumerate(row.slots)
        ]
    )


def _look(one: _Stored) -> Look:
    if not _worth_asking(one.array, one.slot):
        return Look(unreachable=[one.slot])
    try:
        size = one.check()
    except ObjectMissing:
        return _absent(one)
    except _WrongSize as error:
        return Look([one.finding(Kind.SIZE, str(error))], objects=1)
    except DamagedObject as error:
        return Look([one.finding(Kind.BAD, str(error))], objects=1)
    except (MemberError, UnknownVersion):
        return Look(unreachable=[one.slot])
    return Look(objects=1, bytes=size)


def _worth_asking(array: Array, slot: int) -> bool:
    """Tell whether a member may be asked; a bad sector is no reason to rest it here."""
    entry = array.map.entry(slot)
    if entry is None or entry.state not in _HOLDS_DATA or slot not in array.members:
        return False
    failing = isinstance(array.health.error(slot), MemberFailing)
    return failing or array.health.usable(slot)


def _absent(one: _Stored) -> Look:
    entry = one.array.map.entry(one.slot)
    if entry is not None and entry.state is StoredState.IN_SYNC:
        return Look([one.finding(Kind.MISSING, "The object is missing.")])
    return Look(owed=1)


def _wrong_parities(objects: Sequence[_Stored]) -> list[Finding]:
    """Return the parities of the sampled row that do not belong to its data."""
    shards = [one for one in objects if isinstance(one, _Shard)]
    if not shards:
        return []
    shape = shards[0].row.shape
    data = [one.kept for one in shards[: shape.k] if one.kept is not None]
    if len(data) < shape.k:
        return []
    right = _parities(shape, data)
    return [
        one.finding(Kind.PARITY, "The parity does not belong to the data.")
        for one, parity in zip(shards[shape.k :], right, strict=False)
        if one.kept is not None and one.kept != bytes(parity)
    ]


def _parities(shape: Shape, units: list[bytes]) -> list[memoryview]:
    """Return the parity units of one row, made as those of a whole segment are."""
    data = b"".join(units)
    out = memoryview(bytearray(shape.m * len(units[0])))
    return encode_parities(shape, memoryview(data), len(data), out)
