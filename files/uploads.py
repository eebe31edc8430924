"""How a body becomes a file: checks, the array, then one transaction that shows it.

The name, the folder, the room and the client's digest are looked at before bytes move,
and again in the transaction that makes the file visible, because all of them may have
changed while the bytes came.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from flask import current_app
from sqlalchemy import delete

from auth import access
from auth.models import User
from files import disposition, quota, ranges, tree
from files.errors import (
    Conflict,
    FilesError,
    KeyReused,
    NameTaken,
    NotFound,
    PreconditionFailed,
    TooLarge,
)
from files.models import FILE, FOLDER, Entry, IdempotencyKey
from files.names import check_name
from storage import blobs
from storage.blobs import Incoming, Wanted
from storage.db import db, release, transaction, utcnow
from storage.uploads import Reserve, let_in
from storage.words import filesize

KEY_DAYS = 2
LARGEST = 2**63 - 1
"""The largest size that fits into a row."""


class Taken(Enum):
    """What to do when the name is taken."""

    REFUSE = "refuse"
    REPLACE = "replace"
    NUMBER = "number"


class Source(Protocol):
    """Where the bytes come from; 0 is a clean end, and a cut body raises."""

    def readinto(self, view: memoryview) -> int:
        """Fill the view, at least partly."""


@dataclass(frozen=True)
class Offer:
    """What the client says about a file before its bytes."""

    name: str
    size: int | None = None
    media_type: str | None = None
    sha256: bytes | None = None
    taken: Taken = Taken.REFUSE
    key: str | None = None
    changed_at: datetime | None = None
    if_match: str | None = None
    if_none_match: str | None = None

    def fingerprint(self, folder_id: str) -> str:
        """Return what tells this request from another one with the same key."""
        digest = self.sha256.hex() if self.sha256 else None
        said = [folder_id, self.name, self.size, digest, self.taken.value]
        conditions = [self.if_match, self.if_none_match]
        if any(text is not None for text in conditions):
            said += conditions
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What the client is told; `created` is false when old bytes were replaced."""

    body: dict[str, Any]
    repeated: bool = False


class _Repeat(Exception):
    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__("The request with this key was answered meanwhile.")
        self.body = body


@dataclass(frozen=True)
class _Plan:
    """What the first look found: whose, where, and the room for it."""

    user: User
    path: str
    room: quota.Room | None
    old: int


class Capped:
    """A source that refuses to give more bytes than there is room for."""

    def __init__(
        self, source: Source, limit: int, refusal: Callable[[], Exception]
    ) -> None:
        self._source = source
        self._left = limit
        self._refusal = refusal

    def readinto(self, view: memoryview) -> int:
        """Read on; raises the refusal once the limit is passed."""
        count = self._source.readinto(view)
        self._left -= count
        if self._left < 0:
            raise self._refusal()
        return count


def check(user_id: int, folder_id: str, offer: Offer) -> Answer | None:
    """Return the answer that this upload got already; raise what it would meet now."""
    begun = _begin(user_id, folder_id, offer)
    return begun if isinstance(begun, Answer) else None


def answered(user_id: int, folder_id: str, offer: Offer) -> Answer | None:
    """Return the answer that a request with this key got already."""
    body = _known(db.session, user_id, folder_id, offer)
    return None if body is None else Answer(body, repeated=True)


def upload(user_id: int, folder_id: str, offer: Offer, source: Source) -> Answer:
    """Store a body under a name and return what the client is told.

    A repeat of an answered request gets the same answer, and its body is not read.
    """
    begun = _begin(user_id, folder_id, offer)
    if isinstance(begun, Answer):
        return begun
    return _receive(user_id, folder_id, offer, _capped(begun, offer, source), begun)


def _begin(user_id: int, folder_id: str, offer: Offer) -> Answer | _Plan:
    known = answered(user_id, folder_id, offer)
    if known is not None:
        return known
    try:
        return _plan(user_id, folder_id, offer)
    except FilesError:
        # The first of two equal requests may have been done just now.
        known = answered(user_id, folder_id, offer)
        if known is not None:
            return known
        raise


def _receive(
    user_id: int, folder_id: str, offer: Offer, source: Source, plan: _Plan
) -> Answer:
    wanted = Wanted(
        name=offer.name,
        folder=plan.path,
        owner=plan.user.name,
        media_type=offer.media_type or "",
        owner_id=user_id,
        size=offer.size,
        sha256=offer.sha256,
        takes=None if offer.size is None else max(0, offer.size - plan.old),
    )
    release()
    reserve = _reserve(user_id, plan, offer.size)
    try:
        with blobs.receive(wanted, source, _admit(plan), reserve) as incoming:
            return Answer(_commit(user_id, folder_id, offer, incoming))
    except _Repeat as repeat:
        return Answer(repeat.body, repeated=True)


def _plan(user_id: int, folder_id: str, offer: Offer) -> _Plan:
    check_name(offer.name)
    limit_size(offer.size)
    above = tree.live_chain(db.session, user_id, folder_id, FOLDER)
    old = _replaced(db.session, folder_id, offer)
    old_size = old.size if old else 0
    user = db.session.get_one(User, user_id)
    room = quota.room_beside(db.session, user, old_size)
    quota.refuse_over(db.session, user, room, offer.size or 0, offer.size)
    path = "/" + "/".join(folder.name for folder in above[1:])
    return _Plan(user, path, room, old_size)


def limit_size(size: int | None) -> None:
    """Raise TooLarge if this is over the operator's limit, or what a row can count."""
    limit = current_app.config["HOLDFAST"].max_upload_bytes
    limit = LARGEST if limit is None else min(limit, LARGEST)
    if size is not None and size > limit:
        raise too_large(limit)


def refuse_over_quota(user_id: int, size: int) -> None:
    """Raise OverQuota if the user has not that much room."""
    user = db.session.get_one(User, user_id)
    room = quota.room_beside(db.session, user)
    quota.refuse_over(db.session, user, room, size, size)


def too_large(limit: int) -> TooLarge:
    """Return the refusal of a body over the limit."""
    return TooLarge(
        f"This is larger than {filesize(limit)}, the most that this site takes "
        "at once. Nothing was kept. Split it, or ask for a higher limit."
    )


def _replaced(session: tree.AnySession, folder_id: str, offer: Offer) -> Entry | None:
    """Return the file whose bytes this upload replaces.

    Raises NameTaken, and PreconditionFailed where the client knows another file.
    """
    if offer.taken is Taken.NUMBER:
        return None
    old = tree.named(session, folder_id, offer.name)
    if old is not None and (offer.taken is not Taken.REPLACE or old.kind != FILE):
        raise NameTaken(
            f"There is already a {old.kind_word} named “{offer.name}” in this folder. "
            "Nothing was changed. Choose another name."
        )
    etag = disposition.etag(old.id, old.blob_id) if old else None
    if not ranges.may_change(offer.if_match, offer.if_none_match, etag):
        raise PreconditionFailed(
            f"“{offer.name}” is not as you know it: it was made, changed or removed "
            "since you looked. Nothing was kept. Fetch it anew, then decide."
        )
    return old


def _capped(plan: _Plan, offer: Offer, source: Source) -> Source:
    limit = current_app.config["HOLDFAST"].max_upload_bytes
    if limit is not None and offer.size is None:
        source = Capped(source, limit, lambda: too_large(limit))
    if plan.room is not None and offer.size is None:
        source = Capped(source, plan.room.limit, lambda: _no_room(plan, None))
    return source


def _no_room(plan: _Plan, need: int | None) -> Exception:
    room = plan.room or quota.Room(0)
    refusal = quota.over_quota(db.session, plan.user, need, room)
    release()
    return refusal


def _admit(plan: _Plan) -> Callable[[int], None]:
    def admit(size: int) -> None:
        if plan.room is not None and size > plan.room.limit:
            raise _no_room(plan, size)

    return admit


def _reserve(user_id: int, plan: _Plan, need: int | None) -> Reserve:
    """Return what looks for the room again while no other upload can take it."""

    def reserve(session: tree.AnySession, blob: UUID, size: int) -> None:
        user = tree.lock_owner(session, user_id)
        room = quota.room_beside(session, user, plan.old, blob)
        quota.refuse_over(session, user, room, size, need)

    return let_in if plan.room is None else reserve


def _commit(
    user_id: int, folder_id: str, offer: Offer, incoming: Incoming
) -> dict[str, Any]:
    with transaction() as session:
        user = tree.lock_owner(session, user_id)
        access.refuse_disabled(user)
        known = _known(session, user_id, folder_id, offer)
        if known is not None:
            raise _Repeat(known)
        _refuse_gone(session, user_id, folder_id)
        old = _replaced(session, folder_id, offer)
        blob = incoming.commit(session)
        session.flush()
        quota.charge(session, user, blob.size - (old.size if old else 0))
        entry = _replace(session, old, blob) if old else None
        if entry is None:
            entry = _add(session, user_id, folder_id, offer, blob)
        entry.media_type = offer.media_type
        if offer.changed_at is not None:
            entry.changed_at = offer.changed_at
        session.flush()
        body = describe(entry, blob)
        _remember(session, user_id, folder_id, offer, body)
        return body


def _refuse_gone(session: tree.AnySession, user_id: int, folder_id: str) -> None:
    try:
        tree.live_chain(session, user_id, folder_id, FOLDER)
    except NotFound as error:
        raise Conflict(
            "The folder was deleted while the file was on its way. Nothing was kept. "
            "Restore the folder from the trash, or choose another one."
        ) from error


def _add(
    session: tree.AnySession,
    user_id: int,
    folder_id: str,
    offer: Offer,
    blob: blobs.Blob,
) -> Entry:
    name = offer.name
    if offer.taken is Taken.NUMBER:
        name = tree.free_name(session, folder_id, name)
    entry = Entry(owner_id=user_id, kind=FILE, size=blob.size, blob_id=blob.uuid)
    tree.attach(session, entry, folder_id, name)
    session.add(entry)
    return entry


def _replace(session: tree.AnySession, old: Entry, blob: blobs.Blob) -> Entry:
    if old.blob_id is not None:
        blobs.release(session, [old.blob_id])
    grown = blob.size - old.size
    old.blob_id, old.size, old.changed_at = blob.uuid, blob.size, utcnow()
    if old.parent_id is not None:
        tree.count(session, old.parent_id, {"bytes": Entry.bytes + grown})
    return old


def describe(entry: Entry, blob: blobs.Blob | None = None) -> dict[str, Any]:
    """Return an entry as scripts see it."""
    body: dict[str, Any] = {
        "id": entry.id,
        "kind": entry.kind_word,
        "name": entry.name,
        "folder": entry.parent_id,
    }
    if entry.kind == FILE and blob is not None:
        body["size"] = entry.size
        body["sha256"] = blob.sha256.hex() if blob.sha256 else None
    return body


def _known(
    session: tree.AnySession, user_id: int, folder_id: str, offer: Offer
) -> dict[str, Any] | None:
    if offer.key is None:
        return None
    row = session.get(IdempotencyKey, (user_id, offer.key))
    if row is None:
        return None
    if row.request != offer.fingerprint(folder_id):
        raise KeyReused(
            "This Idempotency-Key was used for another upload. Nothing was kept. Make "
            "a new key for each file."
        )
    body: dict[str, Any] = json.loads(row.answer)
    return body


def _remember(
    session: tree.AnySession,
    user_id: int,
    folder_id: str,
    offer: Offer,
    body: dict[str, Any],
) -> None:
    if offer.key is not None:
        session.add(
            IdempotencyKey(
                user_id=user_id,
                key=offer.key,
                request=offer.fingerprint(folder_id),
                answer=json.dumps(body),
            )
        )


def forget_keys() -> int:
    """Drop the answers that nobody will ask for again: a chore of the worker."""
    before = utcnow() - timedelta(days=KEY_DAYS)
    with transaction() as session:
        gone = session.execute(
            delete(IdempotencyKey)
            .where(IdempotencyKey.created_at < before)
            .returning(IdempotencyKey.key)
        )
        return len(gone.all())
