"""Walks and locks in the tree of entries, shared by the queries and the services.

Every change of a tree begins with `lock_owner`. A tree has one owner, so changes to it
happen one after another, and no cycle, orphan or double name can come from two at once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, func, literal, select, update
from sqlalchemy.orm import Session, aliased, scoped_session

from auth.models import User
from files.errors import NameTaken, NotFound, TooDeep
from files.models import FILE, FOLDER, Entry
from files.names import numbered, sort_key
from storage.db import take_turn, utcnow

MAX_DEPTH = 100
_BATCH = 500
_Id = TypeVar("_Id")
_ID = re.compile(r"[A-Za-z0-9_-]{22}")

AnySession = Session | scoped_session[Any]


def checked_id(entry_id: str) -> str:
    """Return an id that can exist; anything else is not found without asking."""
    if not isinstance(entry_id, str) or not _ID.fullmatch(entry_id):
        raise NotFound
    return entry_id


def lock_owner(session: AnySession, user_id: int) -> User:
    """Lock the user's row: from here on this transaction alone changes the tree.

    Others have it in the order in which they asked.
    """
    take_turn(session, f"tree {user_id}")
    query = select(User).where(User.id == user_id).with_for_update()
    user = session.scalars(
        query, execution_options={"populate_existing": True}
    ).one_or_none()
    if user is None:
        raise NotFound
    return user


def _chain() -> Select[Entry]:
    start = select(Entry.id, Entry.parent_id, literal(0).label("distance"))
    start = start.where(Entry.id == bindparam("entry_id"))
    up = start.cte("up", recursive=True)
    above = aliased(Entry)
    step = select(above.id, above.parent_id, up.c.distance + 1)
    up = up.union_all(step.join(up, above.id == up.c.parent_id))
    return select(Entry).join(up, Entry.id == up.c.id).order_by(up.c.distance.desc())


# Made once: putting it together takes longer than running it, and every request does.
_CHAIN = _chain()


def chain(session: AnySession, user_id: int, entry_id: str) -> list[Entry]:
    """Return the entry and its ancestors, the top first; NotFound unless all theirs."""
    entries = list(session.scalars(_CHAIN, {"entry_id": checked_id(entry_id)}))
    if not entries or any(entry.owner_id != user_id for entry in entries):
        raise NotFound
    return entries


def live_chain(
    session: AnySession, user_id: int, entry_id: str, kind: int | None = None
) -> list[Entry]:
    """Return the chain of a live entry of this user and kind, or raise NotFound.

    This is the one gate to what is live: another's, trashed, purged, of the other kind
    and never existed all look the same from outside.
    """
    entries = chain(session, user_id, entry_id)
    if entries[0].trashed_at is not None:
        raise NotFound
    if kind is not None and entries[-1].kind != kind:
        raise NotFound
    return entries


def pick(
    session: AnySession, user_id: int, ids: Iterable[str], kind: int | None = None
) -> list[Entry]:
    """Return these entries of the user in the order asked, live or in the trash.

    Raises NotFound when one of them is neither; what lies inside something trashed
    counts as not there.
    """
    wanted = list(dict.fromkeys(map(checked_id, ids)))
    found: dict[str, Entry] = {}
    for part in batches(wanted):
        for entry in session.scalars(select(Entry).where(Entry.id.in_(part))):
            found[entry.id] = entry
    entries = [found[id_] for id_ in wanted if id_ in found]
    if len(entries) != len(wanted) or not wanted:
        raise NotFound
    if any(entry.owner_id != user_id for entry in entries):
        raise NotFound
    if kind is not None and any(entry.kind != kind for entry in entries):
        raise NotFound
    for parent_id in {e.parent_id for e in entries if e.parent_id is not None}:
        live_chain(session, user_id, parent_id)
    return entries


def root_of(session: AnySession, user_id: int) -> Entry | None:
    """Return the user's root, if it was made already."""
    return session.scalars(
        select(Entry).where(
            Entry.owner_id == user_id,
            Entry.parent_id.is_(None),
            Entry.trashed_at.is_(None),
        )
    ).one_or_none()


def named(session: AnySession, folder_id: str, name: str) -> Entry | None:
    """Return the child of a folder with this name."""
    return session.scalars(
        select(Entry).where(Entry.parent_id == folder_id, Entry.name == name)
    ).one_or_none()


def refuse_taken(session: AnySession, folder_id: str, name: str) -> None:
    """Raise NameTaken if the folder has an entry with this name."""
    entry = named(session, folder_id, name)
    if entry is not None:
        raise NameTaken(
            f"There is already a {entry.kind_word} named “{name}” in this folder. "
            "Nothing was changed. Choose another name."
        )


def free_name(
    session: AnySession, folder_id: str, name: str, *, folder: bool = False
) -> str:
    """Return `name`, or the first numbered one that is free in the folder."""
    if named(session, folder_id, name) is None:
        return name
    first = 2
    while True:
        batch = [
            numbered(name, number, folder=folder)
            for number in range(first, first + _BATCH)
        ]
        taken = set(
            session.scalars(
                select(Entry.name).where(
                    Entry.parent_id == folder_id, Entry.name.in_(batch)
                )
            )
        )
        for candidate in batch:
            if candidate not in taken:
                return candidate
        first += _BATCH


def refuse_depth(levels: int) -> None:
    """Raise TooDeep if a folder would lie more than MAX_DEPTH below the root."""
    if levels > MAX_DEPTH:
        raise TooDeep(
            f"Folders can lie {MAX_DEPTH} deep at most, and this would be deeper. "
            "Nothing was changed. Choose a folder nearer to the top."
        )


@dataclass
class Subtree:
    """Folders level by level, the tops first; how many entries, and their bytes."""

    levels: list[list[str]] = field(default_factory=list)
    count: int = 0
    bytes: int = 0


def below(session: AnySession, tops: ColumnElement[bool]) -> Subtree:
    """Walk down from the entries that match.

    One plain query for each level and few hundred folders: a recursive query over a
    table whose statistics are stale can take minutes for the same walk. Only files
    among the tops are counted, because every folder knows what it holds.
    """
    found = Subtree()
    alone = select(func.count(), func.sum(Entry.size)).where(Entry.kind == FILE)
    count, size = session.execute(alone.where(tops)).one()
    found.count, found.bytes = int(count), int(size or 0)
    columns = select(Entry.id, Entry.files, Entry.bytes).where(Entry.kind == FOLDER)
    level = session.execute(columns.where(tops)).all()
    while level:
        found.levels.append([row.id for row in level])
        found.count += len(level) + sum(row.files for row in level)
        found.bytes += sum(row.bytes for row in level)
        level = [
            row
            for batch in batches(found.levels[-1])
            for row in session.execute(columns.where(Entry.parent_id.in_(batch)))
        ]
    return found


def batches(ids: Sequence[_Id]) -> Iterator[Sequence[_Id]]:
    """Cut a list of ids into pieces that a statement can carry."""
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]


def height(session: AnySession, entry: Entry) -> int:
    """Return how many levels of folders lie in this entry, itself included."""
    return len(below(session, Entry.id == entry.id).levels)


def attach(session: AnySession, entry: Entry, folder_id: str, name: str) -> None:
    """Give the entry its place, and count it there."""
    entry.parent_id = folder_id
    set_name(entry, name)
    recount(session, folder_id, entry, +1)


def detach(session: AnySession, entry: Entry) -> None:
    """Take the entry out of its folder's counters; the caller places it anew."""
    if entry.parent_id is not None:
        recount(session, entry.parent_id, entry, -1)


def set_name(entry: Entry, name: str) -> None:
    """Set a checked name and the key that it sorts by."""
    entry.name = name
    entry.sort_key = sort_key(name)


def recount(session: AnySession, folder_id: str, entry: Entry, sign: int) -> None:
    """Count an entry in or out of a folder, which changes with what it holds."""
    values: dict[str, ColumnElement[Any]] = {}
    if entry.kind == FOLDER:
        values["folders"] = Entry.folders + sign
    else:
        values["files"] = Entry.files + sign
        values["bytes"] = Entry.bytes + sign * entry.size
    count(session, folder_id, values)


def count(
    session: AnySession, folder_id: str, values: dict[str, ColumnElement[Any]]
) -> None:
    """Change a folder's counters where they stand, and its time."""
    session.execute(
        update(Entry)
        .where(Entry.id == folder_id)
        .values(**values, changed_at=utcnow()),
        execution_options={"synchronize_session": False},
    )
