"""The scrub: look at every object of every live blob, and have repaired what is bad.

It walks the blobs in the order of their uuids. What it finds becomes debts, in the
transaction of the checkpoint, and the worker pays them from verified sources only. When
many segments look lost at once it stops: then the metadata or the credentials are wrong
rather than the disks, and what it found in that run is turned into nothing (see
docs/decisions/0006-when-a-scrub-stops.md).
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from raid.array import Array
from raid.scrub import Finding, Kind
from storage import damage, debts, history, maps
from storage.db import db, release
from storage.jobs import runner
from storage.jobs.look import Piece, pieces
from storage.jobs.runner import Claim, Step
from storage.models import Blob, BlobState, Debt, Job, JobKind, MemberRow, Reason
from storage.shares import shares_of

RUN = 16
"""How many segments are looked at, from the first one that looks lost, to judge."""
SUSPICIOUS = 8
"""How many of them may not be lost."""

PAY_SECONDS = 1.0
"""How long a step pays debts; one is always tried."""

OTHERS_SECONDS = 0.5
"""How long to wait when the rest is just being paid by others."""

MOST_WAITS = 5
WAIT_SECONDS = 5.0
"""How often, and how long, a member is waited for that rests: a bad sector makes it."""

CHECK, REPAIR = "check", "repair"
_REPAIRS = "repairs"
"""The cursor when all was looked at, with the number of waits: debts are to be paid."""
_LOST = (Kind.MISSING, Kind.SIZE, Kind.BAD)


class Scrub:
    """The job; see the module's text."""

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:  # noqa: ARG002
        """Return the live blobs and their bytes as people count them."""
        live = select(func.count(), func.coalesce(func.sum(Blob.size), 0)).where(
            Blob.state == BlobState.LIVE
        )
        count, size = db.session.execute(live).one()
        release()
        return int(count), int(size)

    def step(self, claim: Claim, array: Array) -> Step:
        """Look at some segments, or at what became of the debts."""
        if claim.cursor and claim.cursor.startswith(_REPAIRS):
            return _pay(claim, array)
        repairs = claim.params.get("mode", REPAIR) == REPAIR
        found = _Found(repairs=repairs)
        run: list[Piece] = []
        for piece in pieces(array, claim.cursor, random.randrange, claim.in_time):
            if piece.hopeless or run:
                run.append(piece)
            else:
                found.take([piece])
            if sum(one.hopeless for one in run) >= SUSPICIOUS:
                return found.suspect(run)
            if len(run) == RUN:
                found.take(run)
                run = []
            if not run and piece.alone and not claim.in_time():
                return found.step()
        found.take(run)
        return found.end()

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Say what was found, and whether anything was left out."""
        away = job.counts.get("unreachable", 0)
        if away:
            job.problem = (
                f"Partial: {away} objects are on members that can't be reached."
            )
        if damaged(job):
            words = [*(kind.value for kind in Kind), "repaired"]
            said: dict[str, Any] = {word: job.counts.get(word, 0) for word in words}
            history.note(session, "scrub_found", **said)


def damaged(job: Job) -> int:
    """Return how many objects of a scrub were not as they should be."""
    return sum(int(job.counts.get(kind.value, 0)) for kind in Kind)


def is_full(job: Job) -> bool:
    """Tell whether a scrub that is done looked at every object."""
    return not job.counts.get("unreachable", 0)


def is_well(job: Job) -> bool:
    """Tell whether a scrub looked at everything and left nothing bad."""
    return is_full(job) and damaged(job) == job.counts.get("repaired", 0)


@dataclass
class _Found:
    """What one step has seen, and what its checkpoint writes down."""

    repairs: bool
    _step: Step = field(default_factory=Step)
    _findings: list[Finding] = field(default_factory=list)
    _pieces: list[Piece] = field(default_factory=list)

    def take(self, some: Sequence[Piece]) -> None:
        """Believe what was seen of these segments, and go on after them."""
        step = self._step
        for piece in some:
            look = piece.look
            step.bytes += piece.size
            step.objects += piece.ends_blob
            step.cursor = piece.after
            step.count("objects", look.objects)
            step.count("bytes", look.bytes)
            step.count("unreachable", len(look.unreachable))
            step.count("owed", look.owed)
            for finding in look.findings:
                step.count(finding.kind.value)
                step.report.append(_row(finding))
            self._findings += look.findings
            self._pieces.append(piece)

    def step(self) -> Step:
        """Return the step with what its checkpoint writes."""
        if self.repairs:
            self._step.also = self._write
        return self._step

    def end(self) -> Step:
        """Return the last step of the walk."""
        self._step.cursor = _REPAIRS
        self._step.done = not self.repairs
        return self.step()

    def suspect(self, run: Sequence[Piece]) -> Step:
        """Stop before a run of segments that look lost, and forget what they were."""
        step = self.step()
        step.cursor = run[0].at
        lost, also = sum(one.hopeless for one in run), step.also
        step.pause = (
            f"Of {len(run)} segments in a row {lost} look lost on more members than "
            "the array survives. That looks like wrong metadata or credentials and "
            "not like rot, so nothing of it was repaired. Look at the members and at "
            "the database, then resume the scrub."
        )

        def write(session: maps.AnySession) -> None:
            if also is not None:
                also(session)
            history.note(session, "scrub_suspects", lost=lost, looked=len(run))

        step.also = write
        return step

    def _write(self, session: maps.AnySession) -> None:
        lost = [one.damage for one in self._findings if one.kind in _LOST]
        if lost:
            damage.owe(session, lost)
        wrong = {f.damage.blob for f in self._findings if f.kind is Kind.PARITY}
        if wrong:
            _mark_at_risk(session, wrong)
        for piece in self._pieces:
            if piece.unmeasured is not None:
                _measure(session, piece)


def _row(finding: Finding) -> dict[str, object]:
    damage = finding.damage
    return {
        "blob": str(damage.blob),
        "slot": damage.slot,
        "segment": damage.segment,
        "role": damage.role,
        "what": finding.kind.value,
        "why": damage.reason,
    }


def _mark_at_risk(session: maps.AnySession, blobs: set[UUID]) -> None:
    """No repair can make a parity right whose very tag is of the wrong one."""
    session.execute(
        update(Blob).where(Blob.uuid.in_(blobs)).values(at_risk=True),
        execution_options={"synchronize_session": False},
    )
    for blob in sorted(blobs):
        history.note(session, "parity_wrong", blob=str(blob))


def _measure(session: maps.AnySession, piece: Piece) -> None:
    assert piece.unmeasured is not None
    values = shares_of(piece.unmeasured)._asdict()
    session.execute(
        update(Blob)
        .where(Blob.uuid == piece.unmeasured.blob, Blob.slots.is_(None))
        .values(values),
        execution_options={"synchronize_session": False},
    )


def _pay(claim: Claim, array: Array) -> Step:
    """Pay what was found, then count how much of the report is whole again."""
    until = time.monotonic() + PAY_SECONDS
    paid = debts.pay(array, lambda: time.monotonic() >= until)
    step = Step(cursor=claim.cursor)
    writable = array.writable()
    if _untried(array, writable):
        step.wait = 0.0 if paid else OTHERS_SECONDS
        return step
    tries = int((claim.cursor or "").removeprefix(_REPAIRS) or 0)
    resting = [e.slot for e in array.map.slots if e.state in debts.TAKES_WRITES]
    if tries < MOST_WAITS and _untried(array, resting):
        step.cursor, step.wait = f"{_REPAIRS}{tries + 1}", WAIT_SECONDS
        return step
    report, owed = _report(claim), _owed()
    noted = [row for row in report if row["what"] != Kind.PARITY.value]
    step.count("repaired", sum(_identity(row) not in owed for row in noted))
    step.done = True
    return step


def _report(claim: Claim) -> list[dict[str, object]]:
    report = db.session.scalar(select(Job.report).where(Job.id == claim.id))
    release()
    return list(report or [])


_Identity = tuple[str, int, int, int]


def _identity(row: dict[str, object]) -> _Identity:
    segment = row["segment"] if row["segment"] is not None else -1
    role = row["role"] if row["role"] is not None else -1
    return str(row["blob"]), int(row["slot"]), int(segment), int(role)  # type: ignore[call-overload]


def _owed() -> set[_Identity]:
    """Return which objects are still bad, as the report names them."""
    rows = db.session.execute(
        select(Debt.blob, MemberRow.slot, Debt.segment, Debt.role)
        .join(MemberRow, MemberRow.uuid == Debt.member_uuid)
        .where(Debt.reason == Reason.DAMAGED, MemberRow.slot.is_not(None))
    ).all()
    release()
    return {(str(row.blob), row.slot, row.segment, row.role) for row in rows}


def _untried(array: Array, slots: Sequence[int]) -> bool:
    """Tell whether the members of some slots are owed what was never tried."""
    members = [array.uuid_of(slot) for slot in slots]
    found = db.session.scalar(
        select(Debt.id)
        .where(
            Debt.reason == Reason.DAMAGED,
            Debt.tries == 0,
            Debt.member_uuid.in_(members),
        )
        .limit(1)
    )
    release()
    return found is not None


runner.register(JobKind.SCRUB, Scrub())
