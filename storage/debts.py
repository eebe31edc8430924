"""Debts: what members are owed, written with the change that makes it so, and paid.

A debt is a row. It is written in the transaction of the change, is unique, and goes
when the member has the object, verified. Damage is one, too: see `storage.damage`.
Whoever changes debts holds the map (see `storage.maps`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update

from raid import repair
from raid.array import Array
from raid.errors import BlobDamaged, MemberError, RaidError
from raid.holdings import Holding
from raid.keys import manifest_key
from raid.manifest import Form
from raid.rebuild import Filler
from raid.shards import object_key
from raid.superblock import StoredState
from raid.writer import Stored
from storage import history, maps, marks, supply
from storage.blobref import manifest_of
from storage.clock import AHEAD
from storage.db import db, release, transaction, utcnow
from storage.errors import SlotGone
from storage.models import NONE, Blob, Debt, DebtKind, Reason
from storage.runtime import runtime

TAKES_WRITES = (StoredState.IN_SYNC, StoredState.REBUILDING)
BATCH = 50
CLAIM_SECONDS = 20.0
"""For so long a batch is its payer's alone; of one that was killed it is due again."""
FIRST_WAIT = 5.0
LONGEST_WAIT = 60.0
LONGEST_WAIT_HOPELESS = 3600.0
# Nobody waits longer, so a clock was wrong when the row was written.
_LATEST_DUE = timedelta(seconds=LONGEST_WAIT_HOPELESS) + AHEAD
_LOG = logging.getLogger("holdfast.debts")

Stop = Callable[[], bool]


def add(session: maps.AnySession, rows: list[dict[str, Any]]) -> None:
    """Insert debts, and leave those alone that are known already."""
    if not rows:
        return
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    session.execute(insert(Debt).on_conflict_do_nothing(), rows)


_Owed = tuple[maps.LockedMember, DebtKind, int, int]


def lacking(
    locked: maps.LockedMap, stored: Stored, wrote_to: Mapping[int, UUID]
) -> list[_Owed]:
    """Return what the members of the map lack of a new blob.

    `wrote_to` says which member was in which slot while it was written.
    """
    shards = _owed_shards(locked, stored)
    return [*shards, *_owed_manifests(locked, stored, wrote_to)]


def owe(locked: maps.LockedMap, stored: Stored, lacks: Sequence[_Owed]) -> None:
    """Write the debts; a member in sync that missed something becomes stale."""
    add(locked.session, [_row(stored, *owed) for owed in lacks])
    for member, *_ in lacks:
        if member.state == StoredState.IN_SYNC:
            locked.set_state(member, StoredState.STALE)
            history.note_state(locked.session, member, StoredState.IN_SYNC)
            _LOG.warning(
                "A member missed a write and is stale.",
                extra={"fields": {"slot": member.slot, "member": member.uuid}},
            )


def _owed_shards(locked: maps.LockedMap, stored: Stored) -> Iterable[_Owed]:
    members, newcomers = locked.by_slot(), locked.newcomers()
    for number, row in enumerate(stored.rows):
        for role, slot in enumerate(row.slots):
            if slot not in members:
                raise SlotGone
            member = members[slot]
            held = stored.holders[number][role] == member.uuid
            if _misses(member, held=held):
                yield member, DebtKind.SHARD, number, role
            if slot in newcomers:
                yield newcomers[slot], DebtKind.SHARD, number, role


def _misses(member: maps.LockedMember, *, held: bool) -> bool:
    """Tell whether a member lacks what it should hold; a retired one is owed nothing.

    What one that doesn't take writes holds counts as missed: nobody knows since when
    it is away.
    """
    if member.state == StoredState.RETIRED:
        return False
    return not held or member.state not in TAKES_WRITES


def _owed_manifests(
    locked: maps.LockedMap,
    stored: Stored,
    wrote_to: Mapping[int, UUID],
) -> Iterable[_Owed]:
    """A combined role brings the manifest along, so its slot is owed no other."""
    combined = stored.form == Form.COMBINED
    with_role = set(stored.rows[0].slots) if combined else set()
    newcomers = locked.newcomers()
    for slot, member in locked.by_slot().items():
        if slot in with_role:
            continue
        held = slot in stored.manifest_on and wrote_to.get(slot) == member.uuid
        if not member.leaving and _misses(member, held=held):
            yield member, DebtKind.MANIFEST, NONE, NONE
        if slot in newcomers:
            yield newcomers[slot], DebtKind.MANIFEST, NONE, NONE


def name_of(holding: Holding) -> tuple[DebtKind, int, int]:
    """Return what a debt of an object is: its kind, segment and role.

    A shard without a segment is all that a slot holds of a blob: it stands for what
    can't be named while the manifest can't be read.
    """
    if holding.segment is None or holding.role is None:
        return DebtKind.MANIFEST, NONE, NONE
    return DebtKind.SHARD, holding.segment, holding.role


def _row(
    stored: Stored, member: maps.LockedMember, kind: DebtKind, segment: int, role: int
) -> dict[str, Any]:
    attempt = stored.attempt if segment == NONE else stored.rows[segment].attempt
    return {
        "member_uuid": member.uuid,
        "kind": kind,
        "blob": stored.blob,
        "segment": segment,
        "role": role,
        "attempt": attempt,
        "reason": Reason.AWAY,
    }


@dataclass(frozen=True)
class Due:
    """A debt, as values: a row would be read anew in every transaction."""

    id: int
    member: UUID
    kind: str
    blob: UUID
    segment: int
    role: int
    tries: int


@dataclass
class _Batch:
    """Some debts that nobody else pays for a while, and what became of them."""

    due: list[Due]
    until: datetime
    paid: list[Due] = field(default_factory=list)
    late: list[Due] = field(default_factory=list)
    hopeless: list[Due] = field(default_factory=list)

    def untried(self) -> list[Due]:
        """Return those that were not come to."""
        return self.due[len(self.paid) + len(self.late) + len(self.hopeless) :]


def pay(array: Array, stop: Stop = lambda: False) -> int:
    """Pay what is due to every member that takes writes; returns how much was paid."""
    paid = 0
    for member in array.takers():
        seat = array.seat(member)
        while seat is not None and not stop():
            batch = _claim(member)
            if not batch.due:
                break
            source = None if seat[0] is array else array
            go_on = _pay_batch(*seat, batch, stop, source)
            _write_down(batch)
            paid += len(batch.paid)
            if not go_on:
                break
    return paid


def is_due(now: datetime) -> ColumnElement[bool]:
    """Match debts whose time has come, and those that a wrong clock put off for long.

    Not those that a payer has claimed: they are due again when it is through, or dead.
    """
    return (Debt.due_at <= now) | (Debt.due_at > now + _LATEST_DUE)


def _claim(member: UUID) -> _Batch:
    """Take some of what is due to a member, unless another payer is faster.

    Two that repair one object would move each other's work aside.
    """
    now = utcnow()
    batch = _Batch([], now + timedelta(seconds=CLAIM_SECONDS))
    wanted = (
        select(Debt.id)
        .where(
            Debt.member_uuid == member,
            Debt.kind.in_([DebtKind.SHARD, DebtKind.MANIFEST]),
            is_due(now),
        )
        .order_by(Debt.blob, Debt.kind, Debt.segment)
        .limit(BATCH)
    )
    ids = db.session.scalars(wanted).all()
    release()
    if not ids:
        return batch
    with transaction() as session:
        maps.lock(session)
        taken = session.execute(
            update(Debt)
            .where(Debt.id.in_(ids), is_due(now))
            .values(due_at=batch.until)
            .returning(*_COLUMNS),
            execution_options={"synchronize_session": False},
        ).all()
    batch.due = sorted((Due(*row) for row in taken), key=_in_order)
    return batch


_COLUMNS = (
    Debt.id,
    Debt.member_uuid,
    Debt.kind,
    Debt.blob,
    Debt.segment,
    Debt.role,
    Debt.tries,
)


def _in_order(due: Due) -> tuple[UUID, str, int]:
    return due.blob, due.kind, due.segment


def _pay_batch(
    array: Array,
    slot: int,
    batch: _Batch,
    stop: Stop,
    source: Array | None = None,
) -> bool:
    """Pay one after the other; False when the member itself made trouble."""
    for debt in batch.due:
        if stop():
            return False
        try:
            _pay(array, slot, debt, source)
            batch.paid.append(debt)
        except MemberError as error:
            batch.late.append(debt)
            _report(debt, slot, error)
            return False
        except BlobDamaged as error:
            batch.hopeless.append(debt)
            _report(debt, slot, error)
        except RaidError as error:
            batch.late.append(debt)
            _report(debt, slot, error)
    return True


def _report(debt: Due, slot: int, error: RaidError) -> None:
    if debt.tries == 0:
        fields = {"slot": slot, "blob": debt.blob, "segment": debt.segment}
        _LOG.warning("A debt can't be paid yet: %s", error, extra={"fields": fields})


def _pay(array: Array, slot: int, debt: Due, source: Array | None = None) -> None:
    """Give the member the object if its blob is live, and take it back if not."""
    ref = supply.live([debt.blob]).get(debt.blob)
    if ref is None:
        return
    manifest = manifest_of(runtime(), source or array, ref)
    if debt.kind == DebtKind.MANIFEST:
        keys = [manifest_key(manifest.blob, manifest.attempt)]
        repair.put_manifest(array, slot, manifest)
    elif debt.segment == NONE:
        own = runtime()
        read_from = source or array
        with Filler(read_from, array, slot, own.pool, own.note_damage) as filler:
            keys = filler.give_all(manifest)
    else:
        keys = [object_key(manifest, debt.segment, debt.role)]
        where = (manifest, debt.segment, debt.role)
        repair.put_shard(array, slot, *where, source=source)
    supply.take_back_dead(array, slot, {debt.blob: keys})


def _write_down(batch: _Batch) -> None:
    """Let paid debts go, put the others off, and mark what can't be repaired."""
    touched = {debt.blob for debt in batch.paid}
    with transaction() as session:
        maps.lock(session)
        _forget(session, batch.paid)
        for debt in [*batch.late, *batch.hopeless]:
            _put_off(session, debt, hopeless=debt in batch.hopeless)
        _let_go(session, batch)
        damaged = {debt.blob for debt in batch.hopeless}
        if damaged:
            session.execute(
                update(Blob).where(Blob.uuid.in_(damaged)).values(damaged=True)
            )
        marks.clear(session, touched)


def _forget(session: maps.AnySession, paid: list[Due]) -> None:
    for debt in paid:
        session.execute(delete(Debt).where(*_same(debt)))


def _let_go(session: maps.AnySession, batch: _Batch) -> None:
    """Make due again, for anybody, what was not come to."""
    ids = [debt.id for debt in batch.untried()]
    if ids:
        session.execute(
            update(Debt)
            .where(Debt.id.in_(ids), Debt.due_at == batch.until)
            .values(due_at=utcnow()),
            execution_options={"synchronize_session": False},
        )


def _same(debt: Due) -> tuple[Any, ...]:
    """Match the very debt that was read: SQLite gives a free number out again."""
    return (
        Debt.id == debt.id,
        Debt.member_uuid == debt.member,
        Debt.kind == debt.kind,
        Debt.blob == debt.blob,
        Debt.segment == debt.segment,
        Debt.role == debt.role,
    )


def later(tries: int, longest: float = LONGEST_WAIT) -> dict[str, Any]:
    """Return the values of a debt that could not be paid: it waits ever longer."""
    wait = min(longest, FIRST_WAIT * 2 ** min(tries, 20))
    return {"tries": tries + 1, "due_at": utcnow() + timedelta(seconds=wait)}


def _put_off(session: maps.AnySession, debt: Due, *, hopeless: bool) -> None:
    longest = LONGEST_WAIT_HOPELESS if hopeless else LONGEST_WAIT
    values = later(debt.tries, longest)
    if hopeless:
        # It would keep the member out for ever; the blob is marked instead.
        values["reason"] = Reason.DAMAGED
    session.execute(update(Debt).where(*_same(debt)).values(values))


def forgive(session: maps.AnySession, member: UUID) -> None:
    """Forget what a member is owed: it was ended for ever."""
    session.execute(delete(Debt).where(Debt.member_uuid == member))


def hurry(member: UUID) -> None:
    """Make what a member is owed due now: it has just come back.

    What nobody could make without it is due, too, whoever is owed that.
    """
    hopeless = Debt.reason == Reason.DAMAGED
    with transaction() as session:
        maps.lock(session)
        session.execute(
            update(Debt)
            .where(
                (Debt.member_uuid == member) | hopeless,
                Debt.due_at > utcnow(),
                Debt.reason != Reason.KEPT,
            )
            .values(due_at=utcnow())
            .execution_options(synchronize_session=False)
        )
