"""What pages and commands show of the array. Nothing here asks a member."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from raid.array import ArrayState
from raid.member import UNLIMITED, Space
from raid.pace import Hedges
from raid.superblock import StoredState
from storage import activity, domains, glossary, kept, names, outlook, watch, words
from storage.db import db, release
from storage.journal import state
from storage.models import ArrayRow, Blob, BlobState, Debt, MemberRow, Reason
from storage.outlook import Fate, Outlook
from storage.runtime import runtime
from storage.snapshot import Snapshot


@dataclass(frozen=True)
class Banner:
    """What everybody is told while the array is not clean."""

    state: str
    sentence: str


@dataclass(frozen=True)
class MemberStatus:
    """One member: what the database holds it for, and what was seen of it last."""

    slot: int | None
    uuid: str
    url: str
    state: str
    observed: str | None = None
    owed: int = 0
    kept: int = 0
    problem: str | None = None
    total: int | None = None
    free: int | None = None
    label: str = ""
    away: bool = False
    fate: Fate | None = None

    @property
    def meaning(self) -> str:
        """Return what the word of its state means."""
        seen = glossary.OBSERVED_STATES.get(self.observed or "")
        term = seen or glossary.STORED_STATES.get(self.state)
        return term.meaning if term else ""

    @property
    def keeps(self) -> str:
        """Return what it keeps of purged files, in a sentence."""
        return words.keeps(self.kept)

    @property
    def place(self) -> str:
        """Return the address without the scheme of local folders."""
        return self.url.removeprefix("file://").removeprefix("file:")

    @property
    def used(self) -> int | None:
        """Return how much of the member's room is taken, by us and by others."""
        if self.total is None or self.free is None:
            return None
        return self.total - self.free


@dataclass(frozen=True)
class ArrayStatus:
    """The array as the page and `array status` show it."""

    uuid: str
    level: str
    state: str
    sentence: str
    members: list[MemberStatus]
    blobs: int
    bytes: int
    at_risk: int
    damaged: int
    width: int
    k: int
    m: int
    away: int
    event: int
    readonly: bool = False
    jobs: list[activity.JobLine] = field(default_factory=list)
    warnings: list[domains.Shared] = field(default_factory=list)
    upkeep: activity.Upkeep | None = None
    outlook: Outlook | None = None
    hedges: Hedges = field(default_factory=Hedges)

    @property
    def needs_rebuild(self) -> bool:
        """Tell whether a member lacks something and no job is giving it."""
        filled = {job.slot for job in self.jobs if job.slot is not None}
        return any(
            member.state == StoredState.REBUILDING and member.slot not in filled
            for member in self.members
            if member.slot is not None
        )

    @property
    def tolerates(self) -> int:
        """Return how many members may be lost."""
        return self.m

    @property
    def owed(self) -> int:
        """Return how many objects all members are owed together."""
        return sum(member.owed for member in self.members)

    def as_json(self) -> dict[str, Any]:
        """Return what `array status --json` prints."""
        keys = ("uuid", "level", "state", "sentence", "blobs", "bytes")
        return {
            **{key: getattr(self, key) for key in (*keys, "at_risk", "damaged")},
            "unreadable": self.outlook.unreadable if self.outlook else 0,
            "members": [asdict(member) for member in self.members],
            "jobs": [job.as_json() for job in self.jobs],
            "warnings": [warning.sentence for warning in self.warnings],
            **(self.upkeep.as_json() if self.upkeep else {}),
        }


def _seen() -> Snapshot | None:
    own = runtime()
    watch.start(own)
    # One request at a time may have to read the map. If those that wait for it held
    # all connections, it would get none.
    release()
    return own.snapshot()


def banner() -> Banner | None:
    """Return what everybody should know about the array now, or None."""
    seen = _seen()
    if seen is None:
        return Banner(ArrayState.FAILED, words.NO_ARRAY)
    if seen.state == ArrayState.CLEAN:
        return None
    return Banner(seen.state.value, _for_everybody(seen))


def _for_everybody(seen: Snapshot) -> str:
    facts = _facts(seen, outlook.current(runtime(), seen))
    if seen.state == ArrayState.READONLY:
        return words.readonly(facts)
    if seen.state == ArrayState.FAILED:
        return words.failed(facts)
    return words.degraded(facts)


def _facts(seen: Snapshot, ahead: Outlook) -> words.Facts:
    returning = [e for e in seen.map.slots if e.state != StoredState.IN_SYNC]
    # A stale member that answers is being taken back; it is not away.
    back = [e for e in returning if e.slot not in seen.away and _is_well(seen, e.slot)]
    writable = len({*seen.writable, *(entry.slot for entry in back)})
    new = {entry.slot for entry in back} & ahead.rebuilding
    return words.Facts(
        width=len(seen.map.slots),
        tolerates=seen.map.shape.m,
        away=len(seen.away),
        writable=writable,
        returning=len(back),
        refuse=seen.degraded_write == "refuse",
        rebuilding=len(new),
        unreadable=ahead.unreadable,
        lost=ahead.lost_for_good(_ended(seen)),
        in_pairs=ahead.in_pairs,
    )


def _ended(seen: Snapshot) -> frozenset[int]:
    """Return the slots whose members will never be used again."""
    retired = (e.slot for e in seen.map.slots if e.state == StoredState.RETIRED)
    return frozenset(retired)


def _is_well(seen: Snapshot, slot: int) -> bool:
    return seen.observed[slot] is None


def status() -> ArrayStatus | None:
    """Return the state of the array as this process saw it last; None without one."""
    seen, own = _seen(), runtime()
    warnings = domains.warnings(own)  # as long as no transaction is open
    row = db.session.scalars(select(ArrayRow)).one_or_none()
    if seen is None or row is None:
        return None
    shape = seen.map.shape
    ahead = outlook.current(own, seen)
    blobs, size, at_risk, damaged = totals()
    return ArrayStatus(
        uuid=str(row.uuid),
        level=row.level,
        state=seen.state.value,
        sentence=_for_administrators(seen, row, ahead),
        members=_members(seen, ahead),
        blobs=blobs,
        bytes=size,
        at_risk=at_risk,
        damaged=damaged,
        width=row.width,
        k=shape.k,
        m=shape.m,
        away=len(seen.away),
        event=row.event,
        readonly=row.readonly,
        jobs=activity.going_on(),
        warnings=warnings,
        upkeep=activity.upkeep(),
        outlook=ahead,
        hedges=own.health.pace.hedges,
    )


def without(slot: int) -> str:
    """Return what it would cost if the member of a slot were not used any more."""
    seen = outlook.looked_at()
    assert seen is not None  # its member was just found
    ahead = outlook.count(seen)
    stores = runtime().array().survives({*seen.away, slot})
    return words.without(ahead.fate(slot).lost, at_most=ahead.at_most, stores=stores)


def given_up(slot: int) -> str:
    """Return what it would cost if the member of a slot were ended for ever."""
    seen = outlook.looked_at()
    assert seen is not None  # its member was just found
    ahead = outlook.count(seen)
    return words.given_up(ahead.fate(slot).lost, at_most=ahead.at_most)


def _for_administrators(seen: Snapshot, row: ArrayRow, ahead: Outlook) -> str:
    if seen.state == ArrayState.CLEAN:
        return words.clean(row.width, seen.map.shape.m, ahead.below_promise)
    told = _for_everybody(seen)
    if seen.state == ArrayState.READONLY:
        why = words.NEWER if seen.newer else row.readonly_why
        return why or told
    if seen.state == ArrayState.DEGRADED and ahead.worst:
        told += " " + words.one_more(ahead.worst, at_most=ahead.at_most)
    return told


def _members(seen: Snapshot, ahead: Outlook) -> list[MemberStatus]:
    owed: dict[UUID, int] = {
        row[0]: row[1]
        for row in db.session.execute(
            select(Debt.member_uuid, func.count())
            .where(Debt.reason != Reason.KEPT)
            .group_by(Debt.member_uuid)
        )
    }
    for uuid, entries in state.owed().items():
        owed[uuid] = owed.get(uuid, 0) + entries
    rows = sorted(names.members(), key=_order)
    labels, stays = names.labels(rows), kept.counts()
    return [
        replace(
            _member(seen, ahead, row),
            owed=owed.get(row.uuid, 0),
            kept=stays.get(row.uuid, 0),
            label=labels[row.uuid],
        )
        for row in rows
    ]


def _order(row: MemberRow) -> tuple[Any, ...]:
    """Sort by slot, then replacements, then spares."""
    none = row.slot is None
    return none, row.slot or 0, row.target_slot is None, row.target_slot or 0, row.url


def _member(seen: Snapshot, ahead: Outlook, row: MemberRow) -> MemberStatus:
    known = (
        _in_slot(seen, ahead, row.slot) if row.slot is not None else _beside(seen, row)
    )
    return MemberStatus(
        slot=row.slot,
        uuid=str(row.uuid),
        state=row.state,
        **{"url": row.url, **known},
    )


def _in_slot(seen: Snapshot, ahead: Outlook, slot: int) -> dict[str, Any]:
    found = _seen_of(
        seen.observed.get(slot), seen.problems.get(slot), seen.spaces.get(slot)
    )
    found |= {"away": slot in seen.away, "fate": ahead.fate(slot)}
    return found | ({"url": seen.urls[slot]} if slot in seen.urls else {})


def _beside(seen: Snapshot, row: MemberRow) -> dict[str, Any]:
    """Return what was seen of a spare, or of a member on its way into a slot."""
    found = seen.beside.get(row.uuid)
    if found is None:
        return {}
    return _seen_of(found.observed, found.problem, found.space)


def _seen_of(
    observed: str | None, problem: str | None, space: Space | None
) -> dict[str, Any]:
    room = space if space and space.total < UNLIMITED else None
    return {
        "observed": observed,
        "problem": problem,
        "total": room.total if room else None,
        "free": room.free if room else None,
    }


def totals() -> tuple[int, int, int, int]:
    """Count the live blobs, their bytes, those at risk and those damaged."""
    row = db.session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(Blob.size), 0),
            func.count().filter(Blob.at_risk),
            func.count().filter(Blob.damaged),
        ).where(Blob.state == BlobState.LIVE)
    ).one()
    return row[0], int(row[1]), row[2], row[3]
