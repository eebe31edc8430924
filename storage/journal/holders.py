"""Which members are to hold the journal, and how far each has acknowledged it."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.superblock import StoredState
from storage.db import db, release
from storage.models import MemberRow

_LEFT_OUT = (StoredState.FAULTY, StoredState.RETIRED)


@dataclass(frozen=True)
class Holder:
    """A member in a slot, and the last entry that it acknowledged."""

    slot: int
    uuid: UUID
    held: int


def holders() -> list[Holder]:
    """Return every member that is to hold the journal, away or not.

    A faulty or retired one is not, and a spare not yet: it begins with its slot.
    """
    rows = db.session.execute(
        select(MemberRow.slot, MemberRow.uuid, MemberRow.journal_number).where(
            MemberRow.slot.is_not(None), MemberRow.state.not_in(_LEFT_OUT)
        )
    )
    return [Holder(slot, uuid, held) for slot, uuid, held in rows if slot is not None]


def within_reach(array: Array) -> list[Holder]:
    """Return those that answer; an entry fits even on a member that is full."""
    found = holders()
    release()
    return [one for one in found if _answers(array, one)]


def _answers(array: Array, one: Holder) -> bool:
    entry = array.map.entry(one.slot)
    return (
        entry is not None
        and entry.member == one.uuid
        and one.slot in array.members
        and not array.health.unreachable(one.slot)
        and array.health.usable(one.slot)
    )
