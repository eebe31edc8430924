"""The rows of jobs: ask for one, pause, resume and cancel it, and the pace of all."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import current_app
from sqlalchemy import ColumnElement, select, update

from storage import history, maps
from storage.clock import shared
from storage.db import db, release, transaction, utcnow
from storage.models import ArrayRow, Job, JobKind, JobState

# The worker asks for these by itself every few minutes, so an event tells of one only
# when somebody asked for it or when it has something to report.
SILENT = (JobKind.RECEIPTS,)
ACTIVE = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
FILLING = (JobKind.REBUILD, JobKind.REPLACE, JobKind.INVENTORY)
"""The jobs that give a member what it lacks, or look whether it lacks anything."""

_PLAIN = {"synchronize_session": False}


def request(
    kind: JobKind,
    *,
    member: UUID | None = None,
    slot: int | None = None,
    params: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> int:
    """Ask for a job and return its number; one of this kind that is there is taken.

    A job is for one member or for the whole array; there is one of each at a time.
    """
    with transaction() as session:
        maps.lock(session)
        return add(session, kind, member=member, slot=slot, params=params, actor=actor)


def add(
    session: maps.AnySession,
    kind: JobKind,
    *,
    member: UUID | None = None,
    slot: int | None = None,
    params: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> int:
    """Do what `request` does in the caller's transaction, which holds the map."""
    known = session.scalar(
        select(Job.id).where(
            Job.kind == kind,
            Job.state.in_(ACTIVE),
            Job.member_uuid == member if member else Job.member_uuid.is_(None),
        )
    )
    if known is not None:
        return int(known)
    job = Job(
        kind=kind,
        member_uuid=member,
        slot=slot,
        params=dict(params or {}),
        actor=actor,
        created_at=shared(),  # uploads say by the same clock when they began
    )
    session.add(job)
    session.flush()
    if not is_silent(job):
        history.note(
            session,
            "job_requested",
            slot=slot,
            member=member,
            actor=actor,
            job=kind.value,
            number=job.id,
        )
    return job.id


def is_silent(job: Job) -> bool:
    """Tell whether nobody needs to hear of a job: routine, and nothing to report."""
    routine = job.kind in SILENT and job.actor is None
    return routine and job.state != JobState.FAILED and not job.report


def pause(number: int, *, actor: str | None = None) -> bool:
    """Stop a job where it is; False when it has ended or is paused already."""
    before = (JobState.QUEUED, JobState.RUNNING)
    return _set_by_hand(number, before, JobState.PAUSED, actor)


def resume(number: int, *, actor: str | None = None) -> bool:
    """Let a paused job go on where it was; False when it isn't paused."""
    return _set_by_hand(number, (JobState.PAUSED,), JobState.QUEUED, actor)


def cancel(number: int, *, actor: str | None = None) -> bool:
    """End a job; False when it has ended already."""
    return _set_by_hand(number, ACTIVE, JobState.CANCELLED, actor)


def _set_by_hand(
    number: int, before: Sequence[JobState], after: JobState, actor: str | None
) -> bool:
    with transaction() as session:
        return _set(session, (Job.id == number, Job.state.in_(before)), after, actor)


def _set(
    session: maps.AnySession,
    wanted: Sequence[ColumnElement[bool]],
    after: JobState,
    actor: str | None = None,
) -> bool:
    """Give the one job that is wanted another state; False when there is none."""
    values: dict[str, Any] = {"state": after, "problem": None}
    if after is JobState.CANCELLED:
        values["finished_at"] = utcnow()
    if after is not JobState.PAUSED:
        values["lease"] = values["lease_until"] = None
    changed = session.execute(
        update(Job)
        .where(*wanted)
        .values(values)
        .returning(Job.id, Job.kind, Job.slot, Job.member_uuid),
        execution_options=_PLAIN,
    ).one_or_none()
    if changed is not None:
        history.note(
            session,
            "job_changed",
            slot=changed.slot,
            member=changed.member_uuid,
            actor=actor,
            job=changed.kind,
            number=changed.id,
            state=after.value,
        )
    return changed is not None


def paused_itself() -> ColumnElement[bool]:
    """Match jobs that stopped with a sentence; who pauses one by hand leaves none."""
    return (Job.state == JobState.PAUSED) & Job.problem.is_not(None)


def wake(session: maps.AnySession, kind: JobKind) -> bool:
    """Let a job go on that paused itself, in the caller's transaction."""
    wanted = (Job.kind == kind, paused_itself())
    return _set(session, wanted, JobState.QUEUED)


def active(session: maps.AnySession, kind: JobKind, member: UUID | None = None) -> bool:
    """Tell whether a job of this kind is on its way (for this member)."""
    wanted = select(Job.id).where(Job.kind == kind, Job.state.in_(ACTIVE))
    if member is not None:
        wanted = wanted.where(Job.member_uuid == member)
    return session.scalar(wanted.limit(1)) is not None


def last_done(kind: JobKind) -> Job | None:
    """Return the job of a kind that was done last."""
    found = db.session.scalars(
        select(Job)
        .where(Job.kind == kind, Job.state == JobState.DONE)
        .order_by(Job.finished_at.desc())
        .limit(1)
    ).one_or_none()
    release()
    return found


def pace() -> int:
    """Return the percent of the time that jobs may work: the page's, or the setting."""
    chosen = db.session.scalar(select(ArrayRow.pace))
    release()
    return int(chosen or current_app.config["HOLDFAST"].pace)


def set_pace(percent: int | None) -> None:
    """Choose the pace of all jobs, 1 to 100; None goes back to the setting."""
    if percent is not None and not 1 <= percent <= 100:
        raise ValueError("The pace is a number of percent from 1 to 100.")
    with transaction() as session:
        session.execute(update(ArrayRow).values(pace=percent), execution_options=_PLAIN)
