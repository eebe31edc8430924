"""Changes to the tree: new folders, renaming and moving. The trash has its own module.

Each service is one transaction that begins by locking the owner; a selection is done
as a whole or not at all.
"""

from collections.abc import Iterable

from files import tree
from files.errors import Conflict, NotFound
from files.models import FOLDER, Entry
from files.names import check_name
from storage.db import db, transaction

ROOT_NAME = "Files"


def root(user_id: int) -> Entry:
    """Return the user's top folder, making it at the first visit."""
    found = tree.root_of(db.session, user_id)
    if found is not None:
        return found
    with transaction() as session:
        tree.lock_owner(session, user_id)
        found = tree.root_of(session, user_id)
        if found is None:
            found = Entry(owner_id=user_id, kind=FOLDER)
            tree.set_name(found, ROOT_NAME)
            session.add(found)
        return found


def create_folder(user_id: int, folder_id: str, raw_name: str) -> Entry:
    """Make a folder; raises NameTaken, BadName, TooDeep."""
    name = check_name(raw_name)
    with transaction() as session:
        tree.lock_owner(session, user_id)
        above = tree.live_chain(session, user_id, folder_id, FOLDER)
        tree.refuse_depth(len(above))
        tree.refuse_taken(session, folder_id, name)
        return add_folder(session, user_id, folder_id, name)


def add_folder(
    session: tree.AnySession, user_id: int, folder_id: str, name: str
) -> Entry:
    """Add a folder row in the caller's transaction; the name was checked."""
    folder = Entry(owner_id=user_id, kind=FOLDER)
    tree.attach(session, folder, folder_id, name)
    session.add(folder)
    session.flush()
    return folder


def rename(
    user_id: int, entry_id: str, raw_name: str, kind: int | None = None
) -> Entry:
    """Give a live entry another name in its folder."""
    name = check_name(raw_name)
    with transaction() as session:
        tree.lock_owner(session, user_id)
        entry = tree.live_chain(session, user_id, entry_id, kind)[-1]
        folder_id = _place(entry, "renamed")
        if name != entry.name:
            tree.refuse_taken(session, folder_id, name)
            tree.set_name(entry, name)
        return entry


def move(
    user_id: int, ids: Iterable[str], folder_id: str, kind: int | None = None
) -> list[Entry]:
    """Move live entries into a folder, all of them or none."""
    with transaction() as session:
        tree.lock_owner(session, user_id)
        target = tree.live_chain(session, user_id, folder_id, FOLDER)
        entries = live_entries(session, user_id, ids, kind)
        for entry in entries:
            _move(session, entry, target)
        return entries


def _move(session: tree.AnySession, entry: Entry, target: list[Entry]) -> None:
    _place(entry, "moved")
    folder = target[-1]
    if any(above.id == entry.id for above in target):
        raise Conflict(
            f"“{entry.name}” can't be moved into itself or into a folder inside it. "
            "Nothing was changed. Choose another folder."
        )
    if entry.parent_id == folder.id:
        return
    tree.refuse_depth(len(target) - 1 + tree.height(session, entry))
    tree.refuse_taken(session, folder.id, entry.name)
    tree.detach(session, entry)
    tree.attach(session, entry, folder.id, entry.name)
    session.flush()


def live_entries(
    session: tree.AnySession,
    user_id: int,
    ids: Iterable[str],
    kind: int | None = None,
) -> list[Entry]:
    """Return these entries, all of them live, or raise NotFound."""
    entries = tree.pick(session, user_id, ids, kind)
    if any(entry.trashed_at is not None for entry in entries):
        raise NotFound
    return entries


def _place(entry: Entry, verb: str) -> str:
    if entry.parent_id is None:
        raise Conflict(
            f"This is your top folder; it can't be {verb}. Nothing was changed."
        )
    return entry.parent_id
