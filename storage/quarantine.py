"""Quarantine: what was moved aside stays for a while, is counted and then goes.

It holds what a repair replaced and what a sweep found; nobody reads it but people.
"""

import logging
from collections.abc import Sequence

from raid.array import Array
from raid.errors import MemberError
from raid.keys import QUARANTINE
from raid.member import ObjectInfo
from storage.clock import earliest
from storage.runtime import runtime

KEEP_SECONDS = 30 * 24 * 3600.0
_LOG = logging.getLogger("holdfast.array")


def held(array: Array) -> dict[int, tuple[int, int]]:
    """Return how many objects, and bytes, lie in the quarantine of each member."""
    counted = {}
    for slot in array.readable():
        infos = _held_by(array, slot)
        counted[slot] = len(infos), sum(info.size for info in infos)
    return counted


def _held_by(array: Array, slot: int) -> list[ObjectInfo]:
    try:
        with array.using(slot) as member:
            return list(member.list(QUARANTINE))
    except MemberError as error:
        _LOG.info("A quarantine can't be looked at: %s", error)
        return []


def drop_old(array: Array, older_than: float = KEEP_SECONDS) -> int:
    """Remove for good what was moved aside long ago; returns how many objects."""
    before = earliest().timestamp() - older_than
    dropped = 0
    for slot in array.readable():
        old = [info for info in _held_by(array, slot) if info.modified <= before]
        dropped += _drop(array, slot, old)
    return dropped


def _drop(array: Array, slot: int, old: Sequence[ObjectInfo]) -> int:
    """Remove objects from a member, up to the first that can't be; count them."""
    for number, info in enumerate(old):
        try:
            with array.using(slot) as member:
                member.delete(info.key)
        except MemberError as error:
            _LOG.info("A quarantine can't be emptied: %s", error)
            return number
    return len(old)


def daily() -> int:
    """Empty the quarantines of what is old: a chore."""
    return drop_old(runtime().array())
