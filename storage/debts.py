"""Debts: what members are owed, written with the change that makes it so, and paid.

A debt is a row. It is written in the transaction of the change, is unique, and goes
when the member has the object, verified. Damage that a reader met is a debt, too.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, select, update

from raid import repair
from raid.array import Array
from raid.errors import BlobDamaged, MemberError, RaidError
from raid.keys import manifest_key
from raid.manifest import Form, Manifest
from raid.reader import BlobRef
from raid.segments import Damage
from raid.shards import object_key
from raid.superblock import StoredState
from raid.writer import Stored
from storage import maps
from storage.blobref import manifest_of, reference
from storage.clock import AHEAD
from storage.db import db, release, transaction, utcnow
from storage.models import NONE, Blob, BlobState, Debt, DebtKind, MemberRow, Reason
from storage.runtime import runtime

TAKES_WRITES = (StoredState.IN_SYNC, StoredState.REBUILDING)
BATCH = 50
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
            _LOG.warning(
                "A member missed a write and is stale.",
                extra={"fields": {"slot": member.slot, "member": member.uuid}},
            )


def _owed_shards(locked: maps.LockedMap, stored: Stored) -> Iterable[_Owed]:
    members = locked.by_slot()
    for number, row in enumerate(stored.rows):
        for role, slot in enumerate(row.slots):
            member = members[slot]
            held = stored.holders[number][role] == member.uuid
            if not held or member.state not in TAKES_WRITES:
                yield member, DebtKind.SHARD, number, role


def _owed_manifests(
    locked: maps.LockedMap,
    stored: Stored,
    wrote_to: Mapping[int, UUID],
) -> Iterable[_Owed]:
    """A combined role brings the manifest along, so its slot is owed no other."""
    combined = stored.form == Form.COMBINED
    with_role = set(stored.rows[0].slots) if combined else set()
    for slot, member in locked.by_slot().items():
        if slot in with_role:
            continue
        held = slot in stored.manifest_on and wrote_to.get(slot) == member.uuid
        if not held or member.state not in TAKES_WRITES:
            yield member, DebtKind.MANIFEST, NONE, NONE


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


def note_damage(found: Iterable[Damage]) -> int:
    """Write a debt for each bad object of a live blob; nobody becomes stale."""
    with transaction() as session:
        columns = select(MemberRow.slot, MemberRow.uuid)
        members = {row.slot: row.uuid for row in session.execute(columns)}
        wanted = {damage.blob for damage in found}
        live = dict(
            session.execute(
                select(Blob.uuid, Blob.attempt).where(
                    Blob.uuid.in_(wanted), Blob.state == BlobState.LIVE
                )
            ).all()
        )
        rows = [
            _damage_row(damage, members[damage.slot], live[damage.blob])
            for damage in found
            if damage.blob in live and damage.slot in members
        ]
        add(session, rows)
    for damage in found:
        _LOG.warning(
            "An object is bad: %s",
            damage.reason,
            extra={"fields": {"slot": damage.slot, "object": damage.key}},
        )
    return len(rows)


def _damage_row(damage: Damage, member: UUID, attempt: int) -> dict[str, Any]:
    shard = damage.segment is not None and damage.role is not None
    return {
        "member_uuid": member,
        "kind": DebtKind.SHARD if shard else DebtKind.MANIFEST,
        "blob": damage.blob,
        "segment": damage.segment if shard else NONE,
        "role": damage.role if shard else NONE,
        "attempt": attempt,
        "reason": Reason.DAMAGED,
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
class _Outcome:
    """What became of a batch of debts."""

    paid: list[Due]
    late: list[Due]
    hopeless: list[Due]


def pay(array: Array, stop: Stop = lambda: False) -> int:
    """Pay what is due to every member that takes writes; returns how much was paid."""
    paid = 0
    for slot in array.writable():
        while not stop():
            due = _due(array.uuid_of(slot))
            if not due:
                break
            outcome = _Outcome([], [], [])
            go_on = _pay_batch(array, slot, due, outcome, stop)
            _write_down(outcome)
            paid += len(outcome.paid)
            if not go_on:
                break
    return paid


def _due(member: UUID) -> list[Due]:
    now = utcnow()
    rows = db.session.execute(
        select(
            Debt.id,
            Debt.member_uuid,
            Debt.kind,
            Debt.blob,
            Debt.segment,
            Debt.role,
            Debt.tries,
        )
        .where(
            Debt.member_uuid == member,
            Debt.kind.in_([DebtKind.SHARD, DebtKind.MANIFEST]),
            (Debt.due_at <= now) | (Debt.due_at > now + _LATEST_DUE),
        )
        .order_by(Debt.blob, Debt.kind, Debt.segment)
        .limit(BATCH)
    ).all()
    release()
    return [Due(*row) for row in rows]


def _pay_batch(
    array: Array, slot: int, due: list[Due], outcome: _Outcome, stop: Stop
) -> bool:
    """Pay one after the other; False when the member itself made trouble."""
    for debt in due:
        if stop():
            return False
        try:
            _pay(array, slot, debt)
            outcome.paid.append(debt)
        except MemberError as error:
            outcome.late.append(debt)
            _report(debt, slot, error)
            return False
        except BlobDamaged as error:
            outcome.hopeless.append(debt)
            _report(debt, slot, error)
        except RaidError as error:
            outcome.late.append(debt)
            _report(debt, slot, error)
    return True


def _report(debt: Due, slot: int, error: RaidError) -> None:
    if debt.tries == 0:
        fields = {"slot": slot, "blob": debt.blob, "segment": debt.segment}
        _LOG.warning("A debt can't be paid yet: %s", error, extra={"fields": fields})


def _pay(array: Array, slot: int, debt: Due) -> None:
    """Give the member the object if its blob is live, and take it back if not.

    A purge that starts in between lists the member's objects only after its own row
    was written, so either it finds ours or we find its row.
    """
    ref = _live(debt.blob)
    if ref is None:
        return
    manifest = manifest_of(runtime(), array, ref)
    if debt.kind == DebtKind.MANIFEST:
        repair.put_manifest(array, slot, manifest)
    else:
        repair.put_shard(array, slot, manifest, debt.segment, debt.role)
    if _live(debt.blob) is None:
        with array.using(slot) as member:
            member.delete(_key(manifest, debt))


def _key(manifest: Manifest, debt: Due) -> str:
    if debt.kind == DebtKind.MANIFEST:
        return manifest_key(manifest.blob, manifest.attempt)
    return object_key(manifest, debt.segment, debt.role)


def _live(uuid: UUID) -> BlobRef | None:
    blob = db.session.get(Blob, uuid, populate_existing=True)
    release()
    live = blob is not None and blob.state == BlobState.LIVE
    return reference(blob) if blob is not None and live else None


def _write_down(outcome: _Outcome) -> None:
    """Let paid debts go, put the others off, and mark what can't be repaired."""
    touched = {debt.blob for debt in outcome.paid}
    with transaction() as session:
        _forget(session, outcome.paid)
        for debt in [*outcome.late, *outcome.hopeless]:
            _put_off(session, debt, hopeless=debt in outcome.hopeless)
        damaged = {debt.blob for debt in outcome.hopeless}
        if damaged:
            session.execute(
                update(Blob).where(Blob.uuid.in_(damaged)).values(damaged=True)
            )
        _clear_marks(session, touched)


def _forget(session: maps.AnySession, paid: list[Due]) -> None:
    for debt in paid:
        session.execute(delete(Debt).where(*_same(debt)))


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


def _put_off(session: maps.AnySession, debt: Due, *, hopeless: bool) -> None:
    longest = LONGEST_WAIT_HOPELESS if hopeless else LONGEST_WAIT
    wait = min(longest, FIRST_WAIT * 2 ** min(debt.tries, 20))
    values: dict[str, Any] = {
        "tries": Debt.tries + 1,
        "due_at": utcnow() + timedelta(seconds=wait),
    }
    if hopeless:
        # It would keep the member out for ever; the blob is marked instead.
        values["reason"] = Reason.DAMAGED
    session.execute(update(Debt).where(*_same(debt)).values(values))


def _clear_marks(session: maps.AnySession, blobs: set[UUID]) -> None:
    """Take the marks off blobs that every member has as it should be."""
    if not blobs:
        return
    owed = exists().where(Debt.blob == Blob.uuid)
    session.execute(
        update(Blob)
        .where(Blob.uuid.in_(blobs), Blob.at_risk | Blob.damaged, ~owed)
        .values(at_risk=False, damaged=False)
        .execution_options(synchronize_session=False)
    )


def hurry(member: UUID) -> None:
    """Make what a member is owed due now: it has just come back."""
    with transaction() as session:
        session.execute(
            update(Debt)
            .where(Debt.member_uuid == member, Debt.due_at > utcnow())
            .values(due_at=utcnow())
            .execution_options(synchronize_session=False)
        )
