"""Names of temporary files, and the removal of those that nobody will finish.

A name says which process writes it, and in which process namespace, because the
number of a process means nothing in another container that shares the disk.
"""

import os
import time
from contextlib import suppress
from uuid import uuid4

from storage.members.calls import SystemCalls

_TOO_OLD = 3600.0


def temporary_name() -> str:
    """Return a new name that tells who writes the file."""
    return f"{os.getpid()}.{_namespace()}.{uuid4().hex}"


def sweep(calls: SystemCalls, folder: str) -> int:
    """Remove the files of dead processes and those older than an hour."""
    removed = 0
    for name in calls.listdir(folder):
        path = f"{folder}/{name}"
        with suppress(FileNotFoundError):
            if _is_abandoned(name) or _is_old(calls, path):
                calls.unlink(path)
                removed += 1
    return removed


def _is_abandoned(name: str) -> bool:
    pid, _, rest = name.partition(".")
    namespace = rest.partition(".")[0]
    if not pid.isdecimal() or namespace != str(_namespace()):
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


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        return 0
