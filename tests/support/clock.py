"""A wall clock that a test sets, as an operator or a broken time server would."""

import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

import storage.clock
import storage.db


class Clock:
    """The wall clock of this process; the monotonic one goes on as ever."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.offset = timedelta()
        self.asked = 0
        own, real, seconds = self, datetime, time.time

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                own.asked += 1
                return real.now(tz) + own.offset

        patch.setattr(storage.db, "datetime", Shifted)
        patch.setattr(time, "time", lambda: seconds() + own.offset.total_seconds())
        patch.setattr(storage.clock, "_steady", storage.clock.Steady())

    def jump(self, **delta: float) -> None:
        """Set the clock forward, or back with a negative number."""
        self.offset += timedelta(**delta)

    def right(self) -> None:
        """Put the clock right again."""
        self.offset = timedelta()

    @staticmethod
    def true() -> datetime:
        """What a good clock shows."""
        return datetime.now(UTC)
