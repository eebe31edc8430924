"""The files in which processes leave their numbers: `<data folder>/metrics/*.prom`.

A name holds the id of the process and when it began, because ids are given again.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STALE_SECONDS = 15.0
"""A file that was not written for so long belongs to nobody who lives."""
_ENDING = ".prom"
_UNDONE = ".new"


def folder(data_dir: Path) -> Path:
    """Return where the files are."""
    return data_dir / "metrics"


def empty(place: Path) -> None:
    """Begin anew: what is there was counted before this start."""
    place.mkdir(mode=0o700, exist_ok=True)
    for ending in (_ENDING, _UNDONE):
        for path in place.glob(f"*{ending}"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Left:
    """What one process left: is it there still, and does it go on writing?"""

    path: Path
    text: str
    ended: bool
    fresh: bool


class Sheet:
    """The file of this process."""

    def __init__(self, place: Path) -> None:
        self._path = place / f"{os.getpid()}-{time.time_ns()}{_ENDING}"

    def write(self, data: bytes) -> None:
        """Write the numbers anew; whoever reads sees all of them or the former ones."""
        beside = self._path.with_suffix(_UNDONE)
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            beside.write_bytes(data)
            beside.replace(self._path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def left(place: Path) -> Iterator[Left]:
    """Yield what each process left, those that have ended first."""
    known = [(_has_ended(path), path) for path in place.glob(f"*{_ENDING}")]
    for ended, path in sorted(known, key=lambda one: (not one[0], one[1].name)):
        with suppress(OSError):  # it may go in this moment
            age = time.time() - path.stat().st_mtime
            fresh = not ended and age < STALE_SECONDS
            yield Left(path, path.read_text("utf-8"), ended, fresh)


def _has_ended(path: Path) -> bool:
    try:
        os.kill(int(path.name.partition("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:  # it is somebody else's by now
        return True
    return False
