"""The tables of this package: users, their sessions, and failed logins."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.db import Base, UTCDateTime, utcnow

_BigId = BigInteger().with_variant(Integer, "sqlite")


class User(Base):
    """An account. `name_key` is the name folded: names equal but for case are one."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str | None] = mapped_column(String(254))
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    disabled_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    used_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    # Not columns: what Flask-Login asks of a user. The token is that of the session
    # this object was loaded for; the database knows only its digest.
    session_token = ""
    is_authenticated = True
    is_anonymous = False

    @property
    def is_active(self) -> bool:
        """Tell whether the account may be used."""
        return self.disabled_at is None

    def get_id(self) -> str:
        """Return what the cookie names: a session, never the user."""
        return self.session_token


class LoginSession(Base):
    """One signed-in browser. The cookie holds a token, this row its digest."""

    __tablename__ = "login_sessions"

    id: Mapped[int] = mapped_column(_BigId, primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    seen_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(255))


class LoginFailure(Base):
    """One wrong (or not yet decided) password, counted by account and by address.

    `key` is a digest: people type passwords into the field for the name.
    """

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "scope", "key", "at"),)

    id: Mapped[int] = mapped_column(_BigId, primary_key=True)
    scope: Mapped[str] = mapped_column(String(8))
    key: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class KeyMark(Base):
    """The mark of the secret key that all instances have; there is one row."""

    __tablename__ = "key_marks"

    id: Mapped[int] = mapped_column(primary_key=True)
    mark: Mapped[str] = mapped_column(String(64))
