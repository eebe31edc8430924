"""The member that a job is about: where it sits, and that it was looked through."""

from uuid import UUID

from sqlalchemy import select, update

from raid.array import Array
from raid.errors import MemberMissing
from raid.superblock import StoredState
from storage import maps
from storage.db import db, release
from storage.errors import NotNow
from storage.jobs.runner import Claim, GiveUp
from storage.models import MemberRow


def seat_of(claim: Claim, array: Array) -> tuple[Array, int]:
    """Return where the member sits, or raise: gone, not seen yet, or not writable."""
    assert claim.member is not None
    seat = array.seat(claim.member)
    if seat is None:
        raise _unseen(claim.member)
    seated, slot = seat
    if claim.member not in array.takers():
        label = seated.label(slot)
        raise MemberMissing(
            label,
            f"The member of {label} is away or can't be written to; this goes on when "
            "it is back.",
        )
    return seated, slot


def _unseen(member: UUID) -> Exception:
    """Return why a member has no seat: it was ended, or the map is older than it."""
    state = db.session.scalar(select(MemberRow.state).where(MemberRow.uuid == member))
    release()
    if state in (None, StoredState.RETIRED):
        return GiveUp("The member is not a part of the array any more.")
    return NotNow(
        "This worker has not seen the member yet; this goes on when it has. If it "
        "stays so, look at what is attached in its place."
    )


def looked_through(session: maps.AnySession, member: UUID | None) -> None:
    """Note that all a member should hold was looked at; what it lacks is owed.

    One that is stale went away since this look began, and is due for another one.
    """
    session.execute(
        update(MemberRow)
        .where(MemberRow.uuid == member, MemberRow.state != StoredState.STALE)
        .values(inventory_due=False),
        execution_options={"synchronize_session": False},
    )
