"""Room: how much of it a user has, and the one conditional UPDATE that takes it.

What counts are the logical bytes of live and trashed files.
"""

from flask import current_app
from sqlalchemy import update

from auth.models import User
from files.errors import OverQuota
from files.models import Entry
from files.tree import AnySession, below
from storage.words import filesize


def quota_of(user: User) -> int | None:
    """Return the user's quota in bytes, None for no limit."""
    if user.quota_bytes is not None:
        return user.quota_bytes
    default: int | None = current_app.config["HOLDFAST"].default_quota_bytes
    return default


def room_of(user: User) -> int | None:
    """Return how many bytes the user may still store, None for no limit."""
    quota = quota_of(user)
    return None if quota is None else max(0, quota - user.used_bytes)


def trash_bytes(session: AnySession, user_id: int) -> int:
    """Add up what lies in the user's trash."""
    tops = (Entry.owner_id == user_id) & Entry.trashed_at.is_not(None)
    return below(session, tops).bytes


def over_quota(session: AnySession, user: User, need: int | None) -> OverQuota:
    """Return the refusal with its numbers; `need` is None when it isn't known."""
    left = filesize(room_of(user) or 0)
    if need is None:
        what = f"This needs more than the {left} that you have left"
    else:
        what = f"This needs {filesize(need)} and you have {left} left"
    trash = trash_bytes(session, user.id)
    advice = (
        f"Empty the trash ({filesize(trash)}) or ask for more room."
        if trash
        else "Ask for more room."
    )
    return OverQuota(f"{what}. {advice}")


def charge(session: AnySession, user: User, amount: int) -> None:
    """Take room, or give it back; raises OverQuota when there is not enough.

    The condition stands in the UPDATE itself, so that no two can both have the rest.
    """
    change = update(User).where(User.id == user.id)
    quota = quota_of(user)
    if amount > 0 and quota is not None:
        change = change.where(User.used_bytes + amount <= quota)
    change = change.values(used_bytes=User.used_bytes + amount)
    taken = session.execute(
        change.returning(User.id), execution_options={"synchronize_session": False}
    ).one_or_none()
    if taken is None:
        raise over_quota(session, user, amount)
