"""Questions about accounts."""

from unicodedata import category

from sqlalchemy import select

from auth.errors import NoSuchUser
from auth.models import User
from auth.names import fold
from storage.db import db

# Control characters and surrogates: no name has them, and PostgreSQL refuses to be
# asked about some.
_NEVER = ("Cc", "Cs")


def find_user(name: str) -> User | None:
    """Return the account that this name belongs to, however it is cased."""
    key = fold(name)
    if any(category(character) in _NEVER for character in key):
        return None
    return db.session.scalar(select(User).where(User.name_key == key))


def user_named(name: str) -> User:
    """Return the account with this name, or raise."""
    user = find_user(name)
    if user is None:
        raise NoSuchUser(f"There is no user {name!r}.")
    return user
