"""The trash: into it, back out of it, and away for good.

Deleting moves one row per chosen entry, whatever lies below. A purge removes whole
trees with a handful of statements; the bytes go later, from the worker.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import ColumnElement, delete, select

from auth.models import User
from files import quota, tree
from files.errors import Conflict, NotFound
from files.models import FILE, Entry
from storage import blobs
from storage.clock import earliest, latest
from storage.db import db, release, transaction


@dataclass(frozen=True)
class Restored:
    """Where something came back to, and whether that differs from before."""

    entry: Entry
    folder: Entry
    old_name: str
    old_place_gone: bool

    @property
    def renamed(self) -> bool:
        """Tell whether another entry had taken the name meanwhile."""
        return self.entry.name != self.old_name


def trash(user_id: int, ids: Iterable[str], kind: int | None = None) -> list[Entry]:
    """Put entries into the trash, with everything below; doing it twice is harmless."""
    with transaction() as session:
        tree.lock_owner(session, user_id)
        entries = tree.pick(session, user_id, ids, kind)
        for entry in entries:
            if entry.trashed_at is None:
                _trash(session, entry)
        return entries


def _trash(session: tree.AnySession, entry: Entry) -> None:
    if entry.parent_id is None:
        raise Conflict("This is your top folder; it can't be deleted.")
    tree.detach(session, entry)
    entry.trashed_at = latest()
    entry.trashed_from = entry.parent_id
    entry.parent_id = None
    session.flush()


def restore(
    user_id: int, ids: Iterable[str], kind: int | None = None
) -> list[Restored]:
    """Bring entries back to their old folder, or to the top folder if it is gone."""
    with transaction() as session:
        tree.lock_owner(session, user_id)
        entries = tree.pick(session, user_id, ids, kind)
        return [_restore(session, user_id, entry) for entry in entries]


def _restore(session: tree.AnySession, user_id: int, entry: Entry) -> Restored:
    old_name = entry.name
    if entry.trashed_at is None:
        folder = tree.chain(session, user_id, entry.parent_id or entry.id)[-1]
        return Restored(entry, folder, old_name, False)
    above, gone = _old_place(session, user_id, entry)
    folder = above[-1]
    tree.refuse_depth(len(above) - 1 + tree.height(session, entry))
    name = tree.free_name(session, folder.id, old_name, folder=entry.is_folder)
    entry.trashed_at = entry.trashed_from = None
    tree.attach(session, entry, folder.id, name)
    session.flush()
    return Restored(entry, folder, old_name, gone)


def _old_place(
    session: tree.AnySession, user_id: int, entry: Entry
) -> tuple[list[Entry], bool]:
    try:
        return tree.live_chain(session, user_id, entry.trashed_from or ""), False
    except NotFound:
        root = tree.root_of(session, user_id)
        if root is None:
            raise
        return [root], True


def purge(user_id: int, ids: Iterable[str], kind: int | None = None) -> int:
    """Remove entries of the trash for good; returns how many went, contents included.

    Only what is in the trash can be purged, so nothing is ever lost by one click.
    """
    with transaction() as session:
        owner = tree.lock_owner(session, user_id)
        entries = tree.pick(session, user_id, ids, kind)
        if any(entry.trashed_at is None for entry in entries):
            raise Conflict(
                "This is not in the trash. Nothing was changed. Delete it first; then "
                "it can be removed for good."
            )
        chosen = [entry.id for entry in entries]
        return _purge(session, owner, Entry.id.in_(chosen))


def purge_trash(user_id: int, before: datetime | None = None) -> int:
    """Remove everything that the user's trash holds (put there before a moment)."""
    with transaction() as session:
        owner = tree.lock_owner(session, user_id)
        tops = (Entry.owner_id == user_id) & Entry.trashed_at.is_not(None)
        if before is not None:
            tops &= Entry.trashed_at < before
        return _purge(session, owner, tops)


def _purge(session: tree.AnySession, owner: User, tops: ColumnElement[bool]) -> int:
    down = tree.below(session, tops)
    for level in down.levels:
        for batch in tree.batches(level):
            inside = Entry.parent_id.in_(batch) & (Entry.kind == FILE)
            _remove_files(session, inside)
    for level in reversed(down.levels):
        for batch in tree.batches(level):
            _remove(session, Entry.id.in_(batch))
    _remove_files(session, tops & (Entry.kind == FILE))
    session.expire_all()
    quota.charge(session, owner, -down.bytes)
    return down.count


def _remove_files(session: tree.AnySession, which: ColumnElement[bool]) -> None:
    # The blobs are let go of by rows that are still there; the rows go afterwards.
    blobs.release(session, select(Entry.blob_id).where(which))
    _remove(session, which)


def _remove(session: tree.AnySession, which: ColumnElement[bool]) -> None:
    session.execute(
        delete(Entry).where(which),
        execution_options={"synchronize_session": False},
    )


def expire() -> int:
    """Purge what has lain in a trash for TRASH_DAYS: a chore of the worker."""
    days = current_app.config["HOLDFAST"].trash_days
    before = earliest() - timedelta(days=days)
    owners = db.session.scalars(
        select(Entry.owner_id).where(Entry.trashed_at < before).distinct()
    ).all()
    release()
    return sum(purge_trash(owner_id, before) for owner_id in owners)
