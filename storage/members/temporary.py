"""Names of temporary files, and the removal of those that nobody will finish.

    <process>.<namespace>-<host>.<random>

A name says which process writes the file, and where: the number of a process means
nothing in another container that shares the disk, and the first namespace of every host
has the same number. A host that was started anew is another one.
"""

import os
import re
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from platform import node
from uuid import uuid4

from storage.members.calls import SystemCalls

_TOO_OLD = 3600.0
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAME = re.compile(r"(\d+)\.(\d+(?:-[0-9a-f]{16})?)\.[0-9a-f]{32}", re.ASCII)
"""Earlier releases named no host: theirs go when they are old."""


def temporary_name() -> str:
    """Return a new name that tells who writes the file."""
    return f"{os.getpid()}.{_place()}.{uuid4().hex}"


def sweep(calls: SystemCalls, folder: str, *, blank: bool = False) -> int:
    """Remove the files of dead processes and those older than an hour.

    In a blank member all of them go: there is nothing yet that anybody could write.
    What has another name is somebody else's, and stays.
    """
    removed = 0
    for name in calls.listdir(folder):
        path = f"{folder}/{name}"
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        with suppress(FileNotFoundError):
            if blank or _is_abandoned(*found.groups()) or _is_old(calls, path):
                calls.unlink(path)
                removed += 1
    return removed


def _is_abandoned(pid: str, place: str) -> bool:
    if place != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_old(calls: SystemCalls, path: str) -> bool:
    return time.time() - calls.stat(path).st_mtime > _TOO_OLD


def _place() -> str:
    """Return where a process number means something: a namespace of a host."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        namespace = 0
    try:
        host = Path(_BOOT_ID).read_text()
    except OSError:
        host = node()
    return f"{namespace}-{sha256(host.encode()).hexdigest()[:16]}"
