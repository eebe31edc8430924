"""Put a map of slots, the members behind them and their health together.

An ``Array`` is a snapshot: it answers who may be read and written *now*, and
never changes. A new map makes a new ``Array`` over the same members and health.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from raid.geometry import Level, Shape
from raid.health import Health
from raid.member import Member
from raid.superblock import StoredState

DegradedWrite = Literal["accept", "refuse"]

_TAKES_WRITES = (StoredState.IN_SYNC, StoredState.REBUILDING)
_MAY_HOLD_DATA = (*_TAKES_WRITES, StoredState.STALE)


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


@dataclass(frozen=True)
class ArrayMap:
    """What an array is: identity, level, shape and the entry of every slot."""

    array: UUID
    level: Level
    shape: Shape
    incarnation: int
    event: int
    slots: tuple[SlotEntry, ...]
    readonly: bool = False

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
class Array:
    """The members as one; see the module's text."""

    map: ArrayMap
    members: Mapping[int, Member]
    health: Health
    executor: Executor
    degraded_write: DegradedWrite = "accept"

    def writable(self) -> list[int]:
        """Return the slots that take new objects now, sorted."""
        return self._slots(_TAKES_WRITES, write=True)

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

    def state(self) -> ArrayState:
        """Return the state of the array as this process sees it."""
        if self.map.readonly:
            return ArrayState.READONLY
        if len(self.away()) > self.map.shape.m:
            return ArrayState.FAILED
        if len(self.writable()) < len(self.map.slots) or self._any_not_in_sync():
            return ArrayState.DEGRADED
        return ArrayState.CLEAN

    def _any_not_in_sync(self) -> bool:
        return any(entry.state != StoredState.IN_SYNC for entry in self.map.slots)

    def with_map(self, new: ArrayMap) -> "Array":
        """Return this array under a new map, with the same members and health."""
        return replace(self, map=new)

    def without(self, slots: Collection[int]) -> "Array":
        """Return this array as if the members of some slots were away."""
        kept = {slot: one for slot, one in self.members.items() if slot not in slots}
        return replace(self, members=kept)

    def uuid_of(self, slot: int) -> UUID:
        """Return the uuid of the member in a slot of the map."""
        entry = self.map.entry(slot)
        if entry is None:
            raise RaidError(f"Slot {slot} is not in the map of the array.")
        return entry.member

    def label(self, slot: int) -> str:
        """Return the name of a slot for people: its label, or its url."""
        if slot in self.members:
            return f"slot {slot} ({self.members[slot].label})"
        entry = self.map.entry(slot)
        return f"slot {slot} ({entry.url})" if entry else f"slot {slot}"

    @contextmanager
    def using(self, slot: int, *, write: bool = False) -> Iterator[Member]:
        """Lend the member of a slot, and note in its health how it went."""
        if slot not in self.members:
            raise self._without_member(slot)
        try:
            yield self.members[slot]
        except MemberError as error:
            self.health.note(slot, error)
            raise
        self.health.ok(slot, write=write)

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
