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
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
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
    """Why it is owed: the member missed it, or what it has is bad."""

    AWAY = "away"
    DAMAGED = "damaged"


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
    added_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Upload(Base):
    """The intent to store a blob; it goes when the blob comes or is undone."""

    __tablename__ = "uploads"

    blob: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    attempt: Mapped[int] = mapped_column(BigInteger, default=1)
    state: Mapped[str] = mapped_column(String(16), default=UploadState.OPEN)
    # No foreign key: this package does not know the accounts.
    owner_id: Mapped[int | None]
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
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    tombstoned_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index("ix_blobs_due", "state", "due_at"),)


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
