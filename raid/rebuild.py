"""Give a member the objects that its slot should hold, one after the other, fast.

As a rule every source is well. So runs of units are read and added up in a buffer that
is lent for one object, and only what comes out is hashed: when it has its tags, which a
manifest vouches for, all it was made of was right, too. Whatever is odd ends the quick
way, and `repair` finds out unit by unit what is wrong.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import numpy as np

from raid import repair
from raid.array import Array
from raid.buffers import BufferPool
from raid.errors import DamagedObject, MemberError, ObjectExists, ObjectMissing
from raid.format import HEADER_LENGTH, SegmentTable, payload_offset, table_length
from raid.geometry import SHARD_GOAL, UNIT, Code, payload_length
from raid.holdings import Holding, holdings
from raid.levels import rebuild, words
from raid.manifest import Manifest
from raid.member import Buffer
from raid.reader import OnDamage
from raid.shards import object_key, object_parts, place_of, read_table, role_key
from raid.tags import unit_tag

_RUN = 2 * UNIT
"""Read at once of every source; all of a run together stay in the processor's cache."""


class Filler:
    """Fill the member in a slot of `target` from what the members of `source` have.

    They are one array when the member sits in its slot already, and everything is made
    from the others. Otherwise the member that has the slot in `source` is read first.
    Use it in a `with`; threads may share it. What it works in is kept until the end,
    because fresh pages cost more than adding up.
    """

    def __init__(
        self,
        source: Array,
        target: Array,
        slot: int,
        pool: BufferPool,
        on_damage: OnDamage,
    ) -> None:
        self._source = source
        self._target = target
        self._slot = slot
        self._pool = pool
        self._on_damage = on_damage
        self._copies = source is not target
        self._stack = ExitStack()
        self._free: list[memoryview] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._free.clear()
        self._stack.close()

    def has(self, holding: Holding) -> bool:
        """Tell whether an object is there with its right length, and make it durable.

        Nothing is read: objects are published whole, so only a bad disk makes that
        wrong, and finding such a thing is the scrub's.
        """
        try:
            with self._target.using(self._slot) as member:
                there = member.info(holding.key).size == holding.length
                if there:
                    member.sync(holding.key)
                return there
        except ObjectMissing:
            return False

    def give_all(self, manifest: Manifest) -> list[str]:
        """Give what is lacking of a blob, and return the keys of that."""
        given = []
        for holding in holdings(manifest, self._slot):
            if not self.has(holding):
                self.give(manifest, holding)
                given.append(holding.key)
        return given

    def give(self, manifest: Manifest, holding: Holding) -> None:
        """Make an object, verified, and store it."""
        if holding.segment is None or holding.role is None:
            repair.put_manifest(self._target, self._slot, manifest)
            return
        where = (manifest, holding.segment, holding.role)
        with self._made(*where) as parts:
            try:
                with self._target.using(self._slot, write=True) as member:
                    member.put(holding.key, parts)
                return
            except ObjectExists:
                pass  # other bytes, to be proved bad before they move aside
        source = self._source if self._copies else None
        repair.put_shard(self._target, self._slot, *where, source=source)

    @contextmanager
    def _made(
        self, manifest: Manifest, segment: int, role: int
    ) -> Iterator[list[Buffer]]:
        making = _Making(self._source, manifest, segment, role, copies=self._copies)
        with self._room(making.needs) as room:
            parts = making.parts(room)
            if parts is None:
                parts = repair.made_parts(
                    self._source,
                    manifest,
                    segment,
                    role,
                    trusted=self._copies,
                    on_damage=self._on_damage,
                )
            try:
                yield parts
            finally:
                parts.clear()  # no view of the room may outlive it

    @contextmanager
    def _room(self, needs: int) -> Iterator[memoryview]:
        """Lend room for one object: a kept one, unless the object is unusually long."""
        if needs > SHARD_GOAL:
            with self._pool.take(needs) as room:
                yield room
            return
        with self._lock:
            if not self._free:
                fresh = self._stack.enter_context(self._pool.take(SHARD_GOAL))
                self._free.append(fresh)
            kept = self._free.pop()
        try:
            yield kept
        finally:
            self._free.append(kept)


class _Making:
    """One object in the making, as long as nothing is odd."""

    def __init__(
        self,
        source: Array,
        manifest: Manifest,
        segment: int,
        role: int,
        *,
        copies: bool,
    ) -> None:
        self._source = source
        self._manifest = manifest
        self._segment = segment
        self._role = role
        self._line = manifest.segments[segment]
        shape = self._shape = self._line.shape
        self._place = place_of(manifest, segment)
        self._inside = repair.inside(manifest)
        self._payload = payload_offset(self._line.length, shape, len(self._inside))
        self._length = payload_length(self._line.length, shape.k)
        self._inputs = self._choose(copies=copies)
        # With q among what is read or made, more than adding up is needed.
        q = shape.k + 1
        self._adds = shape.code is not Code.PQ or q not in (role, *self._inputs)

    @property
    def needs(self) -> int:
        """Return how long the buffer must be."""
        return self._length if self._adds and len(self._inputs) > 1 else 0

    def _choose(self, *, copies: bool) -> list[int]:
        """Return the roles to read: the own one, a copy, or k others."""
        if copies:
            return [self._role]
        usable = [
            role
            for role, slot in enumerate(self._line.slots)
            if role != self._role and self._source.health.usable(slot)
        ]
        return usable[: 1 if self._shape.code is Code.COPIES else self._shape.k]

    def parts(self, room: memoryview) -> list[Buffer] | None:
        """Return the object, or None when anything is odd."""
        if len(self._inputs) not in (1, self._shape.k):
            return None
        try:
            table = self._table()
            units = self._units(table, room)
        except (MemberError, DamagedObject):
            return None
        if units is None:
            return None
        return object_parts(
            self._place, self._line, self._role, table, units, self._inside
        )

    def _table(self) -> SegmentTable:
        length = HEADER_LENGTH + table_length(self._line.length, self._shape)
        first = self._inputs[0]
        head = self._read(first, 0, length)
        return read_table(head, self._place, self._line, first)

    def _units(self, table: SegmentTable, room: memoryview) -> list[Buffer] | None:
        runs: list[Buffer] = []
        column = self._shape.column(self._role)
        key = role_key(self._place, self._shape, column)
        for start in range(0, self._length, _RUN):
            stop = min(start + _RUN, self._length)
            run = self._run(start, stop, room)
            for at in range(start, stop, UNIT):
                index, unit = at // UNIT, run[at - start : at - start + UNIT]
                if unit_tag(key, unit, index) != table.tag(index, column):
                    return None
            runs.append(run)
        return runs

    def _run(self, start: int, stop: int, room: memoryview) -> memoryview:
        """Return a run of the role's units, not yet verified."""
        read = {
            role: self._read(role, self._payload + start, stop - start)
            for role in self._inputs
        }
        first, *others = read.values()
        if not others:
            return memoryview(first)
        if not self._adds:
            return memoryview(rebuild(self._shape, self._role, read))
        made = room[start:stop]
        target = words(made)
        np.bitwise_xor(words(first), words(others[0]), out=target)
        for other in others[1:]:
            np.bitwise_xor(target, words(other), out=target)
        return made

    def _read(self, role: int, offset: int, length: int) -> bytes:
        key = object_key(self._manifest, self._segment, role)
        with self._source.using(self._line.slots[role]) as member:
            data = member.read(key, offset, length)
        if len(data) != length:
            raise DamagedObject(f"{key} is cut short.")
        return data
