"""Play with an array in memory and a dict side by side, faults and rot included."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from raid import halves
from raid.geometry import Level
from raid.member import Member
from raid.memory import MemoryMember
from support.arrays import LAYOUTS, WIDE, memory_array
from support.faulty import (
    KINDS,
    LYING,
    RAISING,
    TWICE,
    WRITE_ONLY,
    FaultyMember,
    flip,
)
from support.machine import ANY, LEAST_FIRED, ArrayMachine
from support.soak import FACTOR, times

SEGMENT = 512 * 1024
SIZES = [0, 1, 5_000, 65_536, 65_537, 262_144, 300_000, 524_288, 524_289, 1_300_000]
PLAYED = LAYOUTS if FACTOR == 1 else (*LAYOUTS, *WIDE)
ROT = ("rot", "truncated", "extended", "lost write", "misdirected")


class MemoryMachine(ArrayMachine):
    """Members in memory, whose objects can be spoilt where they lie."""

    sizes = SIZES
    failing = stumbling = sorted(RAISING)
    write_only = WRITE_ONLY
    harmless = (TWICE,)
    lying = LYING

    def make(self) -> None:
        self.members: list[FaultyMember] = []
        self.array = memory_array(
            self.level, self.width, wrap=self._wrap, clock=self.clock
        )
        self.faults = [*self.members]

    def _wrap(self, slot: int, member: Member) -> FaultyMember:
        self.members.append(FaultyMember(member, slot))
        return self.members[-1]

    def _objects(self, slot: int) -> dict[str, bytes]:
        inner = self.members[slot].inner
        assert isinstance(inner, MemoryMember)
        return inner.objects

    def kept(self, slot: int) -> set[str]:
        return {key for key in self._objects(slot) if key[0] in "ot"}

    def tidy(self) -> None:
        self.members.clear()
        super().tidy()

    @precondition(lambda self: not self.down)
    @rule(slot=ANY, chosen=ANY, other=ANY, bit=ANY, how=st.sampled_from(ROT))
    def rot(self, slot: int, chosen: int, other: int, bit: int, how: str) -> None:
        """Spoil one object, or lose a write; the next one only after a scrub."""
        if self.rotten or self.graves or any(file.owed for file in self.files.values()):
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
        type(name, (MemoryMachine,), layout),
        settings=settings(
            max_examples=times(80),
            stateful_step_count=40,
            deadline=None,
        ),
    )
    assert set(fired[name]) & set(RAISING), fired[name]
