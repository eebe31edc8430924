"""The recovery drill: random files, each read with every set of m members left out.

That a file can be rebuilt is proved by doing it. Members that are away count among
those left out; what could not be tried because of them is said and not proved.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from math import comb
from typing import Any
from uuid import UUID

from blake3 import blake3
from sqlalchemy import func, select

from raid.array import Array
from raid.errors import RaidError
from raid.manifest import Manifest
from raid.reader import read
from raid.superblock import StoredState
from storage import history, maps
from storage.blobref import manifest_of, reference
from storage.db import db, release
from storage.jobs import runner
from storage.jobs.runner import Claim, Step
from storage.models import Blob, BlobState, Job, JobKind
from storage.runtime import runtime

FILES = 20
MOST_BYTES = 1 << 30
"""How much is read at most in one drill, all readings together."""


class Drill:
    """The job; see the module's text."""

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:  # noqa: ARG002
        """Return how many files will be read; their sizes differ by the draw."""
        count = db.session.scalar(
            select(func.count()).where(Blob.state == BlobState.LIVE)
        )
        release()
        return min(int(count or 0), _files(claim)), 0

    def step(self, claim: Claim, array: Array) -> Step:
        """Draw the files, or read some of them."""
        if claim.cursor is None:
            return Step(cursor=json.dumps(_draw(_files(claim))))
        left, step = json.loads(claim.cursor), Step()
        budget = MOST_BYTES // _files(claim)
        while left:
            _read_one(array, UUID(left.pop()), budget, step)
            if not claim.in_time():
                break
        step.cursor = json.dumps(left)
        step.done = not left
        return step

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Say what failed, and what could not be tried."""
        skipped = job.counts.get("unproved", 0)
        if skipped:
            job.problem = (
                f"{skipped} readings could not be tried, because members are away or "
                "not in sync, or because files survive fewer losses until a reshape "
                "has written them anew; what they would have proved is not proved."
            )
        if job.counts.get("failures"):
            history.note(session, "drill_failed", failures=job.counts["failures"])


def is_well(job: Job) -> bool:
    """Tell whether a drill proved all that it set out to prove."""
    return not (job.counts.get("failures") or job.counts.get("unproved"))


def _files(claim: Claim) -> int:
    return int(claim.params.get("files", FILES))


def _draw(count: int) -> list[str]:
    """Return random live files, each once: uuids are random, so places among them.

    Among few files the same ones are met again and again, so those are drawn from a
    list of them.
    """
    wanted = select(Blob.uuid).where(Blob.state == BlobState.LIVE)
    few = db.session.scalars(wanted.limit(10 * count)).all()
    if len(few) < 10 * count:
        release()
        return [
            uuid.hex
            for uuid in secrets.SystemRandom().sample(few, min(count, len(few)))
        ]
    drawn: dict[UUID, None] = {}
    for _ in range(4 * count):
        place = UUID(bytes=secrets.token_bytes(16))
        found = db.session.scalar(
            wanted.where(Blob.uuid >= place).order_by(Blob.uuid).limit(1)
        ) or db.session.scalar(wanted.order_by(Blob.uuid).limit(1))
        if found is not None:
            drawn[found] = None
        if found is None or len(drawn) == count:
            break
    release()
    return [uuid.hex for uuid in drawn]


@dataclass
class _Reading:
    """The hashes that the readings of one file gave, and which failed."""

    hashes: set[bytes] = field(default_factory=set)
    failed: list[tuple[tuple[int, ...], str]] = field(default_factory=list)


def _read_one(array: Array, uuid: UUID, budget: int, step: Step) -> None:
    """Read one file with every set left out, and compare what came."""
    step.objects += 1
    blob = _live(uuid)
    if blob is None:
        return
    sets = list(_left_out(array))
    parts = _parts(array, blob, budget // max(1, len(sets)))
    whole = parts == [(0, blob.size)]
    found = _Reading()
    for lost in sets:
        _read_without(array, blob, parts, lost, found, step)
    width = len(array.map.slots)
    step.count("unproved", comb(width, array.map.shape.m) - len(sets))
    expected = blob.sha256 if whole else None
    if len(found.hashes) > 1:
        found.failed.append(((), "The readings differ."))
    elif expected and found.hashes - {expected}:
        found.failed.append(((), "The readings differ from the receipt's SHA-256."))
    if _live(uuid) is None:
        return  # removed for good while it was read
    step.count("files")
    step.count("failures", len(found.failed))
    step.report += [
        {"blob": str(uuid), "without": " ".join(map(str, lost)), "why": why}
        for lost, why in found.failed
    ]


def _left_out(array: Array) -> Iterator[tuple[int, ...]]:
    """Yield every set of m slots that holds those that are away."""
    away = {entry.slot for entry in array.away()}
    slots = [entry.slot for entry in array.map.slots]
    for lost in combinations(slots, array.map.shape.m):
        if away <= set(lost):
            yield lost


def _parts(array: Array, blob: Blob, budget: int) -> list[tuple[int, int]]:
    """Return what of a file is read: all, or random segments of a large one."""
    if blob.size <= budget:
        return [(0, blob.size)]
    try:
        manifest = manifest_of(runtime(), array, reference(blob))
    except RaidError:
        return [(0, min(blob.size, budget))]  # the readings will say why
    return list(_random_segments(manifest, budget))


def _random_segments(manifest: Manifest, budget: int) -> Iterator[tuple[int, int]]:
    numbers = list(range(len(manifest.segments)))
    while numbers and budget > 0:
        number = numbers.pop(secrets.randbelow(len(numbers)))
        start, stop = manifest.offsets[number], manifest.offsets[number + 1]
        stop = min(stop, start + budget)
        budget -= stop - start
        yield start, stop


def _read_without(
    array: Array,
    blob: Blob,
    parts: list[tuple[int, int]],
    lost: tuple[int, ...],
    found: _Reading,
    step: Step,
) -> None:
    """Read the parts of a file as if some members were away."""
    whole = parts == [(0, blob.size)] and blob.sha256
    hasher: Any = hashlib.sha256() if whole else blake3()
    own, rest = runtime(), array.without(lost)
    try:
        for start, stop in parts:
            for chunk in read(
                rest, reference(blob), start, stop, on_damage=own.note_damage
            ):
                hasher.update(chunk)
                step.bytes += len(chunk)
    except RaidError as error:
        if _is_explained(array, lost) or _awaits_reshape(blob, lost):
            step.count("unproved")
        else:
            found.failed.append((lost, str(error)))
        return
    step.count("readings")
    found.hashes.add(hasher.digest())


def _is_explained(array: Array, lost: tuple[int, ...]) -> bool:
    """Tell whether another member is away, or is not in sync and may lack things."""
    return any(
        entry.slot not in lost
        and (
            entry.state is not StoredState.IN_SYNC
            or array.health.unreachable(entry.slot)
        )
        for entry in array.map.slots
    )


def _awaits_reshape(blob: Blob, lost: tuple[int, ...]) -> bool:
    """Tell whether a file was written when less was promised, and keeps its shape."""
    return blob.redundancy is not None and blob.redundancy < len(lost)


def _live(uuid: UUID) -> Blob | None:
    blob = db.session.get(Blob, uuid, populate_existing=True)
    release()
    return blob if blob is not None and blob.state == BlobState.LIVE else None


runner.register(JobKind.DRILL, Drill())
