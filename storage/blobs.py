"""Blobs: bytes in, bytes out, bytes let go of. What `files` uses of the storage.

with blobs.receive(wanted, source, admit) as incoming:     # steps 0 to 3
    with transaction() as session:
        blob = incoming.commit(session)                     # step 4
        ...                                                 # the caller's rows
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from flask import current_app
from sqlalchemy import Select, Table, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from raid.array import Array
from raid.errors import RaidError
from raid.manifest import Description, Form
from raid.plans import healthy_slots
from raid.reader import read
from raid.superblock import StoredState
from raid.writer import Source, Stored, write
from storage import debts, maps, uploads, watch
from storage.blobref import manifest_of, reference
from storage.clock import latest
from storage.db import db, utcnow
from storage.db import release as end_reading
from storage.errors import BlobGone, HoldersGone, StorageError
from storage.models import Blob, BlobState, DebtKind
from storage.runtime import Runtime, runtime
from storage.shares import shares_of
from storage.uploads import Wanted

__all__ = ["Blob", "Incoming", "Reading", "Wanted", "open_blob", "receive", "release"]

_LOG = logging.getLogger("holdfast.blobs")
_MAY_BE_READ = (StoredState.IN_SYNC, StoredState.REBUILDING, StoredState.STALE)
_INSERT = insert(cast(Table, Blob.__table__))


class Incoming:
    """Bytes that are durable and not yet visible."""

    def __init__(self, array: Array, log: uploads.Log, stored: Stored) -> None:
        self.blob: UUID = stored.blob
        self.size: int = stored.size
        self.sha256: bytes | None = stored.sha256
        self.at_risk: bool = stored.at_risk
        self.committed = False
        self.map_changed = False
        self._array = array
        self._log = log
        self._stored = stored
        # Who was written to: by the commit, somebody else may be in a slot.
        self._wrote_to = {entry.slot: entry.member for entry in array.map.slots}

    def read_back(self) -> Iterator[bytes]:
        """Yield what was stored as the members have it, verified."""
        ref = reference(Blob(**self._values(at_risk=False)))
        own = runtime()
        yield from read(
            self._array,
            ref,
            0,
            self.size,
            manifest=self._stored.manifest,
            on_damage=own.note_damage,
        )

    def commit(
        self, session: maps.AnySession, *, verified_at: datetime | None = None
    ) -> Blob:
        """Add the blob to the caller's transaction, with what members are owed.

        The upload's rows go in the same transaction, and the member map stays locked
        until it ends. What is returned belongs to no session. `verified_at` is when
        every byte was read back, if that was done.
        """
        locked = maps.lock(session)
        locked.refuse_readonly()
        self._log.close(session)
        lacks = debts.lacking(locked, self._stored, self._wrote_to)
        self._refuse_unreadable(locked)
        # What one on its way into a slot is owed, the slot's present member has.
        owed = any(
            kind == DebtKind.SHARD and member.slot is not None
            for member, kind, _, _ in lacks
        )
        values = self._values(at_risk=self.at_risk or owed)
        values["verified_at"] = verified_at
        session.execute(_INSERT, values)
        if lacks:
            debts.owe(locked, self._stored, lacks)
        self.committed, self.map_changed = True, locked.changed
        return Blob(**values)

    def _refuse_unreadable(self, locked: maps.LockedMap) -> None:
        """Raise when too few of the members that were written to still count.

        An upload keeps the map that it began with, and what a replaced member holds
        is never read again. Debts can't be paid from nothing.
        """
        stored = self._stored
        there = {
            (slot, member.uuid)
            for slot, member in locked.by_slot().items()
            if member.state in _MAY_BE_READ
        }
        described = any(
            (slot, self._wrote_to.get(slot)) in there for slot in stored.manifest_on
        )
        whole = all(
            len(there.intersection(zip(row.slots, holders, strict=True))) >= row.shape.k
            for row, holders in zip(stored.rows, stored.holders, strict=True)
        )
        if not (described and whole):
            raise HoldersGone

    def _values(self, *, at_risk: bool) -> dict[str, Any]:
        stored = self._stored
        return {
            "uuid": stored.blob,
            "size": stored.size,
            "form": int(stored.form),
            "attempt": stored.attempt,
            "manifest_digest": stored.manifest_digest,
            "root": stored.root,
            "sha256": stored.sha256,
            "layout": self._layout(),
            **shares_of(stored.manifest)._asdict(),
            "state": BlobState.LIVE,
            "at_risk": at_risk,
            "damaged": False,
            "created_at": utcnow(),
        }

    def _layout(self) -> dict[str, object] | None:
        if self._stored.form != Form.COMBINED:
            return None
        row = self._stored.rows[0]
        shape = row.shape
        return {
            "slots": list(row.slots),
            "k": shape.k,
            "m": shape.m,
            "code": int(shape.code),
        }


@contextmanager
def receive(
    wanted: Wanted,
    source: Source,
    admit: Callable[[int], None],
    reserve: uploads.Reserve = uploads.let_in,
) -> Iterator[Incoming]:
    """Store everything that a source gives; undo it unless it is committed inside.

    `admit` is called with the true size before the blob can come into being, and
    raises to refuse it; `reserve` does so before the first byte is read, and while
    bytes of unknown number come.
    """
    own = runtime()
    watch.start(own)
    end_reading()
    array = own.array()
    healthy_slots(array)
    log = uploads.Log(wanted, admit, reserve)
    incoming = None
    try:
        log.begin()
        own.uploads.add(log.blob)
        incoming = Incoming(array, log, _write(own, array, wanted, source, log))
        yield incoming
    except BaseException:
        _undo(own, array, log)
        raise
    else:
        if not incoming.committed:
            _undo(own, array, log)
    finally:
        own.uploads.discard(log.blob)
        if incoming is None or incoming.map_changed:
            own.forget_map()


def _write(
    own: Runtime, array: Array, wanted: Wanted, source: Source, log: uploads.Log
) -> Stored:
    kept = wanted.uploaded_us
    first_us = _now_us() if kept is None else kept
    description = Description(
        wanted.name,
        wanted.folder,
        wanted.owner,
        wanted.media_type,
        first_us,
    )
    return write(
        array,
        log.blob,
        log.next_attempt,
        description,
        source,
        log,
        own.pool,
        want_sha256=wanted.sha256 is not None,
        size=wanted.size,
        sealed_us=_now_us if kept is None else None,
    )


def _now_us() -> int:
    return maps.microseconds(utcnow())


def _undo(own: Runtime, array: Array, log: uploads.Log) -> None:
    """Undo at once what failed; where that fails, too, the worker will."""
    if not log.begun:  # there was no room: no member need be asked for what it has
        return
    try:
        now = array.with_map(own.array().map)
        uploads.undo(now, log.blob, log.attempt, sealed=log.sealed)
    except (RaidError, StorageError, SQLAlchemyError) as error:
        _LOG.warning(
            "An upload could not be undone yet; the worker will do it: %s",
            error,
            extra={"fields": {"blob": log.blob}},
        )


def release(
    session: maps.AnySession, blobs: Sequence[UUID] | Select[UUID | None]
) -> None:
    """Let go of blobs that no file names any more, in the caller's transaction.

    Their bytes stay for the grace that the settings give, so that downloads end.
    """
    grace = current_app.config["HOLDFAST"].purge_grace_seconds
    now = utcnow()
    session.execute(
        update(Blob)
        .where(Blob.uuid.in_(blobs), Blob.state == BlobState.LIVE)
        .values(
            state=BlobState.TOMBSTONED,
            tombstoned_at=now,
            due_at=latest() + timedelta(seconds=grace),
        ),
        execution_options={"synchronize_session": False},
    )


class Reading:
    """A blob that can be read; needs neither request nor application context."""

    def __init__(self, own: Runtime, array: Array, blob: Blob) -> None:
        self.size: int = blob.size
        self.etag: str = f'"{blob.uuid.hex}"'
        self.sha256: bytes | None = blob.sha256
        # Values, because the row belongs to a session that ends before the bytes do.
        self._ref = reference(blob)
        self._own = own
        self._array = array

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield bytes start..stop, each chunk verified before it leaves.

        What can't be verified or rebuilt raises; that also ends a running answer.
        """
        own, ref = self._own, self._ref
        stop = self.size if stop is None else min(stop, self.size)
        running = object()
        own.downloads.add(running)
        try:
            manifest = manifest_of(own, self._array, ref, own.note_damage)
            yield from read(
                self._array,
                ref,
                start,
                stop,
                manifest=manifest,
                on_damage=own.note_damage,
            )
        except RaidError as error:
            # Absence may mean that it was purged meanwhile: cut, and no damage.
            if self._is_gone():
                raise BlobGone from error
            raise
        finally:
            own.downloads.discard(running)

    def _is_gone(self) -> bool:
        with self._own.app.app_context(), db.engine.connect() as connection:
            state = connection.scalar(
                select(Blob.state).where(Blob.uuid == self._ref.blob)
            )
        return state in (None, BlobState.PURGING)


def open_blob(blob: Blob) -> Reading:
    """Return a blob ready to be read; nothing is asked of a member yet."""
    if blob.state == BlobState.PURGING:
        raise BlobGone
    own = runtime()
    watch.start(own)
    return Reading(own, own.array(), blob)
