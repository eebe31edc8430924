"""S3 servers on loopback for a benchmark, as processes of their own.

What is compared uses the very same servers. Each says which process it is, so that no
other server can answer in its place.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.common import ROOT  # noqa: F401 - makes `support` importable
from support.buckets import CREDENTIALS, S3Server, moto, rclone


def use_test_keys() -> None:
    """Give this process and its children the servers' keys, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(CREDENTIALS)


@contextmanager
def several(
    count: int, kind: str = "rclone", folder: Path | None = None
) -> Iterator[list[S3Server]]:
    """Run so many servers; rclone's are over memory, or over folders below a folder."""
    with ExitStack() as stack:
        running = []
        for number in range(count):
            place = folder / f"server-{number}" if folder else None
            if place is not None:
                place.mkdir()
            one = moto() if kind == "moto" else rclone(place)
            running.append(stack.enter_context(one))
        yield running
