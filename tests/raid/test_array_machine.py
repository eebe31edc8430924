"""Play with an array and a dict side by side, faults included.

The rules do what users, disks and the worker do. Whatever happens, a read gives the
dict's bytes or an honest error, and only when more is gone than the level promises.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from raid import halves, repair
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
from raid.member import Member
from raid.memory import MemoryMember
from raid.shards import object_key
from raid.writer import Stored, erase_on
from support.arrays import (
    LAYOUTS,
    WIDE,
    Clock,
    get_blob,
    memory_array,
    put_blob,
    ref_of,
)
from support.bodies import body
from support.faulty import (
    KINDS,
    LYING,
    RAISING,
    TWICE,
    WRITE_ONLY,
    FaultyMember,
    flip,
)
from support.soak import FACTOR, times

SEGMENT = 512 * 1024
SIZES = [0, 1, 5_000, 65_536, 65_537, 262_144, 300_000, 524_288, 524_289, 1_300_000]
PLAYED = LAYOUTS if FACTOR == 1 else (*LAYOUTS, *WIDE)
NAMES = ["a", "b", "c", "d"]
ROT = ("rot", "truncated", "extended", "lost write", "misdirected")
ANY = st.integers(0, 1 << 20)
"""A choice among so many as there will be: names and sizes differ each time."""
LEAST_FIRED = 1000
"""How often a soak wants to have seen each kind of fault."""
Debt = tuple[UUID, int | None, int | None]
"""Blob, segment and role that a slot is owed; no segment means the manifest."""


@dataclass
class File:
    """What the dict knows of a file, and what the database would."""

    data: bytes
    stored: Stored
    owed: dict[Debt, int] = field(default_factory=dict)


class ArrayMachine(RuleBasedStateMachine):
    """An array, a dict, and the faults of its members; subclasses set the layout."""

    level = Level.RAID5
    width = 4
    fired: Counter[str] = Counter()

    @initialize()
    def start(self) -> None:
        self.files: dict[str, File] = {}
        self.graves: dict[UUID, set[int]] = {}
        self.down: dict[int, str] = {}
        self.rotten: tuple[int, str] | None = None
        self.clock = Clock()
        self.members: list[FaultyMember] = []
        self.seed = 0
        self.array = memory_array(
            self.level, self.width, wrap=self._wrap, clock=self.clock
        )

    def _wrap(self, slot: int, member: Member) -> FaultyMember:
        self.members.append(FaultyMember(member, slot))
        return self.members[-1]

    @property
    def m(self) -> int:
        return self.array.map.shape.m

    @property
    def away(self) -> set[int]:
        return {slot for slot, kind in self.down.items() if kind not in WRITE_ONLY}

    # -- what users do ----------------------------------------------------

    @rule(name=st.sampled_from(NAMES), size=st.sampled_from(SIZES))
    def write(self, name: str, size: int) -> None:
        self._store(name, size)

    @rule(
        name=st.sampled_from(NAMES),
        size=st.sampled_from(SIZES),
        slot=st.integers(0, 5),
        nth=st.integers(1, 3),
        kind=st.sampled_from([*sorted(RAISING), TWICE]),
    )
    def write_while_a_put_fails(
        self, name: str, size: int, slot: int, nth: int, kind: str
    ) -> None:
        slot %= self.width
        if slot in self.down:
            return
        self.members[slot].on_call("put", nth, kind)
        self._store(name, size, failing=kind != TWICE)
        self.members[slot].always(None)
        self.clock.now += 100
        self.array.health.ok(slot, write=True)

    def _store(self, name: str, size: int, failing: int = 0) -> None:
        self.seed += 1
        data = body(size, self.seed % 997)
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

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def read(self, name: str, data: st.DataObject) -> None:
        file = self.files.get(name)
        if file is None:
            return
        start = data.draw(st.integers(0, len(file.data)))
        stop = data.draw(st.integers(start, len(file.data)))
        self._compare(file, start, stop)

    def _with_bytes(self) -> list[str]:
        return sorted(name for name, file in self.files.items() if file.data)

    @precondition(lambda self: self._with_bytes())
    @rule(
        data=st.data(),
        slot=st.integers(0, 5),
        nth=st.integers(0, 2),
        kind=st.sampled_from(LYING),
    )
    def read_while_a_member_lies(
        self, data: st.DataObject, slot: int, nth: int, kind: str
    ) -> None:
        slot %= self.width
        file = self.files[data.draw(st.sampled_from(self._with_bytes()))]
        if slot in self.down:
            return
        if nth:
            self.members[slot].on_call("read", nth, kind)
        else:
            self.members[slot].always(kind)
        self._compare(file, 0, len(file.data), slot)
        self.members[slot].always(None)
        self.array.health.ok(slot, write=True)

    def _compare(
        self,
        file: File,
        start: int,
        stop: int,
        lying: int | None = None,
    ) -> None:
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

    @rule(slot=st.integers(0, 5), kind=st.sampled_from(sorted(RAISING)))
    def fail(self, slot: int, kind: str) -> None:
        slot %= self.width
        if slot not in self.down and len(self.down) <= self.m:  # one too many, at most
            self.down[slot] = kind
            self.members[slot].always(kind)

    @precondition(lambda self: self.down)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        self._revive(data.draw(st.sampled_from(sorted(self.down))))

    def _revive(self, slot: int) -> None:
        del self.down[slot]
        self.members[slot].always(None)
        self.clock.now += 100
        self.array.check(slot)

    @precondition(lambda self: not self.down and self.rotten is None)
    @rule(slot=ANY, chosen=ANY, other=ANY, bit=ANY, how=st.sampled_from(ROT))
    def rot(self, slot: int, chosen: int, other: int, bit: int, how: str) -> None:
        """Spoil one object, or lose a write; the next one only after a scrub."""
        if self.graves or any(file.owed for file in self.files.values()):
            return
        slot %= self.width
        objects = self._objects(slot)
        keys = sorted(key for key in objects if key.startswith("o/"))
        if keys:
            key = keys.pop(chosen % len(keys))
            stranger = objects[keys[other % len(keys)]] if keys else b""
            right = objects.pop(key)
            bit %= len(right) * 8
            wrong = {
                "rot": flip(right, bit),
                "truncated": right[: bit // 8],
                "extended": right + b"\0",
                "lost write": None,
                "misdirected": stranger,
            }[how]
            if wrong is not None:
                objects[key] = wrong
            if wrong != right:
                self.rotten = slot, key
                type(self).fired[how] += 1

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
            repair.drop_tombstone(self.array, slot, blob)
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
        for key in self._expected(file, slot):
            parsed = parse_key(key)
            assert parsed is not None
            manifest = file.stored.manifest
            try:
                if parsed.kind is KeyKind.MANIFEST:
                    repair.check_manifest(self.array, slot, manifest)
                    continue
                role = file.stored.rows[parsed.segment].slots.index(slot)
                repair.check_shard(self.array, slot, manifest, parsed.segment, role)
            except (DamagedObject, ObjectMissing):
                found.append((slot, key))
                if parsed.kind is KeyKind.MANIFEST:
                    repair.put_manifest(self.array, slot, manifest)
                else:
                    segment = parsed.segment
                    repair.put_shard(self.array, slot, manifest, segment, role)
        return found

    # -- the end ----------------------------------------------------------

    def _objects(self, slot: int) -> dict[str, bytes]:
        inner = self.members[slot].inner
        assert isinstance(inner, MemoryMember)
        return inner.objects

    def _expected(self, file: File, slot: int) -> set[str]:
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
        for member in self.members:
            type(self).fired.update(member.fired)
        self.members.clear()  # Hypothesis keeps machines for a while
        del self.array

    def _holds_nothing_else(self) -> None:
        """Compare what lies on the members with what the dict says."""
        for slot in range(self.width):
            expected = {
                key
                for file in self.files.values()
                for key in self._expected(file, slot)
            }
            found = {key for key in self._objects(slot) if key[0] in "ot"}
            assert found == expected

    def _survives_everything(self) -> None:
        for lost in combinations(range(self.width), self.m):
            for slot in lost:
                self.members[slot].always("missing")
            for file in self.files.values():
                assert get_blob(self.array, file.stored) == file.data
            for slot in lost:
                self.members[slot].always(None)
                self.clock.now += 100
                self.array.check(slot)


@pytest.fixture(scope="module")
def fired() -> Iterator[dict[str, Counter[str]]]:
    """Collect which faults happened, and insist on all kinds when all layouts ran."""
    by_layout: dict[str, Counter[str]] = {}
    yield by_layout
    if len(by_layout) == len(PLAYED):
        total = sum(by_layout.values(), Counter())
        print(f"R6: {total}")
        assert set(total) >= {*KINDS, *ROT}, total
        if FACTOR >= 20:
            assert min(total.values()) >= LEAST_FIRED, total


@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.parametrize(("level", "width"), PLAYED)
def test_an_array_behaves_like_a_dict(
    level: Level,
    width: int,
    fired: dict[str, Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halves, "HALF", SEGMENT)
    name = f"Machine{level.number}x{width}"
    fired[name] = Counter()
    layout = {"level": level, "width": width, "fired": fired[name]}
    run_state_machine_as_test(
        type(name, (ArrayMachine,), layout),
        settings=settings(
            max_examples=times(80),
            stateful_step_count=40,
            deadline=None,
        ),
    )
    assert set(fired[name]) & set(RAISING), fired[name]
