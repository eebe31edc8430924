"""Jobs that come by themselves: the scrub, the drill and the sweep.

The rows decide, under the lock of the map, so however many workers there are, each is
asked for once. A scrub that was not full is tried again a day later, not at once. So is
one that paused itself: it goes on, or says once more what it suspects.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import defer

from raid.array import Array
from storage import history, maps
from storage.clock import AHEAD, earliest
from storage.db import db, release, transaction, utcnow
from storage.jobs import runner, scrub, table
from storage.models import ArrayRow, Blob, BlobState, Job, JobKind, JobState

_DAY = timedelta(days=1)
_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
_LOOKED_AT = 100
"""How many scrubs are looked through for a full one."""

Next = Callable[[], datetime | None]


def last_full_scrub() -> Job | None:
    """Return the last scrub that looked at every object."""
    found = db.session.scalars(
        select(Job)
        .where(Job.kind == JobKind.SCRUB, Job.state == JobState.DONE, _believed())
        .order_by(Job.finished_at.desc())
        .limit(_LOOKED_AT)
        .options(defer(Job.report))
    )
    return next(filter(scrub.is_full, found), None)


def last_drill() -> Job | None:
    """Return the last drill that came to its end."""
    return table.last_done(JobKind.DRILL)


def next_scrub() -> datetime | None:
    """Return when the next scrub is due; None without an array."""
    days = timedelta(days=current_app.config["HOLDFAST"].scrub_days)
    full, tried = last_full_scrub(), _last_try()
    made = made_at()
    if made is None:
        return None
    due = (full.finished_at if full and full.finished_at else made) + days
    return max(due, tried + min(_DAY, days)) if tried else due


def next_drill() -> datetime | None:
    """Return when the next drill is due; None while there is nothing to read."""
    days = timedelta(days=current_app.config["HOLDFAST"].drill_days)
    if not _holds_something():
        return None
    return _after(JobKind.DRILL, days)


def next_sweep() -> datetime | None:
    """Return when the next sweep is due: daily; None while nobody can do it."""
    return _after(JobKind.SWEEP, _DAY) if runner.is_known(JobKind.SWEEP) else None


_SCHEDULE: dict[JobKind, Next] = {
    JobKind.SCRUB: next_scrub,
    JobKind.DRILL: next_drill,
    JobKind.SWEEP: next_sweep,
}


def run(array: Array) -> int:  # noqa: ARG001 - the signature of a worker's step
    """Ask for what is due; returns how much was asked for."""
    return sum(_ask(kind, when) for kind, when in _SCHEDULE.items() if _is_due(when))


def _is_due(when: Next) -> bool:
    moment = when()
    release()
    return moment is not None and moment <= utcnow()


def _ask(kind: JobKind, when: Next) -> bool:
    """Ask for a job unless somebody did while we looked."""
    with transaction() as session:
        maps.lock(session)
        moment = when()
        if moment is None or moment > utcnow():
            return False
        if table.active(session, kind):
            return table.wake(session, kind)
        table.add(session, kind)
    return True


def _after(kind: JobKind, period: timedelta) -> datetime | None:
    """Return a period after the last end; the first is due a day after the start."""
    ended = _last_end(kind)
    if ended is not None:
        return ended + period
    made = made_at()
    return made + min(_DAY, period) if made else None


def _last_end(kind: JobKind) -> datetime | None:
    return db.session.scalar(
        select(func.max(Job.finished_at)).where(
            Job.kind == kind, Job.state.in_(_ENDED), _believed()
        )
    )


def _last_try() -> datetime | None:
    """Return when a scrub last ended or paused itself."""
    paused = db.session.scalar(
        select(func.max(Job.touched_at)).where(
            Job.kind == JobKind.SCRUB,
            table.paused_itself(),
            _believed(Job.touched_at),
        )
    )
    tries = (_last_end(JobKind.SCRUB), paused)
    return max(filter(None, tries), default=None)


def _believed(when: Any = Job.finished_at) -> ColumnElement[bool]:
    """Match what did not end in the future: then a clock was wrong."""
    believed: ColumnElement[bool] = when <= utcnow() + AHEAD
    return believed


def forget_old() -> int:
    """Drop jobs that ended more than a year ago, with their reports: a chore.

    The last of a kind, for each member and each way to end, stays however old it is,
    and so does the last full scrub: that is what everybody here asks for.
    """
    before = earliest() - timedelta(days=history.KEEP_DAYS)
    full = last_full_scrub()
    last = (
        select(func.max(Job.id))
        .where(Job.state.in_(_ENDED))
        .group_by(Job.kind, Job.member_uuid, Job.state)
    )
    old = [Job.state.in_(_ENDED), Job.finished_at < before, Job.id.not_in(last)]
    if full is not None:
        old.append(Job.id != full.id)
    with transaction() as session:
        gone = session.execute(
            delete(Job).where(*old).returning(Job.id),
            execution_options={"synchronize_session": False},
        )
        return len(gone.all())


def made_at() -> datetime | None:
    """Return when the array was made; None without one."""
    return db.session.scalar(select(ArrayRow.created_at))


def _holds_something() -> bool:
    found = select(Blob.uuid).where(Blob.state == BlobState.LIVE, Blob.size > 0)
    return db.session.scalar(found.limit(1)) is not None
