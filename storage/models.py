"""The tables of the storage: the array, its members, uploads, blobs and debts.

The life of a blob only moves forward, so whoever wakes up late does no harm:

    upload open -> sealing -> blob live -> tombstoned -> purging -> (no row)
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.db import Base, UTCDateTime, utcnow

NONE = -1
"""Stands for "no segment" and "no role": NULLs would defeat a unique key."""

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


class UploadState(StrEnum):
    """How far an upload has come."""

    OPEN = "open"
    SEALING = "sealing"
    UNDOING = "undoing"


class BlobState(StrEnum):
    """Where a blob is in its life."""

    LIVE = "live"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"


class DebtKind(StrEnum):
    """What a member is owed."""

    SHARD = "shard"
    MANIFEST = "manifest"
    TOMBSTONE = "tombstone"


class Reason(StrEnum):
    """Why it is owed: the member missed it, what it has is bad, or it keeps it."""

    AWAY = "away"
    DAMAGED = "damaged"
    KEPT = "kept"


class JobKind(StrEnum):
    """What the worker does as a job: a row with a cursor, a lease and a report."""

    REBUILD = "rebuild"
    REPLACE = "replace"
    INVENTORY = "inventory"
    SCRUB = "scrub"
    DRILL = "drill"
    SWEEP = "sweep"
    RECEIPTS = "receipts"
    RESHAPE = "reshape"


class JobState(StrEnum):
    """How far a job has come; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ArrayRow(Base):
    """The one array; its row is the lock of the member map."""

    __tablename__ = "arrays"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    uuid: Mapped[UUID] = mapped_column(Uuid)
    level: Mapped[str] = mapped_column(String(16))
    width: Mapped[int]
    unit: Mapped[int]
    incarnation: Mapped[int] = mapped_column(BigInteger, default=1)
    event: Mapped[int] = mapped_column(BigInteger, default=1)
    event_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    readonly: Mapped[bool] = mapped_column(Boolean, default=False)
    # A sentence for administrators: why the array is read-only.
    readonly_why: Mapped[str | None] = mapped_column(Text)
    # The newest entry of the catalogue journal: its number in this incarnation (0 for
    # none yet) and its hash, which the next one is chained to.
    journal_number: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    journal_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Percent of the time that jobs may work; null is the setting PACE.
    pace: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class MemberRow(Base):
    """A member and its stored state."""

    __tablename__ = "members"

    uuid: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    slot: Mapped[int | None] = mapped_column(unique=True)
    url: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    # The last event whose superblock the member has; 0 before it was formatted.
    superblock_event: Mapped[int] = mapped_column(BigInteger, default=0)
    # The last journal entry of this incarnation that the member has acknowledged.
    journal_number: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # A planned replacement waits without a slot until it holds all that its slot holds.
    target_slot: Mapped[int | None]
    # It takes no new data, because its slot is being emptied.
    leaving: Mapped[bool] = mapped_column(Boolean, server_default=false())
    # It was away: what it holds is compared with the rows before it is in sync.
    inventory_due: Mapped[bool] = mapped_column(Boolean, server_default=false())
    added_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Upload(Base):
    """The intent to store a blob; it goes when the blob comes or is undone."""

    __tablename__ = "uploads"

    blob: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    attempt: Mapped[int] = mapped_column(BigInteger, default=1)
    state: Mapped[str] = mapped_column(String(16), default=UploadState.OPEN)
    # No foreign key: this package does not know the accounts.
    owner_id: Mapped[int | None]
    # What it will take of its owner's room, where that is known before.
    size: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    touched_at: Mapped[datetime] = mapped_column(
        UTCDateTime, default=utcnow, index=True
    )


class UploadSegment(Base):
    """A segment of an upload that is durable on its members."""

    __tablename__ = "upload_segments"

    blob: Mapped[UUID] = mapped_column(ForeignKey("uploads.blob"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    k: Mapped[int] = mapped_column(SmallInteger)
    m: Mapped[int] = mapped_column(SmallInteger)
    code: Mapped[int] = mapped_column(SmallInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    slots: Mapped[list[int]] = mapped_column(JSON)
    # The member that holds each role, as hex; null is owed.
    members: Mapped[list[str | None]] = mapped_column(JSON)


class Blob(Base):
    """An immutable run of bytes that the array holds."""

    __tablename__ = "blobs"

    uuid: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    form: Mapped[int] = mapped_column(SmallInteger)
    attempt: Mapped[int] = mapped_column(BigInteger)
    manifest_digest: Mapped[bytes] = mapped_column(LargeBinary)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Combined only: {"slots": [...], "k": 3, "m": 1, "code": 2}.
    layout: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), default=BlobState.LIVE)
    at_risk: Mapped[bool] = mapped_column(Boolean, default=False)
    damaged: Mapped[bool] = mapped_column(Boolean, default=False)
    # The slots that hold a role of it, sorted and with spaces between, and those of
    # segments that lie elsewhere apart: 0 1 | 2 3. Empty when every member holds the
    # whole of it (inline, empty), null when it is not known yet.
    slots: Mapped[str | None] = mapped_column(Text)
    # Of its segments: the least redundancy, and the bytes of one role of all of them.
    redundancy: Mapped[int | None] = mapped_column(SmallInteger)
    share: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # When every byte was last read back and verified: the time of the receipt.
    verified_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    tombstoned_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index("ix_blobs_due", "state", "due_at"),
        # Everything that "what if this dies" asks: answered without the rows.
        Index("ix_blobs_lie", "state", "slots", "redundancy", "share"),
        Index("ix_blobs_verified", "verified_at"),
    )


class Debt(Base):
    """One object that a member is owed."""

    __tablename__ = "debts"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    member_uuid: Mapped[UUID] = mapped_column(ForeignKey("members.uuid"))
    kind: Mapped[str] = mapped_column(String(16))
    blob: Mapped[UUID] = mapped_column(ForeignKey("blobs.uuid"))
    segment: Mapped[int] = mapped_column(BigInteger, default=NONE)
    role: Mapped[int] = mapped_column(SmallInteger, default=NONE)
    attempt: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(16), default=Reason.AWAY)
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    __table_args__ = (
        UniqueConstraint("member_uuid", "kind", "blob", "segment", "role"),
        Index("ix_debts_blob", "blob"),
        Index("ix_debts_due", "member_uuid", "kind", "due_at"),
    )


class Job(Base):
    """Long work of the array, done step by step by whichever worker holds the lease."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    # No foreign key: the report outlives the member.
    member_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    slot: Mapped[int | None]
    params: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    # Where the next step goes on; each kind has its own form.
    cursor: Mapped[str | None] = mapped_column(Text)
    done_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    done_objects: Mapped[int] = mapped_column(BigInteger, default=0)
    total_objects: Mapped[int] = mapped_column(BigInteger, default=0)
    # What was counted, by word, and what could not be done, one entry per object.
    counts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    report: Mapped[list[Any]] = mapped_column(JSON, default=list)
    # A sentence: why it is paused or has failed.
    problem: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(String(64))
    lease: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # How often the lease was taken from somebody who had let it run out.
    takeovers: Mapped[int] = mapped_column(default=0)
    # Seconds of work and of rest, from which the rate and the time left follow.
    seconds: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    touched_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index("ix_jobs_state", "state", "id"),
        Index("ix_jobs_kind", "kind", "finished_at"),
    )


class Event(Base):
    """Something that happened to the array; `word` is one of `storage.glossary`."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, index=True)
    word: Mapped[str] = mapped_column(String(48))
    slot: Mapped[int | None]
    member_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    # Who asked for it; null when the array did it by itself.
    actor: Mapped[str | None] = mapped_column(String(64))
    fields: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Outbox(Base):
    """A row of the catalogue that was changed and is not in the journal yet.

    Triggers write it in the transaction of the change, whoever makes it.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    name: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=func.now())


class JournalEntry(Base):
    """A frozen entry of the journal, kept until every member has a later snapshot.

    Numbers beyond `arrays.journal_number` are parts of a snapshot that is being made.
    """

    __tablename__ = "journal_entries"

    incarnation: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    snapshot: Mapped[bool] = mapped_column(Boolean, default=False)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Orphan(Base):
    """An object on a member that no row knew when it was seen."""

    __tablename__ = "orphans"

    member_uuid: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    modified_at: Mapped[datetime] = mapped_column(UTCDateTime)
    first_seen_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class OldestBeside(Base):
    """The newest version of the oldest release that may run here; there is one row.

    It is written with each version (`migrations/env.py`) and read by `storage.migrate`.
    """

    __tablename__ = "oldest_beside"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(String(32))
