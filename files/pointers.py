"""How the rows of this package name blobs; see `storage.pointers`."""

from uuid import UUID

from sqlalchemy import select, update

from files import tree
from files.models import Entry
from storage import pointers


def lock(session: tree.AnySession, blob: UUID) -> None:
    """Lock the owners of the files that name a blob, as every change of a tree does."""
    owners = session.scalars(
        select(Entry.owner_id).where(Entry.blob_id == blob).distinct()
    ).all()
    for owner_id in sorted(owners):
        tree.lock_owner(session, owner_id)


def repoint(session: tree.AnySession, old: UUID, new: UUID) -> int:
    """Make files name another blob with the same bytes; nothing else changes."""
    changed = session.execute(
        update(Entry)
        .where(Entry.blob_id == old)
        .values(blob_id=new)
        .returning(Entry.id),
        execution_options={"synchronize_session": False},
    )
    return len(changed.all())


def init_app() -> None:
    """Tell the storage."""
    pointers.register("files", pointers.Pointers(lock, repoint))
