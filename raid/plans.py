"""Decide over which members new data go, and whether they may go at all."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from raid.array import Array
from raid.errors import (
    ArrayFailed,
    ArrayReadOnly,
    MemberFull,
    NoSpace,
    RaidError,
    WriteRefused,
)
from raid.geometry import Shape, narrow, placement


@dataclass(frozen=True)
class Plan:
    """The shape of a segment, the slot of each role, and the slots that can take it.

    Roles on the other slots are owed: there are more copies than healthy members.
    """

    shape: Shape
    slots: tuple[int, ...]
    present: frozenset[int]


def healthy_slots(array: Array, avoid: Collection[int] = ()) -> list[int]:
    """Return the slots that new data may go to, or raise why there may be no data."""
    if array.map.readonly:
        raise ArrayReadOnly(
            "The array is read-only, so nothing can be stored; "
            "an administrator can change that on the array page."
        )
    away = [entry.slot for entry in array.away()]
    if not array.survives(away):
        names = ", ".join(map(array.label, away))
        raise ArrayFailed(
            f"Too many members are away ({names}), so nothing can be stored; "
            "bring one back."
        )
    slots = [slot for slot in array.writable() if slot not in avoid]
    if not slots:
        raise _nobody(array)
    if len(slots) <= array.map.shape.m and array.degraded_write == "refuse":
        raise WriteRefused(
            f"Only {len(slots)} members are healthy and {array.map.shape.m + 1} are "
            "needed to keep what is promised, so nothing is stored; bring one back."
        )
    return slots


def _nobody(array: Array) -> RaidError:
    """Return why no member takes bytes: full is worth its own answer."""
    troubles = [array.health.error(entry.slot) for entry in array.map.slots]
    if any(isinstance(error, MemberFull) for error in troubles):
        return NoSpace("No member has room for this; make room on the members.")
    words = ", ".join(
        f"{array.label(entry.slot)}: {array.health.observed(entry.slot) or entry.state}"
        for entry in array.map.slots
    )
    return ArrayFailed(f"No member takes new data ({words}); look at the members.")


def plan_segment(
    array: Array, blob: UUID, number: int, avoid: Collection[int] = ()
) -> Plan:
    """Plan a segment over the members that are healthy now, or raise.

    With a member gone the segment is narrow and keeps the promised redundancy. With
    m or fewer left it is m+1 copies, of which the missing ones are owed.
    """
    healthy = healthy_slots(array, avoid)
    shape = narrow(array.map.shape, len(healthy))
    lacking = max(0, shape.width - len(healthy))
    others = [e.slot for e in array.map.slots if e.slot not in healthy][:lacking]
    slots = placement(blob, number, sorted([*healthy, *others]), shape)
    return Plan(shape, slots, frozenset(healthy) & frozenset(slots))
