"""What the pages show: a folder, one entry, the chooser, the trash.

Every query takes the user and finds nothing that is not theirs.
"""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flask import current_app, url_for
from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import aliased

from auth.models import User
from files import listing, quota, services, tree
from files.contexts import (
    ChoiceRow,
    ChooserPage,
    ConfirmPage,
    Crumb,
    EntryPage,
    Folder,
    FolderPage,
    Row,
    TrashPage,
    TrashRow,
    Usage,
)
from files.errors import BadRequest, NotFound
from files.listing import PAGE, Order
from files.models import FILE, FOLDER, KIND_WORDS, Entry
from storage.db import db, utcnow
from storage.models import Blob


def folder_page(user_id: int, folder_id: str, order: Order) -> FolderPage:
    """Return one page of a live folder of this user."""
    above = tree.live_chain(db.session, user_id, folder_id, FOLDER)
    folder = above[-1]
    records, next_cursor = listing.records(db.session, folder_id, order.checked())
    return FolderPage(
        folder=_folder(folder),
        crumbs=_crumbs(above),
        rows=[_row(record) for record in records],
        sort=order.sort,
        direction=order.direction,
        sort_urls=_sort_urls(folder, order),
        next_url=_url(folder, order, next_cursor) if next_cursor else None,
        first_url=_url(folder, order, None) if order.after else None,
        files=folder.files,
        folders=folder.folders,
        bytes=folder.bytes,
    )


def _url(folder: Entry, order: Order, after: str | None) -> str:
    # The root has two addresses; the pager stays on the one with its id.
    return url_for(
        "files.folder",
        id=folder.id,
        sort=order.sort,
        direction=order.direction,
        after=after,
    )


def _sort_urls(folder: Entry, order: Order) -> dict[str, str]:
    urls = {}
    for sort in listing.SORTS:
        turned = sort == order.sort and order.direction == "asc"
        urls[sort] = _url(folder, Order(sort, "desc" if turned else "asc"), None)
    return urls


def _folder(entry: Entry) -> Folder:
    return Folder(entry.id, entry.name, _folder_url(entry), entry.parent_id is None)


def _folder_url(entry: Entry) -> str:
    if entry.parent_id is None:
        return url_for("files.home")
    return url_for("files.folder", id=entry.id)


def _crumbs(above: Sequence[Entry]) -> list[Crumb]:
    return [Crumb(entry.id, entry.name, _folder_url(entry)) for entry in above]


def _row(record: Any) -> Row:
    if record.kind == FOLDER:
        url = url_for("files.folder", id=record.id)
        details = url_for("files.folder_details", id=record.id)
        return _plain_row(record, None, url, details, None)
    url = url_for("files.file", id=record.id)
    return _plain_row(
        record, record.size, url, url, url_for("files.download", id=record.id)
    )


def _plain_row(
    record: Any, size: int | None, url: str, details: str, download: str | None
) -> Row:
    return Row(
        id=record.id,
        kind=KIND_WORDS[record.kind],
        name=record.name,
        size=size,
        changed_at=record.changed_at,
        url=url,
        details_url=details,
        download_url=download,
    )


def entry_page(user_id: int, entry_id: str, kind: int) -> EntryPage:
    """Return everything about one live entry."""
    above = tree.live_chain(db.session, user_id, entry_id, kind)
    entry = above[-1]
    blob = db.session.get(Blob, entry.blob_id) if entry.blob_id else None
    folder = above[-2] if len(above) > 1 else entry
    return EntryPage(
        entry=_row(entry),
        folder=_folder(folder),
        crumbs=_crumbs(above),
        created_at=entry.created_at,
        media_type=entry.media_type,
        sha256=blob.sha256.hex() if blob and blob.sha256 else None,
        verified_at=blob.verified_at if blob else None,
        damaged=bool(blob and blob.damaged),
        at_risk=bool(blob and blob.at_risk),
        files=entry.files,
        folders=entry.folders,
        bytes=entry.bytes,
    )


def chooser_page(
    user_id: int, ids: Sequence[str], at: str | None, after: str | None
) -> ChooserPage:
    """Return the folders inside `at` (the root) into which a selection can go."""
    chosen = tree.pick(db.session, user_id, ids)
    folder_id = at or services.root(user_id).id
    above = tree.live_chain(db.session, user_id, folder_id, FOLDER)
    order = Order(after=after)
    records, cursor = listing.records(db.session, folder_id, order, (FOLDER,))
    kept = [entry.id for entry in chosen]

    def url(place: str, after: str | None = None) -> str:
        return url_for("files.choose", entry=kept, at=place, after=after)

    return ChooserPage(
        folder=_folder(above[-1]),
        crumbs=[Crumb(entry.id, entry.name, url(entry.id)) for entry in above],
        folders=[
            ChoiceRow(record.id, record.name, url(record.id), record.id in kept)
            for record in records
        ],
        ids=kept,
        names=[entry.name for entry in chosen],
        next_url=url(folder_id, cursor) if cursor else None,
        first_url=url(folder_id) if after else None,
    )


def confirm_page(
    user_id: int, ids: Sequence[str], kind: int | None, action: str
) -> ConfirmPage:
    """Return what a purge of these entries would remove."""
    chosen = tree.pick(db.session, user_id, ids, kind)
    return ConfirmPage(
        names=[entry.name for entry in chosen],
        ids=[entry.id for entry in chosen],
        count=len(chosen),
        whole_trash=False,
        action=action,
    )


def confirm_whole_trash(user_id: int, action: str) -> ConfirmPage:
    """Return what emptying the trash would remove: its first names, and how many."""
    tops = _trash_of(user_id)
    names = db.session.scalars(select(Entry.name).where(tops).limit(PAGE)).all()
    count = tree.below(db.session, tops).count
    return ConfirmPage(list(names), [], count, True, action)


def _trash_of(user_id: int) -> ColumnElement[bool]:
    return (Entry.owner_id == user_id) & Entry.trashed_at.is_not(None)


def trash_page(user_id: int, after: str | None = None) -> TrashPage:
    """Return one page of the trash, what was deleted last first."""
    query = select(Entry).where(_trash_of(user_id))
    if after is not None:
        query = query.where(tuple_(Entry.trashed_at, Entry.id) < _trash_mark(after))
    query = query.order_by(Entry.trashed_at.desc(), Entry.id.desc()).limit(PAGE + 1)
    found = list(db.session.scalars(query))
    more = len(found) > PAGE
    found = found[:PAGE]
    days = current_app.config["HOLDFAST"].trash_days
    paths = _paths({entry.trashed_from for entry in found if entry.trashed_from})
    return TrashPage(
        rows=[_trash_row(entry, paths, days) for entry in found],
        next_url=url_for("files.trash", after=_trash_cursor(found[-1]))
        if more
        else None,
        first_url=url_for("files.trash") if after else None,
        days=days,
        bytes=quota.trash_bytes(db.session, user_id),
    )


def _trash_cursor(entry: Entry) -> str:
    moment = entry.trashed_at.isoformat() if entry.trashed_at else ""
    return listing.pack([moment, entry.id])


def _trash_mark(after: str) -> Any:
    try:
        moment, entry_id = listing.unpack(after, 2)
        mark = (listing.moment(moment), tree.checked_id(entry_id))
    except (ValueError, TypeError, NotFound) as error:
        raise BadRequest(
            "This link to more rows is broken. Go back to the trash."
        ) from error
    return tuple_(*mark, types=[Entry.trashed_at.type, Entry.id.type])


def _trash_row(entry: Entry, paths: dict[str, str], days: float) -> TrashRow:
    trashed_at = entry.trashed_at or utcnow()
    left = trashed_at + timedelta(days=days) - utcnow()
    return TrashRow(
        id=entry.id,
        kind=entry.kind_word,
        name=entry.name,
        size=entry.size if entry.kind == FILE else None,
        trashed_at=trashed_at,
        from_path=paths.get(entry.trashed_from or ""),
        days_left=max(0, math.ceil(left / timedelta(days=1))),
    )


def _paths(ids: set[str]) -> dict[str, str]:
    """Return the paths of those of the folders that are live, with one query."""
    start = select(Entry.id.label("origin"), Entry.id, Entry.parent_id)
    up = start.where(Entry.id.in_(ids)).cte("up", recursive=True)
    above = aliased(Entry)
    step = select(up.c.origin, above.id, above.parent_id)
    up = up.union_all(step.join(up, above.id == up.c.parent_id))
    found: dict[str, dict[str | None, Entry]] = {}
    query = select(up.c.origin, Entry).join(up, Entry.id == up.c.id)
    for origin, entry in db.session.execute(query):
        found.setdefault(origin, {})[entry.id] = entry
    return {
        origin: path
        for origin, entries in found.items()
        if (path := _path(origin, entries)) is not None
    }


def _path(origin: str, entries: dict[str | None, Entry]) -> str | None:
    names = []
    entry = entries[origin]
    while entry.parent_id is not None:
        names.append(entry.name)
        entry = entries[entry.parent_id]
    if entry.trashed_at is not None:
        return None
    return " / ".join([entry.name, *reversed(names)])


def usage(user_id: int) -> Usage:
    """Return how much room the user has taken."""
    user = db.session.get_one(User, user_id)
    return Usage(user.used_bytes, quota.quota_of(user))
