"""Deadlines that hold although a wall clock jumps.

A grace that protects bytes must not end because somebody set the clock: a day forward
would end every grace of a day at once. So a deadline is written by the `latest` moment
that may be now, and judged by the `earliest`: the wall clock, or where it would be had
it gone on evenly since this process began. A clock that stays where it was set is
believed after a day.
"""

import time
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, DateTime, func, literal

from storage.db import UTCDateTime, db, utcnow

SLACK = timedelta(seconds=5)
"""How far the clocks may differ: less is no jump."""

PATIENCE = 86400.0
"""After so many seconds a clock that was set is taken to be right."""

AHEAD = timedelta(hours=1)
"""A row stamped later than this from now was written while a clock was wrong."""


def shared(ago: timedelta = timedelta()) -> ColumnElement[datetime]:
    """Return a moment by the clock that all instances share: the database's.

    With it they judge each other's signs of life, whatever their own clocks say.
    SQLite has no clock of its own, and serves the processes of one machine.
    """
    if db.engine.dialect.name == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True)) - ago
    return literal(utcnow() - ago, UTCDateTime)


class Steady:
    """The wall clock without its jumps."""

    def __init__(self) -> None:
        self._anchor = utcnow(), time.monotonic()
        self._off_since: float | None = None

    def now(self) -> datetime:
        """Return the time of the wall clock, or what it should be while it is off."""
        wall, moment = utcnow(), time.monotonic()
        since, began = self._anchor
        even = since + timedelta(seconds=moment - began)
        if abs(wall - even) > SLACK:
            if self._off_since is None:
                self._off_since = moment
            if moment - self._off_since < PATIENCE:
                return even
        self._anchor, self._off_since = (wall, moment), None
        return wall


_steady = Steady()


def earliest() -> datetime:
    """Return the earliest moment that may be now: has a grace surely ended?"""
    return min(utcnow(), _steady.now())


def latest() -> datetime:
    """Return the latest moment that may be now: from when does a grace count?"""
    return max(utcnow(), _steady.now())
