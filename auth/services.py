"""What can be done with accounts; the only place that writes their rows."""

from datetime import timedelta

from flask import current_app
from flask_login import current_user
from sqlalchemy import Update, delete, update
from sqlalchemy.exc import IntegrityError

from auth import passwords, sessions, throttle
from auth.audit import note
from auth.errors import (
    NameTaken,
    RegistrationClosed,
    Throttled,
    WrongLogin,
    WrongPassword,
)
from auth.models import LoginSession, User
from auth.names import clean_email, clean_name, fold
from auth.queries import find_user, user_named
from auth.rows import change
from storage.db import release, transaction, utcnow
from storage.logs import client_address


def registration_open() -> bool:
    """Tell whether people may make accounts for themselves."""
    return bool(current_app.config["HOLDFAST"].registration == "open")


def require_registration() -> None:
    """Refuse where only an administrator makes accounts."""
    if not registration_open():
        note("register", "denied", why="closed")
        raise RegistrationClosed(
            "Registration is closed here. Ask an administrator for an account."
        )


def register(name: str, email: str, password: str) -> None:
    """Make an account for somebody and sign them in."""
    require_registration()
    user = create_user(name, password, email=email)
    note("register", "ok", account=user.name)
    sessions.start(user, user.password_hash)


def create_user(
    name: str, password: str, *, email: str = "", admin: bool = False
) -> User:
    """Make an account; name, address and password are checked by the same rules."""
    name, address = clean_name(name), clean_email(email)
    taken = NameTaken(f"The user name {name} is taken. Choose another.")
    if find_user(name) is not None:
        raise taken
    release()
    _check_password(password, name, address)
    user = User(
        name=name,
        name_key=fold(name),
        email=address,
        password_hash=passwords.hash_password(password),
        is_admin=admin,
    )
    try:
        with transaction() as rows:
            rows.add(user)
    except IntegrityError as error:
        raise taken from error
    return user


def _check_password(password: str, name: str, email: str | None) -> None:
    minimum = current_app.config["HOLDFAST"].password_min_length
    about = [name, email or "", (email or "").partition("@")[0]]
    passwords.check_new(password, minimum, about)


def log_in(name: str, password: str) -> None:
    """Sign somebody in, or raise `WrongLogin` or `Throttled`."""
    attempt = _reserve("login", fold(name))
    user = find_user(name)
    release()
    stored = user.password_hash if user is not None else None
    right = passwords.verify(stored, password)
    if user is None or stored is None or not right or not user.is_active:
        note("login", "failed", account=user.name if user is not None else None)
        raise WrongLogin("User name and password do not match. Check both.")
    throttle.forgive(attempt)
    sessions.start(user, _refresh_hash(user, stored, password))
    note("login", "ok", account=user.name)


def _reserve(event: str, account: str) -> list[int]:
    try:
        return throttle.reserve(account, client_address())
    except Throttled:
        user = find_user(account)
        note(event, "throttled", account=user.name if user is not None else None)
        raise


def _refresh_hash(user: User, stored: str, password: str) -> str:
    """Hash anew when the parameters have changed since; return the hash that holds."""
    if not passwords.needs_rehash(stored):
        return stored
    fresh = passwords.hash_password(password)
    with transaction() as rows:
        rows.execute(_rehashed(user, stored, fresh))
    return fresh


def _rehashed(user: User, stored: str, fresh: str) -> Update:
    return (
        update(User)
        .where(User.id == user.id, User.password_hash == stored)
        .values(password_hash=fresh)
    )


def log_out() -> None:
    """End the present session."""
    note("logout", "ok")
    sessions.end()


def change_password(current: str, new: str) -> None:
    """Change the present user's password and end their other sessions."""
    user, stored = current_user, current_user.password_hash
    attempt = _reserve("password change", user.name_key)
    if not passwords.verify(stored, current):
        note("password change", "failed")
        raise WrongPassword("The current password is wrong. Nothing was changed.")
    throttle.forgive(attempt)
    _check_password(new, user.name, user.email)
    fresh = passwords.hash_password(new)
    with transaction() as rows:
        if change(rows, _rehashed(user, stored, fresh)) != 1:
            raise WrongPassword("The password was changed elsewhere just now.")
        rows.execute(sessions.others_of(user))
    note("password change", "ok")


def set_password(name: str, password: str) -> User:
    """Set somebody's password and end all their sessions."""
    user = user_named(name)
    release()
    _check_password(password, user.name, user.email)
    fresh = passwords.hash_password(password)
    with transaction() as rows:
        rows.execute(update(User).where(User.id == user.id).values(password_hash=fresh))
        rows.execute(delete(LoginSession).where(LoginSession.user_id == user.id))
    return user


def disable(name: str) -> User:
    """Close an account: nobody signs in to it, and its sessions end at once."""
    user = user_named(name)
    with transaction() as rows:
        rows.execute(
            update(User)
            .where(User.id == user.id, User.disabled_at.is_(None))
            .values(disabled_at=utcnow())
        )
        rows.execute(delete(LoginSession).where(LoginSession.user_id == user.id))
    return user


def remove_old() -> int:
    """Delete sessions that ended and failures that no longer count."""
    now = utcnow()
    idle = timedelta(days=current_app.config["HOLDFAST"].session_idle_days)
    return sessions.remove_old(now, idle) + throttle.remove_old(now)
