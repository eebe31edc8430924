"""Which members are read from when several would do: the near, cheap and quick ones."""

from raid.array import Array
from raid.geometry import Code
from raid.manifest import SegmentRow


def rank(array: Array, slot: int) -> tuple[bool, int]:
    """Return what members are sorted by: quick ones first, then heavy ones."""
    member = array.members.get(slot)
    weight = member.weight if member is not None else 0
    return array.health.pace.rests_for(slot) > 0, -weight


def in_order(array: Array, line: SegmentRow) -> list[int]:
    """Return all roles of a segment, the ones to read first in front."""
    roles = range(len(line.slots))
    return sorted(roles, key=lambda role: rank(array, line.slots[role]))


def shunned(array: Array, line: SegmentRow) -> set[int]:
    """Return the data roles that are better rebuilt than read from where they are.

    That is so while k others can be read whose members are nearer or quicker.
    """
    shape = line.shape
    if shape.code is Code.COPIES:
        return set()
    able = [role for role in in_order(array, line) if _able(array, line.slots[role])]
    if len(able) <= shape.k:
        return set()
    return set(range(shape.k)) & set(able[shape.k :])


def is_far(array: Array) -> bool:
    """Say whether a member is far enough for reads that are made ahead."""
    return any(member.run_units > 1 for member in array.members.values())


def _able(array: Array, slot: int) -> bool:
    return (
        slot in array.members and not array.is_gone(slot) and array.health.usable(slot)
    )
