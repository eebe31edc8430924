"""The tables of folders and files, and the answers kept for repeated requests."""

import secrets
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.db import Base, UTCDateTime, utcnow

FOLDER = 0
FILE = 1
KIND_WORDS = {FOLDER: "folder", FILE: "file"}


def new_id() -> str:
    """Return 128 random bits as 22 url-safe characters."""
    return secrets.token_urlsafe(16)


class Entry(Base):
    """A folder or a file.

    Without a parent it is its owner's root, or the top of something in the
    trash. So an entry is live exactly when its ancestors end in the root, and
    putting a folder into the trash touches one row, whatever lies below it.
    """

    __tablename__ = "entries"

    id: Mapped[str] = mapped_column(String(22), primary_key=True, default=new_id)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("entries.id"))
    kind: Mapped[int] = mapped_column(SmallInteger)
    name: Mapped[str] = mapped_column(String(255))
    sort_key: Mapped[bytes] = mapped_column(LargeBinary)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    blob_id: Mapped[UUID | None] = mapped_column(Uuid, ForeignKey("blobs.uuid"))
    media_type: Mapped[str | None] = mapped_column(String(127))
    trashed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # No foreign key: the old folder may be purged while this waits in the trash.
    trashed_from: Mapped[str | None] = mapped_column(String(22))
    # What a folder holds directly, so that no page has to count.
    files: Mapped[int] = mapped_column(BigInteger, default=0)
    folders: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)

    __table_args__ = (
        UniqueConstraint("parent_id", "name"),
        CheckConstraint(
            "(kind = 0 AND blob_id IS NULL) OR (kind = 1 AND blob_id IS NOT NULL)",
            name="kind_blob",
        ),
        Index("ix_entries_by_name", "parent_id", "kind", "sort_key"),
        Index("ix_entries_by_size", "parent_id", "kind", "size", "sort_key"),
        Index("ix_entries_by_date", "parent_id", "kind", "changed_at", "sort_key"),
        Index(
            "ix_entries_trash",
            "owner_id",
            "trashed_at",
            "id",
            sqlite_where=text("trashed_at IS NOT NULL"),
            postgresql_where=text("trashed_at IS NOT NULL"),
        ),
        Index(
            "uq_entries_root",
            "owner_id",
            unique=True,
            sqlite_where=text("parent_id IS NULL AND trashed_at IS NULL"),
            postgresql_where=text("parent_id IS NULL AND trashed_at IS NULL"),
        ),
        Index("ix_entries_blob_id", "blob_id"),
    )

    @property
    def is_folder(self) -> bool:
        """Tell whether this is a folder."""
        return self.kind == FOLDER

    @property
    def kind_word(self) -> str:
        """Return "folder" or "file"."""
        return KIND_WORDS[self.kind]


class IdempotencyKey(Base):
    """The answer to a finished request, given again when it is repeated."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    # What was asked, so that a key used for something else is refused.
    request: Mapped[str] = mapped_column(String(64))
    answer: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        UTCDateTime, default=utcnow, index=True
    )
