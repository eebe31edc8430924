"""How far a job has come, as the page and the commands say it, on every instance."""

from dataclasses import dataclass
from typing import Self

from storage.models import Job
from storage.words import filesize

_SPANS = (
    (120.0, 1, "second"),
    (120 * 60.0, 60, "minute"),
    (48 * 3600.0, 3600, "hour"),
    (float("inf"), 86400, "day"),
)
"""Below how many seconds which unit is counted, and its word."""


@dataclass(frozen=True)
class Progress:
    """What follows from the row of a job alone."""

    done: int
    total: int
    seconds: float
    objects: int
    total_objects: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the progress of a job."""
        return cls(
            job.done_bytes,
            job.total_bytes,
            job.seconds,
            job.done_objects,
            job.total_objects,
        )

    @property
    def percent(self) -> float | None:
        """Return how much is done, by bytes or else by objects; None if unknown."""
        if self.total > 0:
            return min(100.0, 100 * self.done / self.total)
        if self.total_objects > 0:
            return min(100.0, 100 * self.objects / self.total_objects)
        return None

    @property
    def rate(self) -> float | None:
        """Return the bytes a second, rests included; None before the first step."""
        return self.done / self.seconds if self.seconds > 0 and self.done else None

    @property
    def seconds_left(self) -> float | None:
        """Return how long it will take at this rate; None if that is unknown."""
        percent = self.percent
        if not percent or self.seconds <= 0:
            return None
        return self.seconds * (100 - percent) / percent

    @property
    def words(self) -> str:
        """Return the whole of it as a phrase.

        >>> Progress(300 * 2**20, 2**30, 10.0, 0, 0).words
        '29 %, 315 MB of 1.1 GB, 31 MB a second, 24 seconds left'
        """
        percent, rate, left = self.percent, self.rate, self.seconds_left
        said = [
            "" if percent is None else f"{percent:.0f} %",
            self._amount(),
            "" if rate is None else f"{filesize(round(rate))} a second",
            "" if left is None else f"{duration(left)} left",
        ]
        return ", ".join(filter(None, said))

    def _amount(self) -> str:
        # What came while the job ran was done and not foreseen.
        if self.total > 0:
            total = max(self.total, self.done)
            return f"{filesize(self.done)} of {filesize(total)}"
        if self.total_objects > 0:
            return f"{self.objects} of {max(self.total_objects, self.objects)} objects"
        return filesize(self.done) if self.done else f"{self.objects} objects"


def duration(seconds: float) -> str:
    """Return a time span, roughly, in words.

    >>> duration(59), duration(3600), duration(200_000)
    ('59 seconds', '60 minutes', '2 days')
    """
    unit, word = next((unit, word) for limit, unit, word in _SPANS if seconds < limit)
    count = round(seconds / unit)
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
