"""Members that went away and came back, as events.

A member is observed by every process for itself; what a worker sees for a while becomes
an event, once. What was told last is asked of the events when a worker starts, and
before it tells anything, so that neither a restart nor a second worker tells it again.
"""

import time
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.superblock import StoredState
from storage import history, maps
from storage.db import db, release, transaction
from storage.models import Event
from storage.runtime import Runtime, runtime

SETTLED_SECONDS = 10.0
"""A member that is back sooner was not away."""

_AWAY, _BACK = "member_away", "member_back"
_OUT_OF_USE = (StoredState.FAULTY, StoredState.RETIRED)
_RECENT = 1000


def watch(array: Array) -> int:
    """Write down who went away and who is back; returns how many did.

    Since when a member can't be used stands in `Runtime.unusable`.
    """
    own = runtime()
    if own.told_away is None:
        own.told_away = _told()
    seated = {e.member: e.slot for e in array.map.slots if e.state not in _OUT_OF_USE}
    settled = time.monotonic() - SETTLED_SECONDS
    changes = 0
    for member, slot in seated.items():
        told = member in own.told_away
        if not told and own.unusable.get(member, settled + 1) <= settled:
            changes += _tell(_AWAY, slot, member, why=_why(own, slot))
            own.told_away.add(member)
        elif told and member not in own.unusable:
            changes += _tell(_BACK, slot, member)
            own.told_away.discard(member)
    return changes


def _tell(word: str, slot: int, member: UUID, **fields: str) -> bool:
    """Add an event unless another worker has told it meanwhile."""
    with transaction() as session:
        maps.lock(session)
        last = session.scalar(
            select(Event.word)
            .where(Event.word.in_([_AWAY, _BACK]), Event.member_uuid == member)
            .order_by(Event.id.desc())
            .limit(1)
        )
        if last == word:
            return False
        history.note(session, word, slot=slot, member=member, **fields)
    return True


def _told() -> set[UUID]:
    """Return the members of which it was last told that they are away."""
    rows = db.session.execute(
        select(Event.member_uuid, Event.word)
        .where(Event.word.in_([_AWAY, _BACK]))
        .order_by(Event.id.desc())
        .limit(_RECENT)
    ).all()
    release()
    last = {row.member_uuid: row.word for row in reversed(rows)}
    return {uuid for uuid, word in last.items() if uuid and word == _AWAY}


def _why(own: Runtime, slot: int) -> str:
    snapshot = own.snapshot()
    return snapshot.problems.get(slot, "") if snapshot else ""
