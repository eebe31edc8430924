"""Play with an array and a dict side by side, faults included.

The rules do what users, disks and the worker do. Whatever happens, a read gives the
dict's bytes or an honest error, and only when more is gone than the level promises.
What the members are, and how they are spoilt, is a subclass's.

Members are asked by several threads, whose order may decide what comes of a write. So
nothing is drawn, and no rule is left out, because of what became of another one: only
`down` may count, which follows from what was drawn.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar, Protocol
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from raid import repair
from raid.array import Array
from raid.errors import (
    ArrayFailed,
    BlobDamaged,
    BlobUnreachable,
    DamagedObject,
    MemberError,
    NoSpace,
    ObjectMissing,
)
from raid.geometry import Level
from raid.keys import KeyKind, parse_key
from raid.shards import object_key
from raid.writer import Stored, erase_on
from support.arrays import Clock, get_blob, put_blob, ref_of
from support.bodies import body

NAMES = ["a", "b", "c", "d"]
ANY = st.integers(0, 1 << 20)
"""A choice among so many as there will be: names and sizes differ each time."""
LEAST_FIRED = 1000
"""How often a soak wants to have seen each kind of fault."""
Debt = tuple[UUID, int | None, int | None]
"""Blob, segment and role that a slot is owed; no segment means the manifest."""


class Spoiler(Protocol):
    """What makes the calls of one member fail, and counts how often it did."""

    fired: Counter[str]

    def always(self, kind: str | None) -> None:
        """Misbehave in every call from now on, or, with None, in none."""

    def on_call(self, method: str, nth: int, kind: str) -> None:
        """Misbehave once, in the n-th call of a method counted from now."""


@dataclass
class File:
    """What the dict knows of a file, and what the database would."""

    data: bytes
    stored: Stored
    owed: dict[Debt, int] = field(default_factory=dict)


class ArrayMachine(RuleBasedStateMachine):
    """An array, a dict, and the faults of its members; subclasses make those."""

    level = Level.RAID5
    width = 4
    fired: Counter[str] = Counter()
    sizes: ClassVar[Collection[int]]
    """Of files, in bytes."""
    failing: ClassVar[Collection[str]]
    """Kinds that a member can have for a while, and then it is of no use."""
    write_only: ClassVar[Collection[str]] = ()
    """Those of them with which it can still be read."""
    stumbling: ClassVar[Collection[str]]
    """Kinds that can happen to one PUT, and then it may not be done."""
    harmless: ClassVar[Collection[str]]
    """Kinds that can happen to one PUT, and then it is done."""
    lying: ClassVar[Collection[str]]
    """Kinds that can happen to reads."""
    gone = "missing"
    """The kind of a member that is away for good."""
    array: Array
    faults: list[Spoiler]

    def make(self) -> None:
        """Make `array`, and `faults` of each slot."""
        raise NotImplementedError

    def kept(self, slot: int) -> set[str]:
        """Return the keys of shards, manifests and tombstones on a member."""
        raise NotImplementedError

    def left_over(self, slot: int) -> set[str]:
        """Return the keys of what may be there although nobody knows of it."""
        return set()

    @initialize()
    def start(self) -> None:
        self.files: dict[str, File] = {}
        self.graves: dict[UUID, set[int]] = {}
        self.down: dict[int, str] = {}
        self.rotten: tuple[int, str] | None = None
        self.clock = Clock()
        self.seed = 0
        self.make()

    @property
    def m(self) -> int:
        return self.array.map.shape.m

    @property
    def away(self) -> set[int]:
        return {slot for slot, kind in self.down.items() if kind not in self.write_only}

    # -- what users do ----------------------------------------------------

    @rule(name=st.sampled_from(NAMES), size=ANY)
    def write(self, name: str, size: int) -> None:
        self.store(name, size)

    @rule(
        name=st.sampled_from(NAMES),
        size=ANY,
        slot=st.integers(0, 5),
        nth=st.integers(1, 3),
        data=st.data(),
    )
    def write_while_a_put_fails(
        self, name: str, size: int, slot: int, nth: int, data: st.DataObject
    ) -> None:
        slot %= self.width
        if slot in self.down:
            return
        kind = data.draw(st.sampled_from([*self.stumbling, *self.harmless]))
        self.faults[slot].on_call("put", nth, kind)
        self.store(name, size, failing=kind not in self.harmless)
        self.recover(slot)

    def recover(self, slot: int) -> None:
        """Let a member do right again, and let it be asked."""
        self.faults[slot].always(None)
        self.clock.now += 100
        self.array.health.ok(slot, write=True)

    def store(self, name: str, size: int, failing: int = 0) -> None:
        """Write a file, of which a member or none may not take its part."""
        self.seed += 1
        data = body(list(self.sizes)[size % len(self.sizes)], self.seed % 997)
        blob = UUID(int=(self.seed << 64) + 0x1234_5678 * self.seed)
        try:
            stored = put_blob(self.array, data, blob=blob)
        except (ArrayFailed, NoSpace):
            assert len(self.away) + failing > self.m or not self._takers(failing)
            self._bury(blob)
            return
        old = self.files.pop(name, None)
        self.files[name] = File(data, stored, self._debts(stored))
        if old is not None:
            self._bury(old.stored.blob)

    def _takers(self, failing: int) -> bool:
        return self.width - len(self.down) - failing > 0

    def _debts(self, stored: Stored) -> dict[Debt, int]:
        owed: dict[Debt, int] = {}
        for number, holders in enumerate(stored.holders):
            for role, who in enumerate(holders):
                if who is None:
                    slot = stored.rows[number].slots[role]
                    owed[stored.blob, number, role] = slot
        combined = set(ref_of(stored).slots)
        for slot in set(range(self.width)) - stored.manifest_on - combined:
            owed[stored.blob, None, slot] = slot
        return owed

    @rule(name=st.sampled_from(NAMES), start=ANY, length=ANY)
    def read(self, name: str, start: int, length: int) -> None:
        file = self.files.get(name)
        if file is None:
            return
        start %= len(file.data) + 1
        self.compare(file, start, start + length % (len(file.data) - start + 1))

    @rule(chosen=ANY, data=st.data(), slot=st.integers(0, 5), nth=st.integers(0, 2))
    def read_while_a_member_lies(
        self, chosen: int, data: st.DataObject, slot: int, nth: int
    ) -> None:
        slot %= self.width
        kind = data.draw(st.sampled_from(list(self.lying)))
        files = [file for _, file in sorted(self.files.items()) if file.data]
        if slot in self.down or not files:
            return
        file = files[chosen % len(files)]
        if nth:
            self.faults[slot].on_call("read", nth, kind)
        else:
            self.faults[slot].always(kind)
        self.compare(file, 0, len(file.data), slot)
        self.faults[slot].always(None)
        self.array.health.ok(slot, write=True)

    def compare(
        self, file: File, start: int, stop: int, lying: int | None = None
    ) -> None:
        """Read a range of a file, of which a member or none may tell lies."""
        suspects = self.away if lying is None else self.away | {lying}
        if self.rotten is not None:
            suspects = suspects | {self.rotten[0]}
        try:
            got = get_blob(self.array, file.stored, start, stop)
        except (BlobUnreachable, BlobDamaged) as error:
            shards_owed = any(debt[1] is not None for debt in file.owed)
            assert len(suspects) > self.m or shards_owed or self._few(file, suspects)
            if isinstance(error, BlobDamaged):
                assert lying is not None or self.rotten
            return
        assert got == file.data[start:stop]

    def _few(self, file: File, suspects: set[int]) -> bool:
        """Tell whether no manifest is on a member that is not suspect."""
        return not (file.stored.manifest_on - suspects)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        file = self.files.pop(name, None)
        if file is not None:
            self._bury(file.stored.blob)

    def _bury(self, blob: UUID) -> None:
        self.graves[blob] = set(range(self.width))
        self._pay_tombstones()
        if self.rotten is not None and str(blob) in self.rotten[1]:
            self.rotten = None

    # -- what disks do ----------------------------------------------------

    @rule(slot=st.integers(0, 5), data=st.data())
    def fail(self, slot: int, data: st.DataObject) -> None:
        slot %= self.width
        kind = data.draw(st.sampled_from(list(self.failing)))
        if slot not in self.down and len(self.down) <= self.m:  # one too many, at most
            self.down[slot] = kind
            self.faults[slot].always(kind)

    @precondition(lambda self: self.down)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        self._revive(data.draw(st.sampled_from(sorted(self.down))))

    def _revive(self, slot: int) -> None:
        del self.down[slot]
        self.faults[slot].always(None)
        self.clock.now += 100
        self.array.check(slot)

    # -- what the worker does ---------------------------------------------

    @rule()
    def pay_debts(self) -> None:
        self._pay_tombstones()
        for file in self.files.values():
            for debt, slot in list(file.owed.items()):
                if slot not in self.down and self._pay(file, debt, slot):
                    del file.owed[debt]

    def _pay(self, file: File, debt: Debt, slot: int) -> bool:
        _, segment, role = debt
        try:
            if segment is None:
                repair.put_manifest(self.array, slot, file.stored.manifest)
            else:
                assert role is not None
                manifest = file.stored.manifest
                repair.put_shard(self.array, slot, manifest, segment, role)
        except (MemberError, BlobUnreachable):
            return False
        except BlobDamaged:
            assert self.rotten is not None
            return False
        return True

    def _pay_tombstones(self) -> None:
        for blob, slots in self.graves.items():
            for slot in sorted(slots - self.away):
                try:
                    repair.put_tombstone(self.array, slot, blob, 1, 0)
                except MemberError:
                    continue
                if erase_on(self.array, slot, blob):
                    slots.discard(slot)
        for blob in [blob for blob, slots in self.graves.items() if not slots]:
            self._drop_tombstone(blob)

    def _drop_tombstone(self, blob: UUID) -> None:
        if self.away:
            return
        for slot in range(self.width):
            try:
                repair.drop_tombstone(self.array, slot, blob)
            except MemberError:
                return
        del self.graves[blob]

    @precondition(lambda self: not self.down)
    @rule()
    def scrub(self) -> None:
        """Look at every object, and repair what is found."""
        found = [
            bad
            for file in self.files.values()
            for slot in range(self.width)
            for bad in self._damaged(file, slot)
        ]
        assert found == ([self.rotten] if self.rotten else [])
        self.rotten = None

    def _damaged(self, file: File, slot: int) -> list[tuple[int, str]]:
        found = []
        for key in self.expected(file, slot):
            try:
                self.check(file, slot, key)
            except (DamagedObject, ObjectMissing):
                found.append((slot, key))
                self._repair(file, slot, key)
        return found

    def check(self, file: File, slot: int, key: str) -> None:
        """Look at an object as a scrub does."""
        segment, role = self._part(file, slot, key)
        if role is None:
            repair.check_manifest(self.array, slot, file.stored.manifest)
        else:
            manifest = file.stored.manifest
            repair.check_shard(self.array, slot, manifest, segment, role)

    def _repair(self, file: File, slot: int, key: str) -> None:
        segment, role = self._part(file, slot, key)
        if role is None:
            repair.put_manifest(self.array, slot, file.stored.manifest)
        else:
            manifest = file.stored.manifest
            repair.put_shard(self.array, slot, manifest, segment, role)

    def _part(self, file: File, slot: int, key: str) -> tuple[int, int | None]:
        """Return segment and role of an object; a manifest has no role."""
        parsed = parse_key(key)
        assert parsed is not None
        if parsed.kind is KeyKind.MANIFEST:
            return 0, None
        return parsed.segment, file.stored.rows[parsed.segment].slots.index(slot)

    # -- the end ----------------------------------------------------------

    def expected(self, file: File, slot: int) -> set[str]:
        """Return the keys that a slot holds of a file, but those it is owed."""
        keys = set()
        for number, row in enumerate(file.stored.rows):
            for role, at in enumerate(row.slots):
                if at == slot and (file.stored.blob, number, role) not in file.owed:
                    keys.add(object_key(file.stored.manifest, number, role))
        ref = ref_of(file.stored)
        owes = (file.stored.blob, None, slot) in file.owed
        if slot not in ref.slots and not owes:
            keys.add(ref.manifest_key(slot))
        return keys

    def teardown(self) -> None:
        if not hasattr(self, "array"):
            return
        for slot in list(self.down):
            self._revive(slot)
        self.scrub()
        self.pay_debts()
        assert not any(file.owed for file in self.files.values())
        assert not self.graves
        self._holds_nothing_else()
        self._survives_everything()
        for fault in self.faults:
            type(self).fired.update(fault.fired)
        self.tidy()

    def tidy(self) -> None:
        """Let go of what is large: Hypothesis keeps machines for a while."""
        self.faults.clear()
        del self.array

    def _holds_nothing_else(self) -> None:
        """Compare what lies on the members with what the dict says."""
        for slot in range(self.width):
            expected = {
                key for file in self.files.values() for key in self.expected(file, slot)
            }
            found = self.kept(slot)
            assert expected <= found
            assert found - expected <= self.left_over(slot)

    def _survives_everything(self) -> None:
        for lost in self.losses():
            for slot in lost:
                self.faults[slot].always(self.gone)
            for file in self.files.values():
                assert get_blob(self.array, file.stored) == file.data
            for slot in lost:
                self.faults[slot].always(None)
                self.clock.now += 100
                self.array.check(slot)

    def losses(self) -> Iterable[tuple[int, ...]]:
        """Return the slots that are lost at the same time at the end."""
        return combinations(range(self.width), self.m)
