"""The member that a job is about: where it sits, and that it was looked through."""

from uuid import UUID

from sqlalchemy import update

from raid.array import Array
from raid.errors import MemberMissing
from storage import maps
from storage.jobs.runner import Claim, GiveUp
from storage.models import MemberRow


def seat_of(claim: Claim, array: Array) -> tuple[Array, int]:
    """Return where the member sits, or raise: it is gone, or takes nothing now."""
    assert claim.member is not None
    seat = array.seat(claim.member)
    if seat is None:
        raise GiveUp("The member is not a part of the array any more.")
    seated, slot = seat
    if claim.member not in array.takers():
        label = seated.label(slot)
        raise MemberMissing(
            label,
            f"The member of {label} is away or can't be written to; this goes on when "
            "it is back.",
        )
    return seated, slot


def looked_through(session: maps.AnySession, member: UUID | None) -> None:
    """Note that all a member should hold was looked at; what it lacks is owed."""
    session.execute(
        update(MemberRow).where(MemberRow.uuid == member).values(inventory_due=False),
        execution_options={"synchronize_session": False},
    )
