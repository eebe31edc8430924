"""Sweep: find the objects that no row accounts for, and move them to quarantine.

Killed writers, paused instances that woke up and encodings under an attempt that was
given up leave objects that nobody will ever ask for. One is removed only when

    a  it was unknown in two scans that lie far enough apart, however the clock jumped,
    b  it is old by the store's clock, and is the same that was seen at first,
    c  every member could be reached in both scans,
    d  the heads of all members were those of the database.

What comes by itself removes; whoever asks says with `delete` whether it may.
The 256 first bytes of uuids are the units of the scan: the cursor is the next of them,
and they are what is counted as the job's objects.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, delete, insert, select, update

from raid.array import Array
from raid.errors import MemberError
from raid.keys import OBJECTS, TOMBSTONES, parse_key
from raid.member import ObjectInfo
from storage import history, maps
from storage.agreement import disagreement
from storage.clock import AHEAD, earliest, latest
from storage.db import db, release, snapshot, transaction
from storage.errors import NotNow
from storage.jobs import runner
from storage.jobs.runner import Claim, GiveUp, Step
from storage.known import Known, rows_of
from storage.models import Job, JobKind, MemberRow, Orphan

APART_SECONDS = 24 * 3600.0
AGE_SECONDS = 24 * 3600.0
PATIENCE_SECONDS = 300.0
PREFIXES = 256
_ORPHANS = cast(Table, Orphan.__table__)
_OWN = (
    _ORPHANS.c.member_uuid == bindparam("own_member"),
    _ORPHANS.c.key == bindparam("own_key"),
)
_LOG = logging.getLogger("holdfast.jobs")
_PLAIN = {"synchronize_session": False}


@dataclass(frozen=True)
class Found:
    """An object that no row accounts for."""

    slot: int
    member: UUID
    info: ObjectInfo
    since: datetime
    ripe: bool = False

    @property
    def modified_at(self) -> datetime:
        """Return when it was written, by the store's clock."""
        return datetime.fromtimestamp(self.info.modified, UTC)

    def told(self, what: str) -> dict[str, Any]:
        """Return its row in the job's report."""
        return {
            "slot": self.slot,
            "member": str(self.member),
            "key": self.info.key,
            "size": self.info.size,
            "since": self.since.isoformat(),
            "what": what,
        }


class Sweep:
    """The work of the job; see the module's text."""

    def __init__(self) -> None:
        # Since when a job has waited here for the array to be as it must be.
        self._waits: dict[int, float] = {}

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:  # noqa: ARG002
        """Refuse at once what needs a member that is away."""
        if why := _away(array):
            raise GiveUp(why)
        return PREFIXES, 0

    def _insist(self, claim: Claim, array: Array) -> None:
        """Wait a while for the array to be as it must be, and then give up.

        A head is late for moments whenever the worker is about to write it.
        """
        why = _why_not(array)
        if why is None:
            self._waits.pop(claim.id, None)
            return
        now = time.monotonic()
        if now - self._waits.setdefault(claim.id, now) < PATIENCE_SECONDS:
            raise NotNow(why)
        del self._waits[claim.id]
        raise GiveUp(why)

    def step(self, claim: Claim, array: Array) -> Step:
        """Scan some of the prefixes."""
        self._insist(claim, array)
        step = Step()
        first = int(claim.cursor or "0")
        while first < PREFIXES:
            _scan(claim, array, first, step)
            first += 1
            step.objects += 1
            if not claim.in_time():
                break
        step.cursor, step.done = str(first), first >= PREFIXES
        return step

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Forget what was seen on members that are no longer in use, and tell."""
        used = select(MemberRow.uuid).where(MemberRow.slot.is_not(None))
        session.execute(
            delete(Orphan).where(Orphan.member_uuid.not_in(used)),
            execution_options=_PLAIN,
        )
        swept = job.counts.get("removed", 0)
        if swept:
            size = job.counts.get("removed_bytes", 0)
            history.note(session, "orphans_swept", objects=swept, bytes=size)


def _why_not(array: Array) -> str | None:
    """Return why nothing may be called an orphan now, in a sentence."""
    try:
        # A member may go while its head is looked at, so that is asked last, too.
        return _away(array) or disagreement(array) or _away(array)
    except MemberError as error:
        return f"A sweep needs every member. {error} Nothing was removed."


def _away(array: Array) -> str | None:
    away = ", ".join(array.label(entry.slot) for entry in array.away())
    if not away:
        return None
    return (
        f"A sweep needs every member, and this is away: {away}. Nothing was removed. "
        "Bring it back or replace it; then sweep again."
    )


def _scan(claim: Claim, array: Array, first: int, step: Step) -> None:
    """Scan one first byte on all members: the list, then the rows."""
    listed = _list(array, f"{first:02x}")
    with snapshot() as connection:
        rows = rows_of(connection, first)
    known = Known(array, rows)
    unknown = []
    for slot, infos in listed.items():
        step.count("listed", len(infos))
        for info in infos:
            key = parse_key(info.key)
            if key is None:
                step.count("strangers")  # not a name of ours, so not ours to remove
            elif not known.has(slot, info.key, key):
                unknown.append(Found(slot, array.uuid_of(slot), info, latest()))
    if known.unread:
        step.count("unread", known.unread)
    _settle(claim, array, step, _remember(claim, array, first, unknown))


def _list(array: Array, byte: str) -> Mapping[int, list[ObjectInfo]]:
    """List one first byte on every member; a single one that fails ends the step."""

    def on_slot(slot: int) -> list[ObjectInfo]:
        with array.using(slot) as member:
            found = list(member.list(f"{OBJECTS}{byte}/"))
            return found + list(member.list(f"{TOMBSTONES}{byte}/"))

    slots = [entry.slot for entry in array.map.slots]
    return dict(zip(slots, array.executor.map(on_slot, slots), strict=True))


def _remember(
    claim: Claim, array: Array, first: int, unknown: list[Found]
) -> list[Found]:
    """Write down what is unknown, and return it with what was seen of it before.

    What is known again, or gone, is forgotten; what was written anew begins anew.
    """
    before = _seen_before(array, first)
    if not before and not unknown:
        return []
    now, result, new, again = earliest(), [], [], []
    for one in unknown:
        seen = before.pop((one.member, one.info.key), None)
        if seen is not None and _is_same(one, seen, now):
            ripe = _is_ripe(claim, now, seen[0], one.info)
            result.append(Found(one.slot, one.member, one.info, seen[0], ripe))
            again.append((one.member, one.info.key))
            continue
        if seen is not None:
            before[one.member, one.info.key] = seen
        result.append(one)
        new.append(one)
    with transaction() as session:
        _forget(session, before)
        if again:
            seen_again = update(_ORPHANS).where(*_OWN).values(last_seen_at=now)
            session.execute(seen_again, [_own(*key) for key in again])
        if new:
            session.execute(insert(_ORPHANS), [_row(one) for one in new])
    return result


_Before = tuple[datetime, int, datetime]
_Seen = dict[tuple[UUID, str], _Before]


def _is_same(one: Found, seen: "_Before", now: datetime) -> bool:
    """Tell whether this was seen before, and not by a clock that was far ahead."""
    since, *what = seen
    return what == [one.info.size, one.modified_at] and since <= now + AHEAD


def _seen_before(array: Array, first: int) -> _Seen:
    members = [entry.member for entry in array.map.slots]
    starts = [f"{area}{first:02x}/" for area in (OBJECTS, TOMBSTONES)]
    rows = db.session.execute(
        select(_ORPHANS).where(
            _ORPHANS.c.member_uuid.in_(members),
            _ORPHANS.c.key.startswith(starts[0]) | _ORPHANS.c.key.startswith(starts[1]),
        )
    ).all()
    release()
    return {
        (row.member_uuid, row.key): (row.first_seen_at, row.size, row.modified_at)
        for row in rows
    }


def _is_ripe(claim: Claim, now: datetime, since: datetime, info: ObjectInfo) -> bool:
    apart = float(claim.params.get("apart_seconds", APART_SECONDS))
    age = float(claim.params.get("age_seconds", AGE_SECONDS))
    return (now - since).total_seconds() >= apart and (
        now.timestamp() - info.modified >= age
    )


def _own(member: UUID, key: str) -> dict[str, Any]:
    return {"own_member": member, "own_key": key}


def _row(one: Found) -> dict[str, Any]:
    return {
        "member_uuid": one.member,
        "key": one.info.key,
        "size": one.info.size,
        "modified_at": one.modified_at,
        "first_seen_at": one.since,
        "last_seen_at": one.since,
    }


def _forget(session: maps.AnySession, gone: Iterable[tuple[UUID, str]]) -> None:
    rows = [_own(*key) for key in gone]
    if rows:
        session.execute(delete(_ORPHANS).where(*_OWN), rows)


def _settle(claim: Claim, array: Array, step: Step, orphans: list[Found]) -> None:
    """Count and report the orphans, and remove those that may go."""
    removed = []
    failing: set[int] = set()
    for one in orphans:
        step.count("orphans")
        step.count("orphan_bytes", one.info.size)
        what = "kept" if one.ripe else "young"
        if one.ripe and _may_remove(claim) and one.slot not in failing:
            if _set_aside(array, one):
                removed.append((one.member, one.info.key))
                step.count("removed")
                step.count("removed_bytes", one.info.size)
                what = "removed"
            else:
                failing.add(one.slot)
        step.report.append(one.told(what))
    if removed:
        with transaction() as session:
            _forget(session, removed)


def _may_remove(claim: Claim) -> bool:
    return bool(claim.params.get("delete", True))


def _set_aside(array: Array, one: Found) -> bool:
    try:
        with array.using(one.slot) as member:
            member.set_aside(one.info.key)
    except MemberError as error:
        _LOG.warning("An orphan can't be moved to quarantine: %s", error)
        return False
    fields = {"slot": one.slot, "object": one.info.key, "bytes": one.info.size}
    _LOG.info("An orphan was moved to quarantine.", extra={"fields": fields})
    return True


runner.register(JobKind.SWEEP, Sweep())
