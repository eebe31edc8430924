"""Read the units of one segment, and rebuild those that can't be read.

One reader serves one pass over a segment. It remembers which roles are out of reach,
so a member that is away costs one failed call per segment and not one per unit. What
`raid.runs` has fetched ahead is held here until its units are asked for.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
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
from raid.format import HEADER_LENGTH, SegmentTable, payload_offset, table_length
from raid.geometry import UNIT, Code, Piece, last_unit, pieces, row_count
from raid.levels import rebuild
from raid.manifest import Form, Manifest
from raid.member import Buffer
from raid.preference import in_order, shunned
from raid.race import Ask
from raid.shards import object_key, place_of, read_table, role_key
from raid.superblock import StoredState
from raid.tags import unit_tag


@dataclass(frozen=True)
class Damage:
    """A bad or absent object that was met while reading; worth a debt."""

    slot: int
    blob: UUID
    segment: int | None
    role: int | None
    key: str
    reason: str


@dataclass
class _Row:
    """The units of one row that are in memory, and which of them are verified."""

    number: int
    units: dict[int, Buffer] = field(default_factory=dict)
    verified: set[int] = field(default_factory=set)


class SegmentReader:
    """Serve verified units of one segment of a manifest; for one thread at a time."""

    def __init__(self, array: Array, manifest: Manifest, number: int) -> None:
        """Prepare to read; nothing is asked of a member yet."""
        self._array = array
        self._manifest = manifest
        self._number = number
        self._line = manifest.segments[number]
        self._shape = self._line.shape
        self._copies = self._shape.code is Code.COPIES
        inside = manifest.length if manifest.form is Form.COMBINED else 0
        self._head = HEADER_LENGTH + table_length(self._line.length, self._shape)
        self._payload = payload_offset(self._line.length, self._shape, inside)
        self._place = place_of(manifest, number)
        self._tag_keys = [
            role_key(self._place, self._shape, column)
            for column in range(self._shape.columns)
        ]
        self._table: SegmentTable | None = None
        self._table_comes = False
        # What a retired member held is gone, and nobody waits for it.
        self._absent = {
            role for role, slot in enumerate(self._line.slots) if array.is_gone(slot)
        }
        # Others are nearer or quicker; they are asked only if those don't suffice.
        self._away: set[int] = shunned(array, self._line)
        self._held: dict[tuple[int, int], Buffer] = {}
        self._ask_resting = False
        self._row = _Row(-1)
        self.damage: list[Damage] = []
        self._told = 0
        self._newer: UnknownVersion | None = None

    @property
    def k(self) -> int:
        """Return the number of data roles."""
        return self._shape.k

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield which parts of which units hold bytes start..stop of the segment."""
        return pieces(self._line.length, self._shape.k, start, stop)

    def bytes_of(self, piece: Piece) -> bytes:
        """Return the bytes of a piece of a unit that is verified."""
        unit = self.unit(piece.row, piece.column)
        if piece.start == 0 and piece.stop == len(unit):
            return bytes(unit)
        return bytes(memoryview(unit)[piece.start : piece.stop])

    def take_damage(self) -> list[Damage]:
        """Return the damage that was met since the last call."""
        met = self.damage[self._told :]
        self._told = len(self.damage)
        return met

    def payload(self, role: int) -> Iterator[Buffer]:
        """Yield all units of a role, verified; what a repair stores."""
        column = self._shape.column(role)
        for row in range(row_count(self._line.length, self._shape.k)):
            yield self.unit(row, column)

    # -- what is fetched ahead --------------------------------------------

    @property
    def needs_table(self) -> bool:
        """Say whether no table has been seen yet, and none is on its way."""
        return self._table is None and not self._table_comes

    def ask_for(self, rows: range, role: int) -> Ask:
        """Return the read of a role's units of some rows, from its head for row 0."""
        start = self._payload + rows.start * UNIT if rows.start else 0
        self._table_comes = self._table_comes or not rows.start
        last = rows.stop - 1
        stop = self._payload + last * UNIT + self._length(last)
        return Ask(self._line.slots[role], self._key(role), start, stop - start)

    def ask_for_table(self, role: int) -> Ask:
        """Return the read of the head of a role's object."""
        return Ask(self._line.slots[role], self._key(role), 0, self._head)

    def roles_for(self, columns: Collection[int]) -> tuple[list[int], int]:
        """Return the roles worth reading for some columns, and how many of them first.

        Those of the columns come first if they can be read as they are, and k others
        if one of them has to be rebuilt. Members that rest come last.
        """
        ordered = in_order(self._array, self._line)
        present = [role for role in ordered if self._has(role)]
        able = [role for role in present if self._able(role)]
        last = [role for role in present if role not in able]
        if self._copies:
            return able + last, 1
        wanted = [role for role in able if role in columns]
        others = [role for role in able if role not in columns]
        first = len(wanted) if len(wanted) == len(columns) else self._shape.k
        return wanted + others + last, first

    def lacking(self, columns: Collection[int], came: Collection[int]) -> int:
        """Return how many roles are needed for some columns beside those that came."""
        if self._copies:
            return 0 if came else 1
        if set(columns) <= set(came):
            return 0
        return max(0, self._shape.k - len(came))

    def hold(self, rows: range, came: Mapping[int, bytes]) -> None:
        """Keep the units of some rows, by role and unverified, until they are read."""
        for role, data in came.items():
            view = memoryview(data)
            if rows.start == 0:
                self.hold_table(role, data)
                view = view[self._payload :]
            for row in rows:
                at = (row - rows.start) * UNIT
                self._held[row, role] = view[at : at + self._length(row)]

    def hold_table(self, role: int, head: bytes) -> None:
        """Take the table from the head of a role's object, if that is right."""
        if self._table is None:
            self._table = self._table_in(head[: self._head], role)

    def lost(self, role: int, error: MemberError) -> None:
        """Note that a read that was made ahead came to nothing."""
        if isinstance(error, ObjectMissing):
            self._absent.add(role)
            self._note_absence(role)
        else:
            self._away.add(role)

    def leave_out(self, role: int) -> None:
        """Ask a role no more: its member is too late."""
        self._away.add(role)

    def drop_held(self) -> None:
        """Forget what was fetched and not asked for."""
        self._held.clear()

    def _has(self, role: int) -> bool:
        slot = self._line.slots[role]
        return role not in self._absent and slot in self._array.members

    def _able(self, role: int) -> bool:
        slot = self._line.slots[role]
        return role not in self._away and self._array.health.usable(slot)

    def forsake(self, role: int) -> None:
        """Read nothing from a role: it is the one that is being repaired."""
        self._absent.add(role)

    def unit(self, row: int, column: int) -> Buffer:
        """Return one verified unit, rebuilt when it has to be, or raise."""
        if row != self._row.number:
            self._row = _Row(row)
        found = self._known(column)
        if found is None:
            found = self._sought(column)
            self._row.units[column] = found
            self._row.verified.add(column)
        return found

    def table(self) -> SegmentTable:
        """Return the verified table of the segment, from whichever role has it."""
        if self._table is None:
            self._table = self._table_from_members()
        return self._table

    # -- one unit ---------------------------------------------------------

    def _known(self, column: int) -> Buffer | None:
        """Return a unit of this row that is in memory, verified before it is used.

        It is not yet verified when it came in as the input of a rebuilt one.
        """
        unit = self._row.units.get(column)
        if unit is None or column in self._row.verified:
            return unit
        if self._matches(column, unit):
            self._row.verified.add(column)
            return unit
        del self._row.units[column]
        return None

    def _sought(self, column: int) -> Buffer:
        """Ask the members for a unit, at last even those that are resting."""
        while True:
            unit = self._from_members(column) or self._rebuilt(column)
            if unit is not None:
                return unit
            if self._ask_resting or not self._away:
                raise self._failure()
            self._ask_resting = True
            self._away.clear()

    def _from_members(self, column: int) -> Buffer | None:
        """Return a unit as stored by its role, or by any copy, if it is right."""
        copies = in_order(self._array, self._line) if self._copies else ()
        for role in copies or (column,):
            unit = self._fetch(role)
            if unit is None:
                continue
            if self._matches(column, unit):
                return unit
            self._blame(role, "A unit differs from its tag.")
        return None

    def _rebuilt(self, column: int) -> Buffer | None:
        """Return a unit made from k others of its row, if that is right.

        Every k others are tried, those first that need nothing but exclusive or.
        """
        if self._copies:
            return None
        others = [c for c in range(self._shape.width) if c != column]
        others.sort(key=lambda c: not self._is_here(c))
        useless: set[int] = set()
        for inputs in combinations(others, self._shape.k):
            if not useless.isdisjoint(inputs) or not self._gathered(inputs, useless):
                continue
            units = {other: self._row.units[other] for other in inputs}
            made = rebuild(self._shape, column, units)
            if self._matches(column, made):
                return made
            self._blame_inputs(inputs, useless)
        return None

    def _is_here(self, column: int) -> bool:
        """Say whether a unit of this row can be had without a read."""
        return column in self._row.units or (self._row.number, column) in self._held

    def _gathered(self, columns: Collection[int], useless: set[int]) -> bool:
        """Tell whether the units of some columns are in memory, perhaps unverified."""
        for column in columns:
            if column not in self._row.units:
                unit = self._fetch(column)
                if unit is None:
                    useless.add(column)
                    return False
                self._row.units[column] = unit
        return True

    def _blame_inputs(self, columns: Collection[int], useless: set[int]) -> None:
        """Find out which inputs made a rebuilt unit wrong, and leave them out."""
        for column in columns:
            if column not in self._row.verified and self._known(column) is None:
                useless.add(column)
                self._blame(column, "A unit differs from its tag.")

    def _matches(self, column: int, unit: Buffer) -> bool:
        expected = self.table().tag(self._row.number, column)
        return unit_tag(self._tag_keys[column], unit, self._row.number) == expected

    # -- members ----------------------------------------------------------

    def _fetch(self, role: int) -> Buffer | None:
        """Return the unit of a role in this row, unverified, or None."""
        row = self._row.number
        length = self._length(row)
        unit = self._held.pop((row, role), None)
        if unit is None:
            unit = self._ask(role, self._payload + row * UNIT, length)
        if unit is not None and len(unit) != length:
            self._blame(role, "The object is cut short.")
            return None
        return unit

    def _ask(self, role: int, offset: int, length: int) -> bytes | None:
        """Read from the object of a role, unless its member is out of reach."""
        slot = self._line.slots[role]
        if role in self._absent or role in self._away:
            return None
        if not (self._ask_resting or self._array.health.usable(slot)):
            self._away.add(role)
            return None
        try:
            with self._array.using(slot) as member:
                return member.read(self._key(role), offset, length)
        except ObjectMissing:
            self._absent.add(role)
            self._note_absence(role)
        except MemberError:
            self._away.add(role)
        return None

    def _table_from_members(self) -> SegmentTable:
        while True:
            for role in in_order(self._array, self._line):
                head = self._ask(role, 0, self._head)
                table = None if head is None else self._table_in(head, role)
                if table is not None:
                    return table
            if self._ask_resting or not self._away:
                raise self._failure()
            self._ask_resting = True
            self._away.clear()

    def _table_in(self, head: bytes, role: int) -> SegmentTable | None:
        try:
            return read_table(head, self._place, self._line, role)
        except DamagedObject as error:
            self._blame(role, str(error))
        except UnknownVersion as error:
            self._newer = error
        return None

    def _length(self, row: int) -> int:
        """Return the length of the units of a row."""
        full = row < self._line.length // (self._shape.k * UNIT)
        return UNIT if full else last_unit(self._line.length, self._shape.k)

    def _key(self, role: int) -> str:
        return object_key(self._manifest, self._number, role)

    # -- what went wrong --------------------------------------------------

    def _note_absence(self, role: int) -> None:
        """Absence is damage on a member in sync; any other is owed things anyway."""
        entry = self._array.map.entry(self._line.slots[role])
        if entry is not None and entry.state is StoredState.IN_SYNC:
            self._blame(role, "The object is missing.")

    def _blame(self, role: int, reason: str) -> None:
        slot = self._line.slots[role]
        if any(known.role == role for known in self.damage):
            return
        blob = self._manifest.blob
        key = self._key(role)
        self.damage.append(Damage(slot, blob, self._number, role, key, reason))

    def _failure(self) -> RaidError:
        """Return the honest error: away is not damaged, damaged is not away."""
        if self._newer is not None:
            return self._newer
        if self._away:
            away = [self._array.label(self._line.slots[r]) for r in sorted(self._away)]
            return BlobUnreachable(
                f"A part of this file is on members that are away "
                f"({', '.join(away)}); it can be read when one is back.",
                away,
            )
        return BlobDamaged(
            "A part of this file is damaged beyond what the array can rebuild; "
            "restore it from a backup."
        )
