"""Inventory: compare what a member holds with what it should hold.

It comes after a member was away, or is older than it was. Tombstones and debts are paid
first. Then its objects are listed and compared with the live blobs, both in the order
of the uuids, by key and length. What lacks becomes a debt, so only what changed is
copied. What belongs to a purged blob goes. What is merely unknown stays: finding out
what that is takes longer, and is the sweep's.
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select

from raid.array import Array
from raid.errors import (
    MemberError,
    ObjectKept,
    ObjectMissing,
    RaidError,
)
from raid.holdings import holdings
from raid.keys import OBJECTS, parse_key, tombstone_key
from raid.manifest import Manifest
from raid.reader import BlobRef
from storage import debts, kept, maps, supply, tombstones
from storage.blobref import manifest_of
from storage.db import db, release, transaction, utcnow
from storage.jobs import walk
from storage.jobs.runner import Claim, Step, register
from storage.jobs.seat import looked_through, seat_of
from storage.jobs.table import active
from storage.models import (
    NONE,
    Blob,
    BlobState,
    Debt,
    DebtKind,
    Job,
    JobKind,
    Reason,
    Upload,
)
from storage.runtime import Runtime, runtime

BATCH = 64
MOST_UNKNOWN = 1000
_FIRST = (JobKind.REBUILD, JobKind.REPLACE)

Lacking = tuple[UUID, DebtKind, int, int]


class Inventory:
    """The work of the job; the cursor is the last blob that was looked at."""

    def begin(self, claim: Claim, array: Array) -> tuple[int, int]:
        """Return how many blobs there are, and about how many bytes of them."""
        assert claim.slot is not None
        return walk.totals(claim.slot, array.map)

    def step(self, claim: Claim, array: Array) -> Step:
        """Look at what comes next."""
        seated, slot = seat_of(claim, array)
        if _must_wait(claim):
            return Step(cursor=claim.cursor, wait=1.0)
        return _Comparison(claim, seated, slot).go()

    def finish(self, session: maps.AnySession, job: Job) -> None:
        """Note that the member was looked at; what it lacks is owed by now."""
        job.total_bytes, job.total_objects = job.done_bytes, job.done_objects
        looked_through(session, job.member_uuid)


def _must_wait(claim: Claim) -> bool:
    """Tell whether tombstones or debts are due, or the member is still being filled."""
    assert claim.member is not None
    filling = any(active(db.session, kind, claim.member) for kind in _FIRST)
    due = db.session.scalar(
        select(Debt.id)
        .where(
            Debt.member_uuid == claim.member,
            Debt.reason == Reason.AWAY,
            Debt.tries == 0,
            Debt.due_at <= utcnow(),
        )
        .limit(1)
    )
    release()
    return filling or due is not None


class _Comparison:
    """One step: what a member holds beside what it should hold."""

    def __init__(self, claim: Claim, array: Array, slot: int) -> None:
        self._own: Runtime = runtime()
        self._claim = claim
        self._array = array
        self._slot = slot
        entry = array.map.entry(slot)
        self._leaving = entry is not None and entry.leaving
        self._after = UUID(claim.cursor) if claim.cursor else None
        self._keys = self._listed()
        self._next = next(self._keys, None)
        self._step = Step(cursor=claim.cursor)

    def go(self) -> Step:
        """Compare until the time is over or everything was looked at."""
        while True:
            batch = walk.live_blobs(walk.Range(self._after), BATCH)
            there = self._there(batch)
            if not batch:
                self._step.done = True
                break
            self._owe(self._lacks(batch, there))
            self._after = batch[-1].blob
            self._step.cursor = self._after.hex
            if not self._claim.in_time():
                break
        return self._step

    def _listed(self) -> Iterator[tuple[UUID, str, int]]:
        """Yield the objects of the blobs after the last one that was looked at."""
        first = self._after.bytes[0] if self._after else 0
        for byte in range(first, 256):
            with self._array.using(self._slot) as member:
                infos = list(member.list(f"{OBJECTS}{byte:02x}/"))
                if infos:
                    member.sync(f"{OBJECTS}{byte:02x}/")
            for info in infos:
                parsed = parse_key(info.key)
                if parsed is not None and _is_after(parsed.blob, self._after):
                    yield parsed.blob, info.key, info.size

    def _there(self, batch: Sequence[BlobRef]) -> dict[str, int]:
        """Return what is there of some blobs; deal with what lies between them."""
        known = {ref.blob for ref in batch}
        last = batch[-1].blob if batch else None
        there: dict[str, int] = {}
        unknown: dict[UUID, list[str]] = {}
        while self._next is not None and (last is None or self._next[0] <= last):
            blob, key, size = self._next
            if blob in known:
                there[key] = size
            else:
                unknown.setdefault(blob, []).append(key)
            self._next = next(self._keys, None)
            if len(unknown) >= MOST_UNKNOWN:
                self._let_go(unknown)
                unknown = {}
        self._let_go(unknown)
        return there

    def _lacks(
        self, refs: Sequence[BlobRef], there: Mapping[str, int]
    ) -> list[Lacking]:
        lacks: list[Lacking] = []
        found = self._array.executor.map(self._manifest, refs)
        for ref, manifest in zip(refs, found, strict=True):
            self._step.objects += 1
            if manifest is None:
                lacks.append((ref.blob, DebtKind.SHARD, NONE, NONE))
                continue
            for holding in holdings(manifest, self._slot):
                if self._leaving and holding.segment is None:
                    continue  # it is owed no manifests
                self._step.bytes += holding.length
                if there.get(holding.key) != holding.length:
                    lacks.append((ref.blob, *debts.name_of(holding)))
        return lacks

    def _manifest(self, ref: BlobRef) -> Manifest | None:
        """Return the manifest, or None: whoever pays the debt finds out why."""
        try:
            return manifest_of(self._own, self._array, ref)
        except RaidError:
            return None

    def _owe(self, lacks: list[Lacking]) -> None:
        if not lacks:
            return
        with transaction() as session:
            maps.lock(session)
            live = supply.attempts(session, {blob for blob, *_ in lacks})
            rows = [
                {
                    "member_uuid": self._claim.member,
                    "kind": kind,
                    "blob": blob,
                    "segment": segment,
                    "role": role,
                    "attempt": live[blob],
                    "reason": Reason.AWAY,
                }
                for blob, kind, segment, role in lacks
                if blob in live
            ]
            debts.add(session, rows)
        self._step.count("lacking", len(rows))

    def _let_go(self, unknown: Mapping[UUID, list[str]]) -> None:
        """Remove what belongs to purged blobs, and leave what is merely unknown."""
        if not unknown:
            return
        columns = select(Blob.uuid, Blob.state, Blob.attempt)
        rows = {
            row.uuid: row
            for row in db.session.execute(columns.where(Blob.uuid.in_(list(unknown))))
        }
        uploads = set(
            db.session.scalars(select(Upload.blob).where(Upload.blob.in_(unknown)))
        )
        release()
        for blob, keys in unknown.items():
            row = rows.get(blob)
            if row is not None and row.state == BlobState.PURGING:
                self._step.count("purged", self._owe_tombstone(blob))
            elif row is None and blob not in uploads and self._is_buried(blob):
                self._step.count("purged", self._remove(blob, keys))

    def _owe_tombstone(self, blob: UUID) -> int:
        """Let the purge, which is on its way, come to this member again."""
        with transaction() as session:
            maps.lock(session)
            row = session.scalars(
                select(Blob)
                .where(Blob.uuid == blob, Blob.state == BlobState.PURGING)
                .with_for_update()
            ).one_or_none()
            if row is None or kept.keeps(session, self._claim.member, blob):
                return 0
            debt = {
                "member_uuid": self._claim.member,
                "kind": DebtKind.TOMBSTONE,
                "blob": blob,
                "attempt": row.attempt,
            }
            debts.add(session, [debt])
        return 1

    def _is_buried(self, blob: UUID) -> bool:
        """Tell whether m+1 members say that a blob was purged."""
        found = 0
        for slot in self._array.readable():
            try:
                with self._array.using(slot) as member:
                    member.info(tombstone_key(blob))
                found += 1
            except ObjectMissing:
                continue
            except MemberError:
                continue
        return found > self._array.map.shape.m

    def _remove(self, blob: UUID, keys: Sequence[str]) -> int:
        """Remove the objects of a blob that was purged; count them.

        Where they can't be, its purge begins anew, so that a row tells of them.
        """
        try:
            with self._array.using(self._slot) as member:
                for key in keys:
                    member.delete(key)
        except ObjectKept:
            with transaction() as session:
                maps.lock(session)
                if session.get(Blob, blob) is None:
                    tombstones.doom(session, blob, 1)
            return 0
        return len(keys)


def _is_after(blob: UUID, other: UUID | None) -> bool:
    return other is None or blob > other


register(JobKind.INVENTORY, Inventory())
