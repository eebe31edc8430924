"""Put a map of slots, the members behind them and their health together.

An ``Array`` is a snapshot: it answers who may be read and written *now*, and
never changes. A new map makes a new ``Array`` over the same members and health.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal
from uuid import UUID

from raid.errors import (
    MemberError,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    RaidError,
)
from raid.figures import Figures
from raid.geometry import Level, Shape, survives
from raid.health import Health
from raid.member import Member
from raid.superblock import StoredState

DegradedWrite = Literal["accept", "refuse"]

_TAKES_WRITES = (StoredState.IN_SYNC, StoredState.REBUILDING)
_MAY_HOLD_DATA = (*_TAKES_WRITES, StoredState.STALE)
_NOT_USED = (StoredState.FAULTY, StoredState.RETIRED)
BESIDE = -1
"""Stands for the slot of a member that has none, such as a spare."""


class ArrayState(StrEnum):
    """How an array is, in the design's words."""

    CLEAN = "clean"
    DEGRADED = "degraded"
    FAILED = "failed"
    READONLY = "readonly"


@dataclass(frozen=True)
class SlotEntry:
    """One slot of the map: which member it is and what the database says of it."""

    slot: int
    member: UUID
    state: StoredState
    url: str
    # A slot that is being emptied: it is read, and nothing new goes there.
    leaving: bool = False
    # The event whose superblock the member is known to have; 0 when that is not known.
    told: int = 0


@dataclass(frozen=True)
class Waiting:
    """A member without a slot: a spare, a retired one, or one that will replace."""

    member: UUID
    state: StoredState
    url: str
    target: int | None = None
    """The slot that it gets when it holds all that the slot holds."""

    @property
    def used(self) -> bool:
        """Whether anything is written to it."""
        return self.state is not StoredState.RETIRED


@dataclass(frozen=True)
class ArrayMap:
    """What an array is: identity, level, shape, and the entries of all members."""

    array: UUID
    level: Level
    shape: Shape
    incarnation: int
    event: int
    slots: tuple[SlotEntry, ...]
    readonly: bool = False
    waiting: tuple[Waiting, ...] = ()

    @property
    def width(self) -> int:
        """Return the number of slots, which only some roles of a segment may fill."""
        return len(self.slots)

    def entry(self, slot: int) -> SlotEntry | None:
        """Return the entry of a slot, or None when the map has no such slot."""
        for entry in self.slots:
            if entry.slot == slot:
                return entry
        return None


@dataclass(frozen=True)
class Beside:
    """A member without a slot, as this process sees it."""

    member: Member
    health: Health


@dataclass(frozen=True)
class Array:
    """The members as one; see the module's text."""

    map: ArrayMap
    members: Mapping[int, Member]
    health: Health
    executor: Executor
    degraded_write: DegradedWrite = "accept"
    beside: Mapping[UUID, Beside] = field(default_factory=dict)
    figures: Figures | None = None
    """Where what the members are asked for is counted; None counts nothing."""

    def writable(self) -> list[int]:
        """Return the slots that take new data now, sorted."""
        leaving = {entry.slot for entry in self.map.slots if entry.leaving}
        taking = self._slots(_TAKES_WRITES, write=True)
        return [slot for slot in taking if slot not in leaving]

    def takers(self) -> list[UUID]:
        """Return the members that can be given what they lack now.

        That is more than those who take new data: one that leaves, and one that will
        replace another, too.
        """
        taking = self._slots(_TAKES_WRITES, write=True)
        known = [
            (waiting.member, self.seat(waiting.member)) for waiting in self.newcomers()
        ]
        ready = [
            uuid
            for uuid, seat in known
            if seat is not None and seat[0].health.usable(seat[1], write=True)
        ]
        return [*(self.uuid_of(slot) for slot in taking), *ready]

    def readable(self) -> list[int]:
        """Return the slots worth asking now, stale ones too, sorted."""
        return self._slots(_MAY_HOLD_DATA, write=False)

    def _slots(self, states: tuple[StoredState, ...], *, write: bool) -> list[int]:
        return sorted(
            entry.slot
            for entry in self.map.slots
            if entry.state in states
            and entry.slot in self.members
            and self.health.usable(entry.slot, write=write)
        )

    def away(self) -> list[SlotEntry]:
        """Return the entries of the members that can't be reached at all.

        A member that has rested may be asked again, but it counts as away until
        it answers. A full or read-only one is not away.
        """
        return [entry for entry in self.map.slots if self._is_away(entry)]

    def _is_away(self, entry: SlotEntry) -> bool:
        return (
            entry.state not in _MAY_HOLD_DATA
            or entry.slot not in self.members
            or self.health.unreachable(entry.slot)
        )

    def survives(self, gone: Collection[int]) -> bool:
        """Tell whether the level outlives the loss of the members of some slots.

        What was written while members were away may lie otherwise, and is not asked.
        """
        everyone = [entry.slot for entry in self.map.slots]
        staying = [entry.slot for entry in self.map.slots if not entry.leaving]
        shape = self.map.shape
        return all(survives(shape, sorted(some), gone) for some in (everyone, staying))

    def state(self) -> ArrayState:
        """Return the state of the array as this process sees it."""
        if self.map.readonly:
            return ArrayState.READONLY
        away = [entry.slot for entry in self.away()]
        if not self.survives(away):
            return ArrayState.FAILED
        staying = [entry for entry in self.map.slots if not entry.leaving]
        in_sync = all(entry.state == StoredState.IN_SYNC for entry in staying)
        if away or not in_sync or len(self.writable()) < len(staying):
            return ArrayState.DEGRADED
        return ArrayState.CLEAN

    def with_map(self, new: ArrayMap) -> "Array":
        """Return this array under a new map, with the same members and health."""
        return replace(self, map=new)

    def without(self, slots: Collection[int]) -> "Array":
        """Return this array as if the members of some slots were away."""
        kept = {slot: one for slot, one in self.members.items() if slot not in slots}
        return replace(self, members=kept)

    def with_member(self, slot: int, member: Member, health: Health) -> "Array":
        """Return this array as if a member sat in a slot; what is copied goes there."""
        return replace(self, members={**self.members, slot: member}, health=health)

    def seat(self, uuid: UUID) -> tuple["Array", int] | None:
        """Return where a member is written to: an array in which it sits, and its slot.

        A member that will replace another sits in the slot it will get, a spare
        beside all slots; None is a member that no place is known for.
        """
        for entry in self.map.slots:
            if entry.member == uuid:
                return self, entry.slot
        for waiting in self.map.waiting:
            if waiting.member == uuid and waiting.used and uuid in self.beside:
                slot = BESIDE if waiting.target is None else waiting.target
                place = self.beside[uuid]
                return self._seated(waiting, slot, place), slot
        return None

    def _seated(self, waiting: Waiting, slot: int, place: Beside) -> "Array":
        entry = SlotEntry(slot, waiting.member, waiting.state, waiting.url)
        others = tuple(one for one in self.map.slots if one.slot != slot)
        seated = replace(self.map, slots=(*others, entry))
        return self.with_map(seated).with_member(slot, place.member, place.health)

    def newcomers(self) -> list[Waiting]:
        """Return the members that are on their way into a slot."""
        return [
            waiting
            for waiting in self.map.waiting
            if waiting.target is not None and waiting.used
        ]

    def is_gone(self, slot: int) -> bool:
        """Tell whether the member of a slot was ended for ever: nothing comes back."""
        entry = self.map.entry(slot)
        return entry is not None and entry.state is StoredState.RETIRED

    def uuid_of(self, slot: int) -> UUID:
        """Return the uuid of the member in a slot of the map."""
        entry = self.map.entry(slot)
        if entry is None:
            raise RaidError(f"Slot {slot} is not in the map of the array.")
        return entry.member

    def label(self, slot: int) -> str:
        """Return the name of a slot for people: its label, or its url."""
        if slot == BESIDE and slot in self.members:
            return f"the spare {self.members[slot].label}"
        if slot in self.members:
            return f"slot {slot} ({self.members[slot].label})"
        entry = self.map.entry(slot)
        return f"slot {slot} ({entry.url})" if entry else f"slot {slot}"

    @contextmanager
    def using(self, slot: int, *, write: bool = False) -> Iterator[Member]:
        """Lend the member of a slot, and note in its health how it went."""
        if slot not in self.members:
            raise self._without_member(slot)
        entry = self.map.entry(slot)
        if entry is not None and entry.state in _NOT_USED:
            raise self._out_of_use(slot, entry.state)
        self.health.begin(slot)
        try:
            yield self._lent(slot)
        except MemberError as error:
            self.health.note(slot, error)
            if self.figures is not None:
                self.figures.error(slot, error)
            raise
        self.health.ok(slot, write=write)

    def _lent(self, slot: int) -> Member:
        member, figures = self.members[slot], self.figures
        return member if figures is None else figures.lend(slot, member)

    def _out_of_use(self, slot: int, state: StoredState) -> MemberMissing:
        return MemberMissing(
            self.label(slot),
            f"The member of {self.label(slot)} is {state.value} and is not used; "
            "take it back or replace it.",
        )

    def _without_member(self, slot: int) -> MemberMissing:
        return MemberMissing(
            self.label(slot),
            f"There is no member for {self.label(slot)}; "
            "attach it or replace it, then try again.",
        )

    def check(self, slot: int) -> None:
        """Check one member and note how it is; raise what the check raised."""
        if slot not in self.members:
            raise self._without_member(slot)
        try:
            self.members[slot].check()
        except MemberError as error:
            if isinstance(error, (MemberFull, MemberReadOnly)):
                self.health.ok(slot)  # it answered: it can be read
            self.health.note(slot, error, by_check=True)
            raise
        self.health.checked(slot)
