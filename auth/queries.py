"""Questions about accounts."""

from sqlalchemy import select

from auth.errors import NoSuchUser
from auth.models import User
from auth.names import fold
from storage.db import db


def find_user(name: str) -> User | None:
    """Return the account that this name belongs to, however it is cased."""
    return db.session.scalar(select(User).where(User.name_key == fold(name)))


def user_named(name: str) -> User:
    """Return the account with this name, or raise."""
    user = find_user(name)
    if user is None:
        raise NoSuchUser(f"There is no user {name!r}.")
    return user
