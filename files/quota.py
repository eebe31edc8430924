"""Room: how much of it a user has, and the one conditional UPDATE that takes it.

What counts are the logical bytes of live and trashed files. An upload is let in beside
what others of the same user will take, so that it does not end in a refusal.
"""

from dataclasses import dataclass
from uuid import UUID

from flask import current_app
from sqlalchemy import update

from auth.models import User
from files.errors import OverQuota
from files.models import Entry
from files.tree import AnySession, below
from storage import uploads
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


@dataclass(frozen=True)
class Room:
    """What an upload may take: what is `left` beside the others that are `under_way`.

    `old` are the bytes of the file that it replaces.
    """

    left: int
    under_way: int = 0
    old: int = 0

    @property
    def limit(self) -> int:
        """Return how many bytes may come."""
        return self.left + self.old


def room_beside(
    session: AnySession, user: User, old: int = 0, blob: UUID | None = None
) -> Room | None:
    """Return the room for an upload, that of `blob` if it has begun; None for no limit.

    What arrives meanwhile is counted once or not at all, because files come first.
    """
    room = room_of(user)
    if room is None:
        return None
    others = uploads.under_way(session, user.id, blob)
    return Room(max(0, room - others), others, old)


def refuse_over(
    session: AnySession, user: User, room: Room | None, size: int, need: int | None
) -> None:
    """Raise OverQuota if so many bytes do not fit; `need` is the number to be told."""
    if room is not None and size > room.limit:
        raise over_quota(session, user, need, room)


def trash_bytes(session: AnySession, user_id: int) -> int:
    """Add up what lies in the user's trash."""
    tops = (Entry.owner_id == user_id) & Entry.trashed_at.is_not(None)
    return below(session, tops).bytes


def over_quota(
    session: AnySession, user: User, need: int | None, room: Room
) -> OverQuota:
    """Return the refusal with its numbers; `need` is None when it isn't known."""
    left = filesize(room.left)
    if need is None:
        what = f"This needs more than the {left} that you have left"
    else:
        what = f"This needs {filesize(need)} and you have {left} left"
    choices = ["Ask for more room"]
    trash = trash_bytes(session, user.id)
    if trash:
        choices.insert(0, f"Empty the trash ({filesize(trash)})")
    if room.under_way:
        what += f" beside the {filesize(room.under_way)} that other uploads will take"
        choices.insert(0, "Wait until those have ended")
    first, *others = choices
    advice = " or ".join([first, *(text[0].lower() + text[1:] for text in others)])
    return OverQuota(f"{what}. {advice}.")


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
        raise over_quota(session, user, amount, Room(room_of(user) or 0))
