"""How far the members are behind the catalogue: for the page, metrics and the log."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select

from raid.geometry import Level, shape_of
from storage import history
from storage.db import db, release, transaction, utcnow
from storage.journal import chain
from storage.journal.holders import holders
from storage.models import ArrayRow, Event, JournalEntry, Outbox

LATE_SECONDS = 60.0


@dataclass(frozen=True)
class Lag:
    """What would be lost with the database now: nothing when all is zero.

    `rows` wait to be written down, `entries` are on fewer than m+1 members, and the
    oldest of both has waited for `seconds`.
    """

    entries: int
    rows: int
    seconds: float


def lag() -> Lag:
    """Return what is not safe on m+1 members yet."""
    array = db.session.execute(select(ArrayRow.level, ArrayRow.width)).one_or_none()
    if array is None:
        release()
        return Lag(0, 0, 0.0)
    tail = chain.read(db.session.connection())
    safe = _safe(shape_of(Level(array.level), array.width).m)
    entries, made_at = db.session.execute(
        select(func.count(), func.min(JournalEntry.made_at)).where(
            JournalEntry.incarnation == tail.incarnation,
            JournalEntry.number > safe,
            JournalEntry.number <= tail.number,
        )
    ).one()
    rows, noted_at = db.session.execute(select(func.count(), func.min(Outbox.at))).one()
    release()
    moments = [moment for moment in (made_at, noted_at) if moment is not None]
    waited = [(utcnow() - moment).total_seconds() for moment in moments]
    return Lag(entries, rows, max(0.0, *waited) if waited else 0.0)


def _safe(m: int) -> int:
    """Return the newest entry that m+1 members hold, with all before it."""
    held = sorted((one.held for one in holders()), reverse=True)
    return held[m] if len(held) > m else 0


def owed() -> dict[UUID, int]:
    """Return how many entries each member is owed."""
    if db.session.scalar(select(ArrayRow.id)) is None:
        return {}
    tail = chain.read(db.session.connection())
    gone = chain.oldest_kept(db.session, tail) - 1
    return {one.uuid: max(0, tail.number - max(one.held, gone)) for one in holders()}


def watch() -> int:
    """Note when the journal falls late and when it is in time again: a chore."""
    found = lag()
    late = found.seconds > LATE_SECONDS
    words = ("journal_late", "journal_in_time")
    last = db.session.scalar(
        select(Event.word).where(Event.word.in_(words)).order_by(Event.id.desc())
    )
    release()
    if late == (last == words[0]):
        return 0
    with transaction() as session:
        history.note(
            session,
            words[0] if late else words[1],
            seconds=round(found.seconds),
            entries=found.entries,
            rows=found.rows,
        )
    return 1
