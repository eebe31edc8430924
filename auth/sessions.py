"""Who is signed in: rows in the database, named by an opaque token in the cookie.

Flask's signed cookie carries the token; the database knows only its SHA-256. So a
session ends when its row goes, whatever cookies are still about, and a stolen copy of
the database signs nobody in.
"""

import hashlib
import logging
import secrets
from datetime import datetime, timedelta

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_login import LoginManager, login_user
from itsdangerous import BadSignature
from sqlalchemy import Delete, delete, or_, select, update
from sqlalchemy.exc import DBAPIError

from auth.errors import WrongLogin
from auth.models import LoginSession, User
from auth.rows import change
from storage.db import db, transaction, utcnow
from storage.logs import client_address
from storage.logs import note as log

# A page with twenty pictures must not write twenty rows.
SEEN_EVERY = timedelta(minutes=1)
_TOKEN_BYTES = 32
_log = logging.getLogger("holdfast.auth")


class Logins(LoginManager):
    """Flask-Login without its remember cookie, which would outlive our rows."""

    def _update_remember_cookie(self, response: Response) -> Response:
        # Also keeps assets from touching the session after every request.
        return response

    def _load_user_from_remember_cookie(self, _cookie: str) -> None:
        return None


class Cookies(SecureCookieSessionInterface):
    """Flask's signed cookie, which does not expire for having been signed ahead.

    itsdangerous refuses what is a second younger than now: whoever signed in at an
    instance whose clock is ahead, or before a clock was put right, would be nobody.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the cookie; a bad or an old one is an empty session."""
        signer = self.get_signing_serializer(app)
        value = request.cookies.get(self.get_cookie_name(app))
        if signer is None or not value:
            return self.session_class()
        try:
            data, signed_at = signer.loads(value, return_timestamp=True)
        except BadSignature:
            return self.session_class()
        if utcnow() - signed_at > app.permanent_session_lifetime:
            return self.session_class()
        return self.session_class(data)


def init_app(app: Flask) -> None:
    """Name and harden the cookie, and load the user from the session's row."""
    settings = app.config["HOLDFAST"]
    app.config.update(
        SESSION_COOKIE_NAME="__Host-holdfast" if settings.secure else "holdfast",
        SESSION_COOKIE_SECURE=settings.secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=settings.session_days),
    )
    app.session_interface = Cookies()
    logins = Logins()
    # Changing addresses are normal behind proxies and on phones.
    logins.session_protection = None
    logins.user_loader(load)
    logins.init_app(app)


def digest(token: str) -> bytes:
    """Return what the database knows of a token."""
    return hashlib.sha256(token.encode()).digest()


def load(token: object) -> User | None:
    """Return the user whose living session this is, and note that it was seen."""
    if not isinstance(token, str):
        return None
    found = _living(token)
    if found is None:
        return None
    user, row_id, seen_at = found
    now = utcnow()
    if now - seen_at >= SEEN_EVERY:
        _touch(row_id, now)
    user.session_token = token
    log(user=user.name)
    return user


def _living(token: str) -> tuple[User, int, datetime] | None:
    now = utcnow()
    idle = timedelta(days=current_app.config["HOLDFAST"].session_idle_days)
    row = db.session.execute(
        select(User, LoginSession.id, LoginSession.seen_at)
        .join(LoginSession, LoginSession.user_id == User.id)
        .where(
            LoginSession.token_hash == digest(token),
            LoginSession.expires_at > now,
            LoginSession.seen_at > now - idle,
            User.disabled_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def _touch(row_id: int, now: datetime) -> None:
    seen = (
        update(LoginSession)
        .where(LoginSession.id == row_id, LoginSession.seen_at < now)
        .values(seen_at=now)
    )
    try:
        with transaction() as rows:
            rows.execute(seen)
    except DBAPIError:
        # A database that can't write just now must not keep people from reading.
        _log.warning("a session could not be marked as seen", exc_info=True)


def start(user: User, verified: str) -> None:
    """Sign the user in under a new token and a new CSRF secret.

    `verified` is the password hash that was checked: if the password changed or the
    account was disabled meanwhile, this session would outlive that, so it is refused.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    old = session.get("_user_id")
    now = utcnow()
    with transaction() as rows:
        state = rows.execute(
            select(User.password_hash, User.disabled_at)
            .where(User.id == user.id)
            .with_for_update()
        ).one_or_none()
        if state is None or state[0] != verified or state[1] is not None:
            raise WrongLogin("The account was changed just now. Sign in again.")
        if isinstance(old, str):
            rows.execute(_one(old))
        rows.add(_row(user.id, token, now))
    _adopt(user, token)


def _row(user_id: int, token: str, now: datetime) -> LoginSession:
    days = current_app.config["HOLDFAST"].session_days
    return LoginSession(
        token_hash=digest(token),
        user_id=user_id,
        created_at=now,
        seen_at=now,
        expires_at=now + timedelta(days=days),
        address=client_address()[:64],
        agent=(request.user_agent.string or "")[:255],
    )


def _adopt(user: User, token: str) -> None:
    session.clear()
    g.pop("csrf_token", None)
    session.permanent = True
    user.session_token = token
    login_user(user)


def _one(token: str) -> Delete:
    return delete(LoginSession).where(LoginSession.token_hash == digest(token))


def end() -> None:
    """Sign out: the row goes, so the old cookie is worth nothing."""
    token = session.get("_user_id")
    if isinstance(token, str):
        with transaction() as rows:
            rows.execute(_one(token))
    session.clear()
    g.pop("csrf_token", None)
    current_app.login_manager._update_request_context_with_user()  # type: ignore[attr-defined]


def others_of(user: User) -> Delete:
    """Return the statement that ends every session of the user but the present one."""
    return delete(LoginSession).where(
        LoginSession.user_id == user.id,
        LoginSession.token_hash != digest(user.session_token),
    )


def remove_old(now: datetime, idle: timedelta) -> int:
    """Delete rows that no cookie can use any more; return how many there were."""
    with transaction() as rows:
        ended = or_(LoginSession.expires_at <= now, LoginSession.seen_at <= now - idle)
        return change(rows, delete(LoginSession).where(ended))
