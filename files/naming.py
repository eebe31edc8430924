"""Which files some blobs are: name, folder and owner, for the reports of the array."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select

from auth.models import User
from files.models import Entry
from files.tree import batches
from storage.db import db
from storage.naming import Named

TRASH = "Trash"


def names_of(blobs: Collection[UUID]) -> list[Named]:
    """Return every file whose content is one of these blobs."""
    rows = [
        (entry, owner)
        for batch in batches([*blobs])
        for entry, owner in db.session.execute(
            select(Entry, User.name)
            .join(User, User.id == Entry.owner_id)
            .where(Entry.blob_id.in_(batch))
            .order_by(Entry.sort_key)
        )
    ]
    folders = _folders({entry.parent_id for entry, _ in rows if entry.parent_id})
    return [
        Named(entry.blob_id, entry.name, _place(entry, folders), owner)
        for entry, owner in rows
        if entry.blob_id is not None
    ]


def _folders(ids: set[str]) -> dict[str, Entry]:
    """Return these folders and all above them: one query for each level."""
    found: dict[str, Entry] = {}
    wanted = ids
    while wanted:
        level = [
            folder
            for batch in batches(sorted(wanted))
            for folder in db.session.scalars(select(Entry).where(Entry.id.in_(batch)))
        ]
        found |= {folder.id: folder for folder in level}
        wanted = {one.parent_id for one in level if one.parent_id} - found.keys()
    return found


def _place(entry: Entry, folders: dict[str, Entry]) -> str:
    """Return the folder of an entry as a path; the top's own name is left out."""
    names: list[str] = []
    top = entry
    while top.parent_id in folders:
        top = folders[top.parent_id]
        names.insert(0, top.name)
    if top.trashed_at is not None:
        return "/".join([TRASH, *names])
    return "/" + "/".join(names[1:])
