"""Statements that change many rows at once, and how many they changed."""

from typing import Any, cast

from flask_sqlalchemy.session import Session
from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import scoped_session

Rows = scoped_session[Session]


def change(rows: Rows, statement: Update | Delete) -> int:
    """Run the statement; return the number of rows it met."""
    return cast(CursorResult[Any], rows.execute(statement)).rowcount
