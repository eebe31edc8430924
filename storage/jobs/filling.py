"""Give a member everything that its slot should hold: what rebuild and replace share.

Live blobs are walked in the order of their uuids; of each, the objects that the slot
holds are made one after the other, a few at a time. What is there with its right length
is kept: objects are published whole, so a job that was killed goes on cheaply. At the
end comes a second, short walk over the blobs committed since the job began.
"""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update

from raid.array import Array
from raid.errors import (
    BlobDamaged,
    BlobUnreachable,
    MemberError,
    RaidError,
)
from raid.holdings import Holding, holdings
from raid.manifest import Manifest
from raid.reader import BlobRef
from raid.rebuild import Filler
from raid.superblock import StoredState
from storage import debts, maps, supply
from storage.blobref import manifest_of
from storage.db import transaction, utcnow
from storage.jobs import walk
from storage.jobs.runner import Claim, Step
from storage.jobs.seat import looked_through, seat_of
from storage.jobs.table import active, pace
from storage.models import (
    NONE,
    Blob,
    BlobState,
    DebtKind,
    Job,
    JobKind,
    Reason,
)
from storage.runtime import Runtime, runtime

BATCH = 64
AT_ONCE = 4
"""Objects in the making; each holds one shard in memory, 8 MiB at most as a rule.

So many at full pace only: a client feels how many processors are taken, so a gentler
job takes one.
"""

_MARGIN = timedelta(minutes=1)
_ALL = -1


@dataclass(frozen=True)
class Cursor:
    """Where to go on: `done` objects of a blob are there, all of them when -1."""

    since: str
    late: bool = False
    blob: str | None = None
    done: int = _ALL

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """Return the cursor of a job, or where a new one begins."""
        if text is None:
            return cls((utcnow() - _MARGIN).isoformat())
        return cls(**json.loads(text))

    def range(self) -> walk.Range:
        """Return the blobs that are still to come in this walk."""
        start = UUID(self.blob) if self.blob else None
        since = datetime.fromisoformat(self.since) if self.late else None
        return walk.Range(start, inclusive=self.done != _ALL, since=since)


@dataclass(frozen=True)
class _Task:
    """One object to be given, or, without a manifest, why its blob can't be."""

    ref: BlobRef
    late: bool
    position: int
    manifest: Manifest | None = None
    holding: Holding | None = None
    error: RaidError | None = None


@dataclass(frozen=True)
class _Lost:
    """What could not be given, as a debt names it."""

    blob: UUID
    kind: DebtKind
    segment: int
    role: int


@dataclass(frozen=True)
class _Done:
    """What became of a task."""

    word: str
    error: RaidError | None = None


def _failed(error: RaidError | None) -> _Done:
    return _Done("lost" if isinstance(error, BlobDamaged) else "late", error)


class Filling:
    """The work of a job that fills a member; one step may be done twice."""

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:
        """Return about how much there is to do."""
        assert claim.slot is not None
        return walk.totals(claim.slot, array.map)

    def step(self, claim: Claim, array: Array) -> Step:
        """Give the member what comes next."""
        target, slot = seat_of(claim, array)
        _wait_for_enough(array, {slot} if target is array else set())
        return _Walk(claim, array, target, slot).go()

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Note that all it should hold was looked at, unless it went away meanwhile."""
        job.total_bytes, job.total_objects = job.done_bytes, job.done_objects
        job.report = list({row["blob"]: row for row in job.report}.values())
        if not active(session, JobKind.INVENTORY, job.member_uuid):
            looked_through(session, job.member_uuid)


def _wait_for_enough(array: Array, lacking: set[int]) -> None:
    """Raise while members are away that may come back and are needed.

    One that was retired never comes back, so nobody waits for it.
    """
    away = {
        entry.slot
        for entry in array.away()
        if entry.state is not StoredState.RETIRED and entry.slot not in lacking
    }
    if away and not array.survives(away | lacking):
        labels = [array.label(slot) for slot in sorted(away)]
        raise BlobUnreachable(
            f"What is needed is on members that are away ({', '.join(labels)}); "
            "this goes on when one is back.",
            labels,
        )


class _Walk:
    """One step: tasks in their order, a few of them at a time."""

    def __init__(self, claim: Claim, source: Array, target: Array, slot: int) -> None:
        self._own: Runtime = runtime()
        self._claim = claim
        self._source = source
        self._target = target
        self._slot = slot
        own = self._own
        self._filler = Filler(source, target, slot, own.pool, own.note_damage)
        self._cursor = Cursor.read(claim.cursor)
        self._step = Step()
        self._at_once = AT_ONCE if pace() == 100 else 1
        self._given: dict[UUID, list[str]] = {}
        self._lost: dict[_Lost, RaidError] = {}
        self._trouble: MemberError | None = None

    def go(self) -> Step:
        """Work until the time is over, the walk is, or the member makes trouble."""
        with self._filler:
            ended = self._give()
        supply.take_back_dead(self._target, self._slot, self._given)
        self._write_lost()
        if self._trouble and not self._step.counts:
            raise self._trouble
        self._step.done = ended and self._trouble is None
        self._step.cursor = json.dumps(asdict(self._cursor))
        return self._step

    def _give(self) -> bool:
        """Do tasks as long as there is time; True when there are no more."""
        running: deque[tuple[_Task, Future[_Done]]] = deque()
        try:
            for count, task in enumerate(self._tasks()):
                # However little time there is, a step gets on by one object.
                if self._trouble or (count and not self._claim.in_time()):
                    return False
                running.append((task, self._source.executor.submit(self._do, task)))
                if len(running) >= self._at_once:
                    self._note(*running.popleft())
            return True
        finally:
            wait([future for _, future in running])  # they work in our buffers
            while running:
                self._note(*running.popleft())

    def _tasks(self) -> Iterator[_Task]:
        """Yield what is left of the first walk, then of the second."""
        begun = self._cursor
        if not begun.late:
            yield from self._tasks_from(begun)
            begun = Cursor(begun.since, late=True)
        yield from self._tasks_from(begun)

    def _tasks_from(self, begun: Cursor) -> Iterator[_Task]:
        wanted, done = begun.range(), begun.done
        while batch := walk.live_blobs(wanted, BATCH):
            manifests = self._source.executor.map(self._manifest, batch)
            for ref, manifest in zip(batch, manifests, strict=True):
                skip = done if ref.blob == wanted.start and done != _ALL else 0
                for task in self._of_blob(ref, manifest, skip):
                    yield replace(task, late=begun.late)
            wanted = replace(wanted, start=batch[-1].blob, inclusive=False)

    def _manifest(self, ref: BlobRef) -> Manifest | RaidError:
        try:
            return manifest_of(self._own, self._source, ref)
        except RaidError as error:
            return error

    def _of_blob(
        self, ref: BlobRef, manifest: Manifest | RaidError, skip: int
    ) -> Iterator[_Task]:
        if isinstance(manifest, RaidError):
            yield _Task(ref, False, _ALL, error=manifest)
            return
        wanted = list(holdings(manifest, self._slot))
        for index, holding in enumerate(wanted[skip:], start=skip + 1):
            position = _ALL if index == len(wanted) else index
            yield _Task(ref, False, position, manifest, holding)

    def _do(self, task: _Task) -> _Done:
        """Give one object; runs in a thread, and asks no database."""
        if task.manifest is None or task.holding is None:
            return _failed(task.error)
        try:
            if self._filler.has(task.holding):
                return _Done("kept")
            self._filler.give(task.manifest, task.holding)
        except MemberError as error:
            return _Done("trouble", error)
        except RaidError as error:
            return _failed(error)
        return _Done("given")

    def _note(self, task: _Task, future: Future[_Done]) -> None:
        """Write down what became of a task; those before it are written down."""
        done = future.result()
        if done.word == "given" and task.holding is not None:
            self._given.setdefault(task.ref.blob, []).append(task.holding.key)
        if self._trouble is not None:
            return
        if done.word == "trouble":
            assert isinstance(done.error, MemberError)
            self._trouble = done.error
            return
        if done.error is not None:
            self._note_lost(task, done.error)
        if not (task.late and done.word == "kept"):
            self._step.count(done.word)
            self._step.bytes += task.holding.length if task.holding else 0
            self._step.objects += task.position == _ALL and not task.late
        self._cursor = replace(
            self._cursor,
            late=task.late,
            blob=task.ref.blob.hex,
            done=task.position,
        )

    def _note_lost(self, task: _Task, error: RaidError) -> None:
        """Remember the debt; all of a blob when not even its manifest can be read."""
        kind, segment, role = DebtKind.SHARD, NONE, NONE
        if task.holding is not None:
            kind, segment, role = debts.name_of(task.holding)
        self._lost[_Lost(task.ref.blob, kind, segment, role)] = error

    def _write_lost(self) -> None:
        """Owe what could not be made: it is tried again, and heals when it can.

        What nobody has any more marks its blob and stands in the report; what is only
        out of reach keeps the member from being in sync.
        """
        if not self._lost:
            return
        with transaction() as session:
            maps.lock(session)
            live = supply.attempts(session, {lost.blob for lost in self._lost})
            lost = {what: e for what, e in self._lost.items() if what.blob in live}
            rows = [self._debt(w, live[w.blob], error) for w, error in lost.items()]
            debts.add(session, rows)
            damaged = {w.blob: e for w, e in lost.items() if isinstance(e, BlobDamaged)}
            session.execute(
                update(Blob)
                .where(Blob.uuid.in_(list(damaged)), Blob.state == BlobState.LIVE)
                .values(damaged=True),
                execution_options={"synchronize_session": False},
            )
        self._step.report = [
            {"blob": blob.hex, "why": str(error)} for blob, error in damaged.items()
        ]

    def _debt(self, lost: "_Lost", attempt: int, error: RaidError) -> dict[str, Any]:
        hopeless = isinstance(error, BlobDamaged)
        return {
            "member_uuid": self._claim.member,
            "attempt": attempt,
            "reason": Reason.DAMAGED if hopeless else Reason.AWAY,
            **asdict(lost),
        }
