"""kill -9 over uploads: nothing acknowledged is lost, nothing half is ever shown.

The gate runs a slice; HOLDFAST_TEST_KILLS sets the number of rounds for a soak. A kill
keeps the page cache, so this finds wrong orders, not a missing fsync: the members'
contract tests find those.
"""

import os
import random
import signal
import statistics
import time
from pathlib import Path

import pytest

from support.site import Site
from support.uploaders import (
    MOST,
    Uploader,
    interrupted,
    nothing_leaked,
    quota_is_exact,
)

ROUNDS = int(os.environ.get("HOLDFAST_TEST_KILLS", "2"))
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "0")) or random.randrange(1 << 30)
CLIENTS = 8 if ROUNDS > 10 else 4
ALL_AFTER = 25
"""Rounds after which everything is read, and not only what was touched."""
READY_SECONDS = 5.0


def _kill(site: Site, dice: random.Random) -> None:
    """End everything at once, or gunicorn (master and workers) just before the rest."""
    if dice.random() < 0.5:
        os.killpg(site.server.gunicorn_pid(), signal.SIGKILL)
    site.server.kill()


def _started(site: Site) -> float:
    """Start the server; give the seconds until it is ready."""
    begun = time.monotonic()
    site.server.start()
    return time.monotonic() - begun


@pytest.mark.timeout(180 + 20 * ROUNDS)
def test_kill_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """I-1, I-2, I-3, I-6 after every kill, and no leak once the worker has tidied."""
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    with Site(tmp_path, {"PURGE_GRACE_SECONDS": "0"}) as site:
        uploaders = [
            Uploader(site.client().register(f"person-{number}"))
            for number in range(CLIENTS)
        ]
        files, starts = 0, []
        for number in range(ROUNDS):
            seconds = dice.uniform(0.05, 1.2)
            interrupted(uploaders, SEED + number, seconds, lambda: _kill(site, dice))
            starts.append(_started(site))
            whole = (number + 1) % ALL_AFTER == 0
            files = sum(one.check(everything=whole) for one in uploaders)
            quota_is_exact(site, uploaders)
        nothing_leaked(site)
        assert sum(one.check() for one in uploaders) == files
        print(
            f"{ROUNDS} kills, {files} files, none lost; ready after "
            f"{statistics.median(starts):.1f} s, at most {max(starts):.1f} s"
        )
    assert files > min(ROUNDS, MOST)
    if ROUNDS > 100:  # fewer may run beside other tests, where nobody knows
        assert max(starts) <= READY_SECONDS
