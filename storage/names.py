"""The names of members for people: what the page shows and what is typed there."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from raid.superblock import StoredState
from storage.db import db, release
from storage.models import MemberRow


def labels(rows: Sequence[MemberRow]) -> dict[UUID, str]:
    """Return the name of every member: its slot's, or what it waits for.

    Spares are numbered in the order of their coming when there are several.
    """
    spares = [row for row in rows if row.slot is None and row.target_slot is None]
    spares.sort(key=lambda row: (row.added_at, row.uuid.bytes))
    numbers = {row.uuid: number for number, row in enumerate(spares, 1)}
    named = {}
    for row in rows:
        if row.slot is not None:
            named[row.uuid] = f"Member {row.slot}"
        elif row.target_slot is not None:
            named[row.uuid] = f"New member {row.target_slot}"
        else:
            number = f" {numbers[row.uuid]}" if len(spares) > 1 else ""
            named[row.uuid] = f"Spare{number}"
    return named


def label(member: UUID) -> str:
    """Return the name of one member; empty when there is no such member."""
    return labels(members()).get(member, "")


def named(text: str) -> MemberRow | None:
    """Return the member of this name, however it is spaced and capitalised."""
    rows = members()
    wanted = " ".join(text.split()).casefold()
    known = labels(rows)
    return next((row for row in rows if known[row.uuid].casefold() == wanted), None)


def members() -> list[MemberRow]:
    """Return the members but for those that were retired and have left their slot."""
    rows = db.session.scalars(
        select(MemberRow).where(
            MemberRow.slot.is_not(None) | (MemberRow.state != StoredState.RETIRED)
        )
    ).all()
    release()
    return list(rows)
