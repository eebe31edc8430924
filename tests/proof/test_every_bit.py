"""R7: every bit of everything that is stored, over every layout.

Tiny segments make objects of a few hundred bytes with all that big ones have: header,
table, manifest inside, units and parity. Each flip is found by a reader or harmless to
it, found by a check, never served, and repaired to the very bytes that were there. The
gate takes a random slice of the bits, a soak all of them, and runs of lost bytes.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from raid import halves, repair, writer
from raid.array import Array
from raid.errors import BlobDamaged, DamagedObject, ObjectMissing
from raid.geometry import Level
from raid.memory import MemoryMember
from raid.writer import Stored
from support.arrays import LAYOUTS, Clock, get_blob, memory_array, put_blob
from support.bodies import body
from support.faulty import flip
from support.soak import FACTOR, bound, runs, seed
from support.world import expected, key_of

FORMS = {"inline": 9, "combined": 90, "segmented": 250}
GATE_FLIPS = 4
"""Bits of each object that the gate takes; a soak takes all."""
CLUSTERS = runs(gate=6, soak=250)
Objects = dict[str, bytes]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few bytes have what megabytes have otherwise."""
    monkeypatch.setattr(writer, "INLINE_LIMIT", 10)
    monkeypatch.setattr(halves, "capacity_for", lambda shape, size: 96)


@dataclass
class Held:
    """A blob in an array, and where its objects are."""

    array: Array
    data: bytes
    stored: Stored

    def objects(self, slot: int) -> Objects:
        """Return what a member holds, to be changed."""
        member = self.array.members[slot]
        assert isinstance(member, MemoryMember)
        return member.objects

    def let_go(self, slot: int) -> None:
        """Empty the quarantine, where everything bad has to be by now."""
        member = self.array.members[slot]
        assert isinstance(member, MemoryMember) and member.quarantine
        member.quarantine.clear()

    def places(self) -> Iterator[tuple[int, int, int, str]]:
        """Yield slot, segment, role and key of each object."""
        width = len(self.array.map.slots)
        for slot, segment, role in expected(self.stored.manifest, width):
            yield slot, segment, role, key_of(self.stored.manifest, segment, role)

    def check(self, slot: int, segment: int, role: int) -> None:
        """Look at one object as a scrub does."""
        manifest = self.stored.manifest
        if segment < 0:
            repair.check_manifest(self.array, slot, manifest)
        else:
            repair.check_shard(self.array, slot, manifest, segment, role)

    def repair(self, slot: int, segment: int, role: int) -> None:
        """Give the member what it should have."""
        manifest = self.stored.manifest
        if segment < 0:
            repair.put_manifest(self.array, slot, manifest)
        else:
            assert repair.put_shard(self.array, slot, manifest, segment, role)

    def read(self) -> bytes:
        """Read the blob as a download does."""
        return get_blob(self.array, self.stored)


def _held(level: Level, width: int, form: str, begun: int = 0) -> Held:
    array = memory_array(level, width, clock=Clock())
    data = body(FORMS[form], begun)
    stored = put_blob(array, data)
    assert stored.form.name.lower() == form
    return Held(array, data, stored)


def _bits(dice: random.Random, length: int) -> list[int]:
    every = range(length * 8)
    return dice.sample(every, GATE_FLIPS) if FACTOR == 1 else list(every)


@pytest.mark.timeout(120 * FACTOR)
@pytest.mark.parametrize(("level", "width"), LAYOUTS)
def test_every_flipped_bit_is_found_and_never_served(level: Level, width: int) -> None:
    begun = seed()
    dice = random.Random(begun)
    flips: Counter[str] = Counter()
    for form in FORMS:
        held = _held(level, width, form)
        for slot, segment, role, key in held.places():
            objects = held.objects(slot)
            right = objects[key]
            for bit in _bits(dice, len(right)):
                what = f"{form} {key} bit {bit} (seed {begun})"
                objects[key] = flip(right, bit)
                with pytest.raises(DamagedObject):
                    held.check(slot, segment, role)
                assert held.read() == held.data, what
                held.repair(slot, segment, role)
                assert objects[key] == right, what
                flips[form] += 1
            held.let_go(slot)
    print(bound(f"R7 {level.value} x{width}", sum(flips.values()), begun, flips))
    assert set(flips) == set(FORMS)


@pytest.mark.parametrize(("level", "width"), LAYOUTS)
def test_a_run_of_lost_bytes_over_all_of_a_member(level: Level, width: int) -> None:
    """Damage comes in clusters: several objects of one disk, in one run of bytes."""
    begun = seed()
    dice = random.Random(begun)
    hurt: Counter[str] = Counter()
    for _ in range(CLUSTERS):
        form = dice.choice(list(FORMS))
        held = _held(level, width, form, dice.randrange(100))
        slot = dice.randrange(width)
        mine = [place for place in held.places() if place[0] == slot]
        before = {place[3]: held.objects(slot)[place[3]] for place in mine}
        _lose(dice, held.objects(slot), [place[3] for place in mine])
        assert held.read() == held.data, f"seed {begun}"
        for _, segment, role, key in mine:
            if held.objects(slot)[key] == before[key]:
                held.check(slot, segment, role)
                continue
            hurt[form] += 1
            with pytest.raises(DamagedObject):
                held.check(slot, segment, role)
            held.repair(slot, segment, role)
        assert {key: held.objects(slot)[key] for key in before} == before
    print(bound(f"R7 clusters {level.value} x{width}", CLUSTERS, begun, hurt))
    assert hurt


def _lose(dice: random.Random, objects: Objects, keys: list[str]) -> None:
    """Overwrite a run of bytes that begins in one object and goes on in the next."""
    total = sum(len(objects[key]) for key in keys)
    start = dice.randrange(total)
    stop = min(total, start + dice.randint(1, total))
    filler = dice.choice((b"\0", b"\xff", None))
    for key in keys:
        data = bytearray(objects[key])
        low, high = max(0, start), min(len(data), stop)
        if low < high:
            count = high - low
            lost = dice.randbytes(count) if filler is None else filler * count
            data[low:high] = lost
        objects[key] = bytes(data)
        start, stop = start - len(data), stop - len(data)


@pytest.mark.parametrize("width", [3, 4, 5])
def test_two_members_hit_are_an_honest_error_and_others_are_fine(width: int) -> None:
    """RAID-5: whatever is served of it is right, and the rest of the files is whole."""
    begun = seed()
    dice = random.Random(begun)
    refused = 0
    for _ in range(CLUSTERS):
        held = _held(Level.RAID5, width, dice.choice(["combined", "segmented"]))
        other = put_blob(held.array, body(500, 3))
        for slot in dice.sample(range(width), 2):
            for at, _, _, key in held.places():
                if at == slot:
                    objects = held.objects(slot)
                    last = len(objects[key]) * 8 - 1  # in the last unit of a shard
                    objects[key] = flip(objects[key], last - dice.randrange(64))
        try:
            assert held.read() == held.data, f"seed {begun}"
        except BlobDamaged:
            refused += 1
        assert get_blob(held.array, other) == body(500, 3)
        _repairs_never_lie(held)
    print(f"R7 two members x{width}: {refused} of {CLUSTERS} refused, seed {begun}")
    assert refused or CLUSTERS < 20


def _repairs_never_lie(held: Held) -> None:
    """A repair gives back the right bytes, or refuses."""
    for slot, segment, role, _ in held.places():
        try:
            held.check(slot, segment, role)
        except (DamagedObject, ObjectMissing):
            try:
                held.repair(slot, segment, role)
            except BlobDamaged:
                continue
            held.check(slot, segment, role)
