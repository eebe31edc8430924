"""Try a place from the page: one at a time, and for no longer than a page may take.

A disk that is sick, or a name server that is silent, can hold whoever asks for as long
as it likes. So a thread of its own asks, the request waits for a while, and what was
found until then is the answer. The thread ends after the step that it is in, and until
then no other trial begins. It knows no database and none of the array's own members.
"""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raid.member import Member
from storage.errors import Refused
from storage.members.findings import Finding, Grade, policy
from storage.members.probe import probe
from storage.members.s3 import S3Member
from storage.members.urls import parse_member_url

SECONDS = 40.0
"""Below the minute that a load balancer waits for the first byte of an answer."""

_LOG = logging.getLogger("holdfast.array")
_one = threading.Lock()
_tried = ""


class Busy(Refused):
    """Another place is being tried by this process."""

    def __init__(self, label: str) -> None:
        super().__init__(
            f"{label} is being tried right now, and there is one trial at a time. "
            "Try again in a minute."
        )


@dataclass(frozen=True)
class Trial:
    """What was found at a place; `policy` is JSON, and empty for a folder."""

    label: str
    findings: tuple[Finding, ...]
    policy: str = ""

    @property
    def failed(self) -> list[Finding]:
        """Return what does not work."""
        return self._graded(Grade.FAILED)

    @property
    def notes(self) -> list[Finding]:
        """Return what is worth knowing."""
        return self._graded(Grade.NOTE)

    @property
    def misses_rights(self) -> bool:
        """Tell whether the policy would help."""
        return any(found.missing for found in self.findings)

    def _graded(self, grade: Grade) -> list[Finding]:
        return [found for found in self.findings if found.grade is grade]


def of(url: str, base: Path) -> Trial:
    """Try what a URL names, whether it is a member or may become one.

    Raises ValueError for a URL that names nothing, `Busy` while another is tried.
    """
    member = parse_member_url(url, base)
    asking = _begin(member)
    asking.join(SECONDS)
    asking.enough.set()
    late = asking.is_alive()
    found = tuple(asking.found)
    if late:
        found += (_unfinished(),)
    least = policy(member.bucket) if isinstance(member, S3Member) else None
    return Trial(member.label, found, json.dumps(least, indent=2) if least else "")


def _begin(member: Member) -> "_Asking":
    global _tried  # only the holder of the lock writes it
    if not _one.acquire(blocking=False):
        raise Busy(_tried)
    _tried = member.label
    asking = _Asking(member)
    try:
        asking.start()
    except RuntimeError:  # there are too many threads
        _one.release()
        raise
    return asking


def _unfinished() -> Finding:
    return Finding(
        "time",
        Grade.FAILED,
        f"The trial was not over after {SECONDS:.0f} s, and what is missing above was "
        "not tried. Look at the network and at the server or the disk there.",
    )


class _Asking(threading.Thread):
    """Ask a place, step by step, until somebody has heard enough."""

    def __init__(self, member: Member) -> None:
        # It may hang in the kernel, and a process has to be able to end all the same.
        super().__init__(name="trial", daemon=True)
        self._member = member
        self.found: list[Finding] = []
        self.enough = threading.Event()

    def run(self) -> None:
        steps: Iterator[Finding] = probe(self._member)
        try:
            for found in steps:
                self.found.append(found)
                if self.enough.is_set():
                    break
        except Exception:
            _LOG.exception("A trial of %s broke off.", self._member.label)
            self.found.append(_broken())
        finally:
            _one.release()


def _broken() -> Finding:
    return Finding(
        "trial", Grade.FAILED, "The trial broke off; the log of the site says why."
    )
