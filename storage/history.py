"""What happened to the array: one row per event, in the transaction of the change.

The words are those of `storage.glossary`; the page, the log and the documents use the
same ones.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select

from storage import glossary, maps
from storage.clock import earliest
from storage.db import db, release, transaction, utcnow
from storage.models import Event

KEEP_DAYS = 400
_LOG = logging.getLogger("holdfast.array")


def note(
    session: maps.AnySession,
    word: str,
    *,
    slot: int | None = None,
    member: UUID | None = None,
    actor: str | None = None,
    **fields: Any,
) -> None:
    """Add an event in the caller's transaction, and a line to the log.

    `fields` are JSON values that the glossary's sentence of the word asks for.
    """
    term = glossary.EVENTS[word]
    session.execute(
        insert(Event).values(
            at=utcnow(),
            word=word,
            slot=slot,
            member_uuid=member,
            actor=actor,
            fields=fields,
        )
    )
    told = {"event": word, "slot": slot, "member": member, "actor": actor, **fields}
    told = {name: value for name, value in told.items() if value is not None}
    level = logging.WARNING if term.warns else logging.INFO
    _LOG.log(level, term.sentence(slot, fields), extra={"fields": told})


def note_state(
    session: maps.AnySession, member: maps.LockedMember, before: str
) -> None:
    """Add the event of a change of a stored state that was just made."""
    note(
        session,
        "member_state",
        slot=member.slot,
        member=member.uuid,
        before=str(before),
        after=str(member.state),
    )


def latest(count: int = 50, before: int | None = None) -> Sequence[Event]:
    """Return the newest events, newest first; `before` is the id to go on from."""
    wanted = select(Event).order_by(Event.id.desc()).limit(count)
    if before is not None:
        wanted = wanted.where(Event.id < before)
    found = db.session.scalars(wanted).all()
    release()
    return found


def forget_old() -> int:
    """Drop events that are older than a year: a chore of the worker."""
    before = earliest() - timedelta(days=KEEP_DAYS)
    with transaction() as session:
        gone = session.execute(
            delete(Event).where(Event.at < before).returning(Event.id)
        )
        return len(gone.all())
