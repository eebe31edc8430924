"""Damage: a bad or absent object that somebody met becomes a debt of its member."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from raid.segments import Damage
from storage import debts, maps
from storage.db import transaction
from storage.models import NONE, Blob, BlobState, DebtKind, MemberRow, Reason
from storage.runtime import Runtime

_LOG = logging.getLogger("holdfast.debts")


def write_down(own: Runtime) -> int:
    """Note what this process met; when the database fails, keep it for next time."""
    met = own.take_damage()
    if not met:
        return 0
    try:
        return note(met)
    except SQLAlchemyError:
        for one in met:
            own.note_damage(one)
        raise


def note(found: Iterable[Damage]) -> int:
    """Write a debt for each bad object of a live blob; nobody becomes stale."""
    with transaction() as session:
        maps.lock(session)
        return owe(session, list(found))


def owe(session: maps.AnySession, found: Sequence[Damage]) -> int:
    """Do what `note` does in the caller's transaction."""
    columns = select(MemberRow.slot, MemberRow.uuid).where(MemberRow.slot.is_not(None))
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
        _row(damage, members[damage.slot], live[damage.blob])
        for damage in found
        if damage.blob in live and damage.slot in members
    ]
    debts.add(session, rows)
    for damage in found:
        _LOG.warning(
            "An object is bad: %s",
            damage.reason,
            extra={"fields": {"slot": damage.slot, "object": damage.key}},
        )
    return len(rows)


def _row(damage: Damage, member: UUID, attempt: int) -> dict[str, Any]:
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
