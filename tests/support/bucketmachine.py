"""The machine of an array whose members are buckets behind the fault proxy."""

import random
from collections.abc import Iterable
from itertools import combinations
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from raid.errors import MemberError, ObjectMissing
from support.arrays import array_over
from support.faultproxy import CUTTING, ERRORS, HARMLESS, LOST, LYING, METHODS, dice
from support.machine import ANY, NAMES, ArrayMachine, File
from support.places import FLAKY, Place

SEGMENT = 128 * 1024
HONEST = (*ERRORS, *CUTTING)
"""Kinds that end in an error or in what was asked for."""
SPOILING = (LOST, "wrong bytes")
"""Kinds after which a PUT that was acknowledged has not stored its bytes."""


class BucketMachine(ArrayMachine):
    """Members in buckets; subclasses set the places, which are used again and again."""

    sizes = (0, 1, 5_000, 65_537, 100_000, 131_073, 300_000)
    failing = (*HONEST, FLAKY)
    stumbling = tuple(kind for kind in HONEST if kind != "short body")
    harmless = HARMLESS
    lying = (*LYING, "short body")
    gone = "no bucket"
    places: ClassVar[list[Place]]
    steps = 0

    def make(self) -> None:
        for place in self.places:
            place.anew(self.clock)
        numbers = random.Random(0)
        self.array = array_over(
            self.level,
            [place.member for place in self.places],
            clock=self.clock,
            uuids=lambda: UUID(int=numbers.getrandbits(128), version=4),
        )
        self.faults = [*self.places]

    def kept(self, slot: int) -> set[str]:
        found = self.places[slot].member.list("")
        return {info.key for info in found if info.key[0] in "ot"}

    def left_over(self, slot: int) -> set[str]:
        """Return what may have been put although it was not acknowledged."""
        return {key for _, key in self.places[slot].spoilt()}

    @invariant()
    def counted(self) -> None:
        type(self).steps += 1

    # -- what networks and servers do -------------------------------------

    @rule(slot=st.integers(0, 3), kind=st.sampled_from(HARMLESS))
    def weather(self, slot: int, kind: str) -> None:
        """Make a way slow, or deliver everything twice, until something else is."""
        if slot not in self.down:
            self.places[slot].always(kind)

    @rule(name=st.sampled_from(NAMES), size=ANY, slot=st.integers(0, 3), seed=ANY)
    def write_and_read_in_a_storm(
        self, name: str, size: int, slot: int, seed: int
    ) -> None:
        """Let every second request of a member meet a fault, reads also lies."""
        if slot in self.down:
            return
        self.places[slot].follow(dice(seed, HONEST, 0.5), hurry=True)
        self.store(name, size, failing=1)
        self.places[slot].follow(dice(seed, (*HONEST, *LYING), 0.5), hurry=True)
        for file in self.files.values():
            self.clock.now += 100
            self.compare(file, 0, len(file.data), slot)
        self.recover(slot)

    @precondition(lambda self: not self.down)
    @rule(
        name=st.sampled_from(NAMES),
        size=ANY,
        slot=st.integers(0, 3),
        nth=st.integers(1, 2),
        kind=st.sampled_from(SPOILING),
    )
    def lose_a_write(
        self, name: str, size: int, slot: int, nth: int, kind: str
    ) -> None:
        """Spoil one PUT that is acknowledged; the next one only after a scrub."""
        if self.rotten:
            return
        self.pay_debts()
        place = self.places[slot]
        before = len(list(place.spoilt()))
        place.on_call("put", nth, kind)
        self.store(name, size)
        self.recover(slot)
        hit = list(place.spoilt())[before:]
        file = self.files[name]
        if hit and hit[0][1] in self.expected(file, slot) and self._took(place, kind):
            self.rotten = slot, hit[0][1]

    def _took(self, place: Place, kind: str) -> bool:
        """Tell whether a server stores what does not have its checksum."""
        return kind == LOST or place.server.name == "moto"

    # -- what the worker does meanwhile -----------------------------------

    @rule(
        slot=st.integers(0, 3),
        method=st.sampled_from(sorted(METHODS)),
        nth=st.integers(1, 3),
        kind=st.sampled_from((*HONEST, *HARMLESS)),
        name=st.sampled_from([None, *NAMES]),
    )
    def work_while_a_request_fails(
        self, slot: int, method: str, nth: int, kind: str, name: str | None
    ) -> None:
        """Pay debts, and bury a file or none, over a member that stumbles."""
        if slot in self.down:
            return
        self.places[slot].on_call(method, nth, kind)
        if name is not None:
            self.delete(name)
        self.pay_debts()
        self.recover(slot)

    @rule(slot=st.integers(0, 3), nth=st.integers(0, 4), kind=st.sampled_from(HONEST))
    def look_while_a_request_fails(self, slot: int, nth: int, kind: str) -> None:
        """Check what is on a member: trouble is never taken for absence or damage."""
        if slot in self.down:
            return
        self.places[slot].member.check()  # so that its word on absence is believed
        if nth:
            self.places[slot].on_call("read", nth, kind)
        else:
            self.places[slot].always(kind)
        for file in self.files.values():
            self._look(file, slot)
        self.recover(slot)

    def _look(self, file: File, slot: int) -> None:
        for key in sorted(self.expected(file, slot)):
            if (slot, key) != self.rotten:
                try:
                    self.check(file, slot, key)
                except ObjectMissing as error:
                    raise AssertionError(f"{key} is there") from error
                except MemberError:
                    continue

    # -- the end ----------------------------------------------------------

    def teardown(self) -> None:
        for slot, place in enumerate(self.places):
            if slot not in getattr(self, "down", ()):
                place.heal()
        super().teardown()

    def losses(self) -> Iterable[tuple[int, ...]]:
        """Return one of the ways to lose m members: there are many examples."""
        ways = list(combinations(range(self.width), self.m))
        return [ways[self.seed % len(ways)]]

    def tidy(self) -> None:
        for place in self.places:
            place.clear()
        super().tidy()
