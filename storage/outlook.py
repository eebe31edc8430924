"""What if this dies? How many files each member's death would cost, by rows alone.

Blobs that lie alike are one group, so the database counts and this module only weighs
a few groups. A group is weighed by its weakest segment, and what a member is owed
counts as gone wherever it lies in the blob: a number of lost files is never too low.
Blobs whose place is not known yet (an older release wrote them) are taken at their
worst.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, ColumnElement, case, distinct, func, literal, select
from sqlalchemy import cast as sql_cast

from raid.array import ArrayMap
from raid.superblock import StoredState
from storage.db import db, release
from storage.errors import NoArray
from storage.jobs.filling import Cursor
from storage.models import Blob, BlobState, Debt, DebtKind, Job, JobKind, JobState
from storage.runtime import Runtime, runtime
from storage.shares import slots_of
from storage.snapshot import Snapshot

KEEP_SECONDS = 5.0
"""How long a count is good for; longer where counting takes long."""

_SHARE_OF_TIME = 20
_ROLES_OF_A_PAIR = 2


@dataclass(frozen=True)
class Group:
    """Blobs that lie alike: `slots` is None when every member holds the whole of them.

    `redundancy` is how many of the slots may go, of each set in `apart` where segments
    lie on different ones. `lacking` are the slots whose members are owed a part, and
    `known` is False when the rows do not say where they lie.
    """

    slots: frozenset[int] | None
    redundancy: int
    lacking: frozenset[int]
    files: int
    share: int = 0
    known: bool = True
    apart: tuple[frozenset[int], ...] = ()

    def left(self, width: int, gone: Collection[int]) -> int:
        """Return how many more may go when some are gone; below zero it is lost."""
        missing = self.lacking.union(gone)
        if self.slots is None:
            return width - len(missing) - 1
        parts = self.apart or (self.slots,)
        return self.redundancy - max(len(part & missing) for part in parts)


@dataclass(frozen=True)
class Fate:
    """What becomes of the files when members are gone for good.

    `degraded` files can be read and have less redundancy than the level promises;
    `moved` is how many bytes a rebuild of the slot would write.
    """

    lost: int
    degraded: int
    untouched: int
    moved: int


@dataclass(frozen=True)
class Outlook:
    """The groups, and who is gone already; everything else is arithmetic."""

    groups: tuple[Group, ...]
    slots: frozenset[int]
    promised: int
    gone: frozenset[int]
    in_pairs: bool = False
    rebuilding: frozenset[int] = frozenset()
    leaving: frozenset[int] = frozenset()

    def fate(self, slot: int) -> Fate:
        """Weigh the death of the member in a slot, beside those that are gone now."""
        return self._weigh(self.gone | {slot}, slot)

    def _weigh(self, gone: frozenset[int], slot: int | None = None) -> Fate:
        lost = degraded = untouched = moved = 0
        for group in self.groups:
            left = group.left(len(self.slots), gone)
            if left < 0:
                lost += group.files
                continue
            if left < self.promised:
                degraded += group.files
            else:
                untouched += group.files
            moved += self._moved(group, slot)
        return Fate(lost, degraded, untouched, moved)

    def _moved(self, group: Group, slot: int | None) -> int:
        """Return what a slot holds of a group: of pairs on many slots, a part."""
        if group.slots is None or slot not in group.slots:
            return 0
        if self.in_pairs and len(group.slots) > _ROLES_OF_A_PAIR:
            return group.share * _ROLES_OF_A_PAIR // len(group.slots)
        return group.share

    @property
    def unreadable(self) -> int:
        """Return how many files can't be read now."""
        return self._weigh(self.gone).lost

    def lost_for_good(self, ended: frozenset[int]) -> int:
        """Return how many files need more than can come back when some are ended."""
        return self._weigh(ended).lost

    @property
    def below_promise(self) -> int:
        """Return how many files have less redundancy than the level promises."""
        now = self._weigh(self.gone)
        return now.lost + now.degraded

    @property
    def worst(self) -> int:
        """Return how many more files the worst death of one more member would cost."""
        present = self.slots - self.gone
        most = max((self.fate(slot).lost for slot in present), default=0)
        return max(0, most - self.unreadable)

    @property
    def unknown(self) -> int:
        """Return how many files are taken at their worst."""
        return sum(group.files for group in self.groups if not group.known)

    @property
    def at_most(self) -> bool:
        """Tell whether fewer files may be lost than is said."""
        return self.unknown > 0 or any(map(self._is_vague, self.groups))

    def _is_vague(self, group: Group) -> bool:
        """Tell whether more of a group may be there than is counted on."""
        if group.slots is None:
            return not self.leaving.isdisjoint(group.lacking)
        sets = group.apart or ((group.slots,) if group.slots else ())
        return self.in_pairs and any(len(one) > _ROLES_OF_A_PAIR for one in sets)


def count(seen: Snapshot) -> Outlook:
    """Ask the database for the groups: three queries, whatever the number of files."""
    shape, unfilled = seen.map.shape, _unfilled(seen.map)
    return Outlook(
        groups=tuple(_groups(seen.map, unfilled)),
        slots=frozenset(entry.slot for entry in seen.map.slots),
        promised=shape.m,
        gone=frozenset(seen.away),
        in_pairs=seen.map.level.value == "raid10",
        rebuilding=frozenset(unfilled),
        leaving=_leaving(seen.map),
    )


def looked_at() -> Snapshot | None:
    """Return what is known, after a look at the members if there was none yet.

    What is decided for ever must not hope for members that nobody has looked at.
    """
    own = runtime()
    try:
        own.array()
    except NoArray:
        return None
    return own.snapshot()


def is_needed(slot: int) -> bool:
    """Tell whether a file is, or may be, lost with what the member of a slot holds."""
    seen = looked_at()
    needed = seen is None or count(seen).fate(slot).lost > 0
    release()
    return needed


def _unfilled(array: ArrayMap) -> dict[int, UUID | None]:
    """Return the slots that are being rebuilt, and which blob the rebuild is at.

    Blobs before it are there again; with None, none of them is.
    """
    new = {
        one.member: one.slot
        for one in array.slots
        if one.state in (StoredState.REBUILDING, StoredState.STALE)
    }
    rows = db.session.execute(
        select(Job.member_uuid, Job.state, Job.cursor)
        .where(Job.kind == JobKind.REBUILD, Job.member_uuid.in_(new))
        .order_by(Job.id)
    )
    found = {row.member_uuid: row for row in rows}
    return {
        new[member]: _reached(row.cursor)
        for member, row in found.items()
        if row.state != JobState.DONE
        and not (row.cursor and Cursor.read(row.cursor).late)
    }


def _reached(cursor: str | None) -> UUID | None:
    blob = Cursor.read(cursor).blob if cursor else None
    return UUID(blob) if blob else None


def _bits(unfilled: Mapping[int, UUID | None]) -> ColumnElement[int]:
    """Return, for a blob, the slots that the rebuild has not given it yet, as bits."""
    bits: ColumnElement[int] = literal(0, BigInteger)
    for slot, reached in unfilled.items():
        bit = literal(1 << slot, BigInteger)
        bits = bits + (
            bit if reached is None else case((Blob.uuid >= reached, bit), else_=0)
        )
    return bits.label("unfilled")


def _groups(array: ArrayMap, unfilled: Mapping[int, UUID | None]) -> list[Group]:
    """Count all live blobs by how they lie, then take out those that lack something.

    The first question is answered by an index alone unless a rebuild goes on, the
    second looks at debts only.
    """
    how = (Blob.slots, Blob.redundancy, _bits(unfilled))
    by = how if unfilled else how[:2]
    sums = (func.count(), func.coalesce(func.sum(Blob.share), 0))
    live = select(*how, *sums).where(Blob.state == BlobState.LIVE).group_by(*by)
    rest = {tuple(row[:3]): (row[3], int(row[4])) for row in db.session.execute(live)}
    groups = []
    owed = _owed(array)
    # Who is owed a manifest matters where the bytes are inside of it.
    lacking = case((Blob.slots == "", owed.c.manifests), else_=owed.c.shards)
    some = live.join(owed, owed.c.blob == Blob.uuid).where(lacking != 0)
    for row in db.session.execute(
        some.add_columns(lacking.label("lacking")).group_by(lacking)
    ):
        kind, files, share = tuple(row[:3]), row[3], int(row[4])
        groups.append(_group(array, kind, row.lacking, files, share))
        before = rest.get(kind, (0, 0))
        rest[kind] = (before[0] - files, before[1] - share)
    for kind, (files, share) in rest.items():
        if files > 0:
            groups.append(_group(array, kind, 0, files, share))
    return groups


def _leaving(array: ArrayMap) -> frozenset[int]:
    return frozenset(one.slot for one in array.slots if one.leaving)


def _owed(array: ArrayMap) -> Any:
    """Return, by blob, the slots that are owed shards and manifests, as bits."""
    bit = case(
        {one.member: literal(1 << one.slot, BigInteger) for one in array.slots},
        value=Debt.member_uuid,
        else_=0,
    )

    def bits(kind: DebtKind) -> Any:
        asked = distinct(case((Debt.kind == kind, bit), else_=0))
        return sql_cast(func.sum(asked), BigInteger)

    return (
        select(
            Debt.blob,
            bits(DebtKind.SHARD).label("shards"),
            bits(DebtKind.MANIFEST).label("manifests"),
        )
        .where(Debt.kind.in_((DebtKind.SHARD, DebtKind.MANIFEST)))
        .group_by(Debt.blob)
        .subquery()
    )


def _group(
    array: ArrayMap, kind: tuple[Any, ...], owed: int, files: int, share: int
) -> Group:
    slots, redundancy, unfilled = kind
    everyone = [one.slot for one in array.slots]
    bits = owed | unfilled
    lacking = frozenset(slot for slot in everyone if bits >> slot & 1)
    if slots is None:
        worst = (frozenset(everyone), array.shape.m)
        return Group(*worst, lacking, files, share, known=False)
    if slots == "":
        # One that leaves has older files and no newer ones; rows don't tell them apart.
        return Group(None, 0, lacking | _leaving(array), files)
    apart = slots_of(slots)
    held = frozenset().union(*apart)
    return Group(held, redundancy or 0, lacking, files, share, apart=apart)


@dataclass(frozen=True)
class _Kept:
    """A count, what it was made for, and until when it is good."""

    outlook: Outlook
    seen: tuple[Any, ...]
    until: float


_kept: WeakKeyDictionary[Runtime, _Kept] = WeakKeyDictionary()


def current(own: Runtime, seen: Snapshot) -> Outlook:
    """Return the outlook, counted anew at most every few seconds in a process.

    A count that took long is kept for longer, so that counting never takes more than
    a twentieth of the time; a change of the map or of who is away makes a new one.
    """
    now, what = time.monotonic(), (seen.map, seen.away)
    kept = _kept.get(own)
    if kept is not None and kept.seen == what and now < kept.until:
        return kept.outlook
    found = count(seen)
    done = time.monotonic()
    keep = max(KEEP_SECONDS, _SHARE_OF_TIME * (done - now))
    _kept[own] = _Kept(found, what, done + keep)
    return found


def forget(own: Runtime) -> None:
    """Count anew at the next use: this process changed something."""
    _kept.pop(own, None)
