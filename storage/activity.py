"""What the array does, did last and does next: jobs, upkeep and events as values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import defer

from storage import glossary, history, naming, words
from storage.db import db, release
from storage.jobs import schedule, table
from storage.jobs.progress import Progress
from storage.journal.state import LATE_SECONDS, Lag, lag
from storage.models import Event, Job

PAGE = 50


@dataclass(frozen=True)
class JobLine:
    """A job as the page and `array status` show it."""

    id: int
    kind: str
    state: str
    slot: int | None
    percent: float | None
    bytes: int
    total: int
    rate: float | None
    seconds_left: float | None
    progress: str
    problem: str | None
    actor: str | None
    finished_at: datetime | None
    counts: dict[str, Any]

    @classmethod
    def of(cls, job: Job) -> "JobLine":
        """Return the line of a row."""
        progress = Progress.of(job)
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            slot=job.slot,
            percent=progress.percent,
            bytes=job.done_bytes,
            total=job.total_bytes,
            rate=progress.rate,
            seconds_left=progress.seconds_left,
            progress=progress.words,
            problem=job.problem,
            actor=job.actor,
            finished_at=job.finished_at,
            counts=dict(job.counts),
        )

    @property
    def title(self) -> str:
        """Return what kind of job it is, and of which member."""
        whose = "" if self.slot is None else f" of member {self.slot}"
        return f"{self.kind.capitalize()}{whose}"

    @property
    def meaning(self) -> str:
        """Return what a job of this kind does."""
        term = glossary.JOBS.get(self.kind)
        return term.meaning if term else ""

    @property
    def counted(self) -> str:
        """Return what was counted, as a phrase."""
        return words.counted(self.counts)

    def as_json(self) -> dict[str, Any]:
        """Return what `array status --json` says of it."""
        keys = ("id", "kind", "state", "slot", "percent", "bytes", "total", "rate")
        return {key: getattr(self, key) for key in (*keys, "seconds_left", "problem")}


def going_on() -> list[JobLine]:
    """Return the jobs that have not ended, the oldest first."""
    wanted = select(Job).where(Job.state.in_(table.ACTIVE)).order_by(Job.id)
    # A report may be long, and a line shows none of it.
    rows = db.session.scalars(wanted.options(defer(Job.report)))
    return [JobLine.of(job) for job in rows]


def job_line(number: int) -> JobLine | None:
    """Return one job, whatever its state."""
    wanted = select(Job).where(Job.id == number).options(defer(Job.report))
    job = db.session.scalars(
        wanted, execution_options={"populate_existing": True}
    ).one_or_none()
    line = None if job is None else JobLine.of(job)
    release()
    return line


@dataclass(frozen=True)
class Upkeep:
    """What is done on a stated period: when it was done last, and when it is next."""

    scrub: JobLine | None
    next_scrub: datetime | None
    drill: JobLine | None
    next_drill: datetime | None
    pace: int
    journal: Lag

    @property
    def journal_is_late(self) -> bool:
        """Tell whether more would be lost with the database than is promised."""
        return self.journal.seconds > LATE_SECONDS

    @property
    def catalogue(self) -> str:
        """Return what would be lost with the database."""
        lag = self.journal
        return words.behind(lag.rows + lag.entries, lag.seconds)

    def as_json(self) -> dict[str, Any]:
        """Return what `array status --json` says of it."""
        return {
            "last_scrub": _told(self.scrub),
            "last_drill": _told(self.drill),
            "pace": self.pace,
            "journal": asdict(self.journal),
        }


def _told(line: JobLine | None) -> dict[str, Any] | None:
    if line is None or line.finished_at is None:
        return None
    when = line.finished_at.isoformat(timespec="seconds")
    return {"id": line.id, "finished_at": when, "counts": line.counts}


def upkeep() -> Upkeep:
    """Return the last scrub and drill that were done, and when the next ones are."""
    scrub, drill = schedule.last_full_scrub(), schedule.last_drill()
    found = Upkeep(
        scrub=None if scrub is None else JobLine.of(scrub),
        next_scrub=schedule.next_scrub(),
        drill=None if drill is None else JobLine.of(drill),
        next_drill=schedule.next_drill(),
        pace=table.pace(),
        journal=lag(),
    )
    release()
    return found


@dataclass(frozen=True)
class EventLine:
    """An event as people read it."""

    id: int
    at: datetime
    word: str
    sentence: str
    warns: bool
    actor: str | None
    job: int | None


@dataclass(frozen=True)
class EventPage:
    """Some events, the newest first, and the id to go on from for older ones."""

    events: Sequence[EventLine]
    older: int | None


def events(before: int | None = None) -> EventPage:
    """Return a page of what happened."""
    found = history.latest(PAGE + 1, before)
    lines = [_line(event) for event in found[:PAGE]]
    return EventPage(lines, lines[-1].id if len(found) > PAGE else None)


def _line(event: Event) -> EventLine:
    term = glossary.EVENTS.get(event.word)
    number = event.fields.get("number")
    return EventLine(
        id=event.id,
        at=event.at,
        word=event.word,
        # A word of another release has no sentence here.
        sentence=term.sentence(event.slot, event.fields) if term else event.word,
        warns=term.warns if term else False,
        actor=event.actor,
        job=number if isinstance(number, int) else None,
    )


@dataclass(frozen=True)
class ReportLine:
    """Something that a job met, and the files that it means."""

    said: dict[str, Any]
    files: list[naming.Named]

    @property
    def object(self) -> str:
        """Return what it is about where no file names it: a key or a blob."""
        return str(self.said.get("key") or self.said.get("blob") or "")

    @property
    def sentence(self) -> str:
        """Return where it is, what it is and why."""
        slot, segment = self.said.get("slot"), self.said.get("segment")
        where = [] if slot is None else [f"member {slot}"]
        where += [] if segment is None else [f"segment {segment}"]
        what = str(self.said.get("what") or "").replace("_", " ")
        lead = ", ".join(filter(None, [what, *where]))
        lead = f"{words.capital(lead)}." if lead else ""
        return f"{lead} {self.said.get('why') or ''}".strip()


@dataclass(frozen=True)
class Report:
    """A job and what it met, a page at a time."""

    job: JobLine
    started_at: datetime | None
    takeovers: int
    lines: list[ReportLine]
    total: int
    start: int

    @property
    def more(self) -> int | None:
        """Return where the next page starts."""
        after = self.start + len(self.lines)
        return after if after < self.total else None


def report(number: int, start: int = 0) -> Report | None:
    """Return the report of a job; None when there is no such job."""
    job = db.session.get(Job, number, populate_existing=True)
    if job is None:
        return None
    said = job.report[start : start + PAGE]
    blobs = {uuid for one in said if (uuid := _blob(one)) is not None}
    names = naming.names_of(blobs)
    release()
    lines = [ReportLine(one, _files(names, _blob(one))) for one in said]
    line = JobLine.of(job)
    return Report(line, job.started_at, job.takeovers, lines, len(job.report), start)


def _files(
    names: dict[UUID, list[naming.Named]], blob: UUID | None
) -> list[naming.Named]:
    return [] if blob is None else names[blob]


def _blob(said: dict[str, Any]) -> UUID | None:
    try:
        return UUID(str(said.get("blob")))
    except ValueError:
        return None
