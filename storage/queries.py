"""What pages and commands show of the array. Nothing here asks a member."""

from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from raid.array import ArrayState
from raid.superblock import StoredState
from storage import watch, words
from storage.db import db
from storage.journal import state
from storage.models import ArrayRow, Blob, BlobState, Debt, MemberRow
from storage.runtime import Snapshot, runtime


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
    observed: str | None
    owed: int
    problem: str | None = None
    total: int | None = None
    free: int | None = None

    @property
    def label(self) -> str:
        """Return the name of the member for people."""
        return "Spare" if self.slot is None else f"Member {self.slot}"

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
    jobs: list[Any] = field(default_factory=list)

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
        whole = asdict(self)
        keys = ("uuid", "level", "state", "sentence", "members", "blobs", "bytes")
        more = ("at_risk", "damaged", "jobs")
        return {key: whole[key] for key in (*keys, *more)}


def _seen() -> Snapshot | None:
    own = runtime()
    watch.start(own)
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
    if seen.state == ArrayState.READONLY:
        return words.READONLY
    facts = _facts(seen)
    if seen.state == ArrayState.FAILED:
        return words.failed(facts)
    return words.degraded(facts)


def _facts(seen: Snapshot) -> words.Facts:
    returning = [e for e in seen.map.slots if e.state != StoredState.IN_SYNC]
    # A stale member that answers is being taken back; it is not away.
    back = [e for e in returning if e.slot not in seen.away and _is_well(seen, e.slot)]
    writable = len({*seen.writable, *(entry.slot for entry in back)})
    return words.Facts(
        width=len(seen.map.slots),
        tolerates=seen.map.shape.m,
        away=len(seen.away),
        writable=writable,
        returning=len(back),
        refuse=seen.degraded_write == "refuse",
    )


def _is_well(seen: Snapshot, slot: int) -> bool:
    return seen.observed[slot] is None


def status() -> ArrayStatus | None:
    """Return the state of the array as this process saw it last; None without one."""
    seen = _seen()
    row = db.session.scalars(select(ArrayRow)).one_or_none()
    if seen is None or row is None:
        return None
    shape = seen.map.shape
    blobs, size, at_risk, damaged = _totals()
    return ArrayStatus(
        uuid=str(row.uuid),
        level=row.level,
        state=seen.state.value,
        sentence=_for_administrators(seen, row),
        members=_members(seen),
        blobs=blobs,
        bytes=size,
        at_risk=at_risk,
        damaged=damaged,
        width=row.width,
        k=shape.k,
        m=shape.m,
        away=len(seen.away),
        event=row.event,
    )


def _for_administrators(seen: Snapshot, row: ArrayRow) -> str:
    if seen.state == ArrayState.CLEAN:
        return words.clean(row.width, seen.map.shape.m)
    if seen.state == ArrayState.READONLY:
        return words.NEWER if seen.newer else row.readonly_why or words.READONLY
    return _for_everybody(seen)


def _members(seen: Snapshot) -> list[MemberStatus]:
    owed: dict[UUID, int] = {
        row[0]: row[1]
        for row in db.session.execute(
            select(Debt.member_uuid, func.count()).group_by(Debt.member_uuid)
        )
    }
    for uuid, entries in state.owed().items():
        owed[uuid] = owed.get(uuid, 0) + entries
    rows = db.session.scalars(select(MemberRow)).all()
    members = [_member(seen, row, owed.get(row.uuid, 0)) for row in rows]
    return sorted(members, key=lambda one: (one.slot is None, one.slot or 0))


def _member(seen: Snapshot, row: MemberRow, owed: int) -> MemberStatus:
    slot = -1 if row.slot is None else row.slot
    space = seen.spaces.get(slot)
    return MemberStatus(
        slot=row.slot,
        uuid=str(row.uuid),
        url=seen.urls.get(slot, row.url),
        state=row.state,
        observed=seen.observed.get(slot),
        owed=owed,
        problem=seen.problems.get(slot),
        total=space.total if space else None,
        free=space.free if space else None,
    )


def _totals() -> tuple[int, int, int, int]:
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
