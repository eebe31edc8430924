"""Who takes a slot, and who is ended: what replacing and retiring have in common.

A member that is ended is owed nothing any more, which counts as its acknowledgement of
every tombstone, and its jobs end with it. Its row stays, so that its uuid is never
taken for that of a new member.
"""

from uuid import UUID

from sqlalchemy import update

from raid.superblock import StoredState
from storage import debts, history, maps, tombstones
from storage.db import utcnow
from storage.jobs.table import ACTIVE
from storage.models import Job, JobKind, JobState


def succeed(
    locked: maps.LockedMap,
    old: maps.LockedMember,
    new: maps.LockedMember,
    state: StoredState,
    *,
    actor: str | None = None,
    why: str = "",
) -> None:
    """Give the slot of a member to another one, and end the first."""
    slot = old.slot
    end(locked, old)
    locked.change(old, slot=None, leaving=False)
    locked.change(new, slot=slot, target_slot=None, state=state)
    if state != StoredState.IN_SYNC:
        locked.change(new, inventory_due=True)
        tombstones.owe_to(locked.session, new.uuid)
    history.note(
        locked.session,
        "member_replaced",
        slot=slot,
        member=new.uuid,
        actor=actor,
        url=new.url,
        old=str(old.uuid),
        why=why,
    )


def end(locked: maps.LockedMap, member: maps.LockedMember) -> None:
    """End a member for ever; it keeps its slot until another one takes it."""
    locked.change(
        member, state=StoredState.RETIRED, target_slot=None, inventory_due=False
    )
    debts.forgive(locked.session, member.uuid)
    cancel_jobs(locked.session, member.uuid)


def cancel_jobs(session: maps.AnySession, member: UUID, *kinds: JobKind) -> None:
    """Cancel the jobs (of some kinds) that are on their way for a member."""
    wanted = [Job.member_uuid == member, Job.state.in_(ACTIVE)]
    if kinds:
        wanted.append(Job.kind.in_(kinds))
    session.execute(
        update(Job)
        .where(*wanted)
        .values(
            state=JobState.CANCELLED,
            finished_at=utcnow(),
            lease=None,
            lease_until=None,
        ),
        execution_options={"synchronize_session": False},
    )
