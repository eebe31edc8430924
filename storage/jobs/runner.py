"""Jobs: rows with a cursor and a lease, done step by step by whoever holds the lease.

A worker claims a job, does one step of about a second, and writes cursor and counts
down in one transaction that is fenced by its lease, which it renews meanwhile. Whoever
takes the lease of a worker that stood still goes on from the last cursor, and what the
first one then writes is refused. Steps are idempotent, so doing one twice is harmless.

    queued -> running -> done | failed | cancelled
                 |  ^
                 v  |
               paused
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, case, select, update
from sqlalchemy.exc import DBAPIError

from raid.array import Array
from raid.errors import RaidError
from storage import history, maps
from storage.clock import AHEAD
from storage.db import db, release, transaction, utcnow
from storage.errors import StorageError
from storage.jobs.lease import renewed
from storage.jobs.table import is_silent, pace
from storage.models import Job, JobKind, JobState
from storage.runtime import Runtime, runtime

LEASE_SECONDS = 20.0
STEP_SECONDS = 1.0
"""How long a step should take; a kill loses at most this much work."""

MOST_REPORT = 10_000
_PLAIN = {"synchronize_session": False}
_LOG = logging.getLogger("holdfast.jobs")


@dataclass(frozen=True)
class Claim:
    """A job as its worker sees it for one step; values, not a row."""

    id: int
    kind: str
    lease: str
    member: UUID | None
    slot: int | None
    params: Mapping[str, Any]
    cursor: str | None
    counts: Mapping[str, int]
    fresh: bool
    until: float
    """When the step should end, on the monotonic clock."""

    def in_time(self) -> bool:
        """Tell whether the step may begin another piece of work."""
        return time.monotonic() < self.until


@dataclass
class Step:
    """What a step did. Counts are added to the job's, report rows appended to it.

    A `pause` is a sentence that stops the job until somebody resumes it; a `wait` is
    how many seconds the job is left alone before its next step.
    """

    cursor: str | None = None
    bytes: int = 0
    objects: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    report: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    pause: str | None = None
    wait: float = 0.0
    also: Callable[[maps.AnySession], None] | None = None
    """Writes rows in the transaction of the checkpoint: both are there or neither."""

    def count(self, word: str, more: int = 1) -> None:
        """Add to a count."""
        self.counts[word] = self.counts.get(word, 0) + more


class GiveUp(Exception):
    """Raised by a step: the job has failed for good, and this sentence says why."""


class Work(Protocol):
    """One kind of job."""

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:
        """Return how many objects and bytes there will be, before the first step."""

    def step(self, claim: Claim, array: Array) -> Step:
        """Do a piece of work that can be done twice, and say where to go on."""

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Write what the end of the job means, in the transaction that ends it."""


_works: dict[str, Work] = {}


def register(kind: JobKind, work: Work) -> None:
    """Say who does the jobs of a kind."""
    _works[kind] = work


def is_known(kind: JobKind) -> bool:
    """Tell whether jobs of a kind can be done."""
    return kind in _works


def run(array: Array, stop: Callable[[], bool] = lambda: False) -> int:
    """Do one step of every job that is due; returns how many were done."""
    done = 0
    for number in _waiting():
        if stop():
            break
        done += run_step(array, number)
    return done


def _waiting() -> list[int]:
    own, now = runtime(), time.monotonic()
    _heed_pace(own)
    rows = db.session.execute(
        select(Job.id, _is_free(utcnow()).label("free"))
        .where(
            Job.state.in_((JobState.QUEUED, JobState.RUNNING)),
            Job.kind.in_(list(_works)),
        )
        .order_by(Job.id)
    ).all()
    release()
    return [
        row.id
        for row in rows
        if own.rests.get(row.id, 0.0) <= now and (row.free or row.id in own.leases)
    ]


def _heed_pace(own: Runtime) -> None:
    """Let every job go on when the pace was changed: it rests by the old one."""
    chosen = pace()
    if own.pace not in (None, chosen):
        own.rests.clear()
    own.pace = chosen


def _is_free(now: datetime) -> ColumnElement[bool]:
    """Match jobs whose lease nobody holds, or has let run out.

    A lease from hours in the future was taken while a clock was wrong; to wait until
    its end would mean to stand still as long as the clock had jumped.
    """
    over = Job.lease_until.is_(None) | (Job.lease_until <= now)
    return over | (Job.touched_at > now + AHEAD)


def run_step(array: Array, number: int) -> int:
    """Claim a job, do one step of it and write it down; 0 when nothing was done."""
    claim = _claim(number)
    if claim is None:
        return 0
    try:
        return _do_step(claim, array)
    except GiveUp as error:
        _end(claim, JobState.FAILED, str(error))
        return 1
    except (RaidError, StorageError) as error:
        _put_off(claim, str(error))
        return 0
    except DBAPIError:
        raise
    except Exception as error:
        # A mistake in one job must not keep all others from their turn.
        _LOG.exception("A step of a job broke off.", extra=_told(claim))
        _put_off(
            claim,
            f"A step of this job broke off ({type(error).__name__}); the log says "
            "more. It is tried again.",
        )
        return 0


def _do_step(claim: Claim, array: Array) -> int:
    work = _works[claim.kind]
    began = time.monotonic()
    if claim.fresh:
        _write_totals(claim, *work.begin(claim, array))
    with renewed(lambda: _renew(claim), LEASE_SECONDS / 3):
        step = work.step(claim, array)
    spent = time.monotonic() - began
    rest = max(spent * (100 - pace()) / pace(), step.wait)
    if not _write_down(claim, step, spent + rest):
        _LOG.warning("Another worker does this job now.", extra=_told(claim))
        runtime().leases.pop(claim.id, None)
        return 0
    own = runtime()
    if claim.id in own.leases:
        own.rests[claim.id] = time.monotonic() + rest
    else:
        own.rests.pop(claim.id, None)  # it has ended
    return 1


def seconds_to_next() -> float:
    """Return how long until the first of our own jobs has rested; infinite if none."""
    own, now = runtime(), time.monotonic()
    ends = (until for number, until in own.rests.items() if number in own.leases)
    return min((until - now for until in ends if until > now), default=math.inf)


def let_go() -> None:
    """Give back the leases of this process, so that another one goes on at once."""
    held = list(runtime().leases.values())
    runtime().leases.clear()
    if held:
        with transaction() as session:
            session.execute(
                update(Job)
                .where(Job.lease.in_(held))
                .values(lease=None, lease_until=None),
                execution_options=_PLAIN,
            )


def _told(claim: Claim) -> dict[str, Any]:
    return {"fields": {"job": claim.kind, "number": claim.id}}


def _claim(number: int) -> Claim | None:
    """Take or renew the lease; None when the job is another's or not to be done."""
    now = utcnow()
    lease = runtime().leases.get(number) or secrets.token_hex(16)
    with transaction() as session:
        job = session.scalars(
            select(Job)
            .where(
                Job.id == number,
                Job.state.in_((JobState.QUEUED, JobState.RUNNING)),
                _is_free(now) | (Job.lease == lease),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if job is None:
            runtime().leases.pop(number, None)
            return None
        if job.lease not in (None, lease):
            job.takeovers += 1
        # Until its first checkpoint, whoever takes it over begins anew.
        fresh = job.cursor is None
        job.lease, job.lease_until = lease, now + timedelta(seconds=LEASE_SECONDS)
        job.state = JobState.RUNNING
        job.started_at = job.started_at or now
        job.touched_at = now
    runtime().leases[number] = lease
    return Claim(
        job.id,
        job.kind,
        lease,
        job.member_uuid,
        job.slot,
        dict(job.params),
        job.cursor,
        dict(job.counts),
        fresh,
        time.monotonic() + STEP_SECONDS,
    )


def _mine(claim: Claim) -> tuple[Any, ...]:
    return (Job.id == claim.id, Job.lease == claim.lease)


def _renew(claim: Claim) -> None:
    until = utcnow() + timedelta(seconds=LEASE_SECONDS)
    with transaction() as session:
        session.execute(
            update(Job).where(*_mine(claim)).values(lease_until=until),
            execution_options=_PLAIN,
        )


def _write_totals(claim: Claim, objects: int, size: int) -> None:
    with transaction() as session:
        session.execute(
            update(Job)
            .where(*_mine(claim))
            .values(total_objects=objects, total_bytes=size),
            execution_options=_PLAIN,
        )


def _write_down(claim: Claim, step: Step, seconds: float) -> bool:
    """Checkpoint a step unless the lease was taken; a paused job keeps what it did."""
    with transaction() as session:
        maps.lock(session)  # before the job, as those do who end the jobs of a member
        job = session.scalars(
            select(Job).where(*_mine(claim)).with_for_update()
        ).one_or_none()
        if job is None:
            return False
        if step.also is not None:
            step.also(session)
        job.cursor = step.cursor
        job.done_bytes += step.bytes
        job.done_objects += step.objects
        job.seconds += seconds
        job.problem = None
        job.touched_at = utcnow()
        job.counts = {
            word: job.counts.get(word, 0) + step.counts.get(word, 0)
            for word in {**job.counts, **step.counts}
        }
        job.report = [*job.report, *step.report][:MOST_REPORT]
        job.lease_until = utcnow() + timedelta(
            seconds=LEASE_SECONDS + max(0.0, seconds)
        )
        if step.done:
            _close(session, job, JobState.DONE, None)
        elif step.pause and job.state != JobState.PAUSED:
            job.state, job.problem = JobState.PAUSED, step.pause
            _note_end(session, job, "job_changed")
    return True


def _close(
    session: maps.AnySession, job: Job, state: JobState, problem: str | None
) -> None:
    job.state, job.problem, job.finished_at = state, problem, utcnow()
    job.lease = job.lease_until = None
    runtime().leases.pop(job.id, None)
    if state is JobState.DONE:
        _works[job.kind].finish(session, job)
    if not is_silent(job):
        _note_end(session, job, "job_ended")


def _note_end(session: maps.AnySession, job: Job, word: str) -> None:
    history.note(
        session,
        word,
        slot=job.slot,
        member=job.member_uuid,
        job=job.kind,
        number=job.id,
        state=str(job.state),
        counts=job.counts,
        problem=job.problem or "",
    )


def _end(claim: Claim, state: JobState, problem: str) -> None:
    with transaction() as session:
        job = session.scalars(
            select(Job).where(*_mine(claim)).with_for_update()
        ).one_or_none()
        if job is not None:
            _close(session, job, state, problem)


def _put_off(claim: Claim, problem: str) -> None:
    """Leave a job alone for a while: what it needs may come back, or be elsewhere.

    It is nobody's meanwhile, because another worker may be able to go on.
    """
    runtime().rests[claim.id] = time.monotonic() + 10.0
    runtime().leases.pop(claim.id, None)
    # A job with a sentence paused itself: one that was paused by hand has none.
    told = case((Job.state == JobState.PAUSED, None), else_=problem)
    with transaction() as session:
        session.execute(
            update(Job)
            .where(*_mine(claim))
            .values(problem=told, lease=None, lease_until=None),
            execution_options=_PLAIN,
        )
    _LOG.info("A job waits: %s", problem, extra=_told(claim))
