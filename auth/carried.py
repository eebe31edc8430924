"""What the catalogue journal carries of accounts, so that they survive the database.

The password's hash travels along: without it nobody could sign in after a recovery.
Sessions and failed logins do not: after a recovery everybody signs in anew.
"""

from typing import Any, cast

from sqlalchemy import Table

from auth.models import User
from storage.journal import registry


def _complete(row: dict[str, Any]) -> dict[str, Any]:
    """Fill what follows from the files, which are counted when they are back."""
    return {"used_bytes": 0, **row}


USERS = registry.Carried(
    cast(Table, User.__table__),
    "id",
    (
        "id",
        "name",
        "name_key",
        "email",
        "password_hash",
        "is_admin",
        "disabled_at",
        "quota_bytes",
        "created_at",
    ),
    complete=_complete,
    order=1,
)


def register() -> None:
    """Let the journal carry the accounts."""
    registry.register(USERS)
