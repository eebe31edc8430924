"""A scrub of everything at full pace, against BLAKE3 over the same objects.

Both sides run in this process on warm files: the scrub as the worker does it, with its
rows and its steps, and plain Python that reads each file of the members and hashes it,
as many at once as there are members. What counts is the bytes on the members a second.
"""

import argparse
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from benchmarks.common import KIB, MIB, Row, report, scratch
from storage.db import db, release
from storage.jobs import runner, table
from storage.models import Job, JobKind, JobState
from storage.runtime import runtime
from support import database
from support.store import Store

WIDTH = 4
FLOOR = 0.6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512, help="MiB of files")
    parser.add_argument("--dir", help="where the members are")
    options = parser.parse_args()
    rows = []
    for name, sizes in (("large", _large), ("mixed", _mixed)):
        with scratch(options.dir) as folder:
            app = database.application(folder, None, {})
            try:
                with app.app_context():
                    store = Store(app)
                    _fill(store, sizes(options.mib * MIB))
                    rows += _measure(name, store, options.rounds)
            finally:
                database.close(app)
    return report(f"scrub of RAID-5 over {WIDTH}, medians of {options.rounds}", rows)


def _large(total: int) -> list[int]:
    return [64 * MIB] * (total // (64 * MIB))


def _mixed(total: int) -> list[int]:
    """Sizes as people keep them: many small files, and most bytes in a few."""
    rng, sizes = random.Random(1), []
    while sum(sizes) < total:
        sizes += [rng.randrange(1, 64 * KIB) for _ in range(10)]
        sizes += [rng.randrange(64 * KIB, 4 * MIB) for _ in range(10)]
        sizes += [rng.randrange(4 * MIB, 40 * MIB)]
    return sizes


def _fill(store: Store, sizes: list[int]) -> None:
    block = os.urandom(MIB)
    for size in sizes:
        store.put((block * (size // MIB + 1))[:size])
        store.contents.clear()


def _measure(name: str, store: Store, rounds: int) -> list[Row]:
    files = [
        path
        for slot in range(WIDTH)
        for path in (store.member(slot) / "o").rglob("*.*")
    ]
    total = sum(path.stat().st_size for path in files)
    print(f"{name}: {len(files)} objects, {total / MIB:.0f} MiB on the members")
    ratio = Row(f"{name}: scrub / reading with BLAKE3", "", FLOOR)
    scrub, plain = Row(f"{name}: scrub", "MiB/s"), Row(f"{name}: plain", "MiB/s")
    for number in range(rounds + 1):
        one = _rate(total, lambda: _scrub(total))
        two = _rate(total, lambda: _plain(files))
        print(f"  round {number}: {one:.0f} and {two:.0f} MiB/s", flush=True)
        if number:
            scrub.samples.append(one)
            plain.samples.append(two)
            ratio.samples.append(one / two)
    return [scrub, plain, ratio]


def _rate(total: int, work: Callable[[], None]) -> float:
    os.sync()
    gc.collect()
    begun = time.perf_counter()
    work()
    return total / MIB / (time.perf_counter() - begun)


def _plain(files: list[Path]) -> None:
    with ThreadPoolExecutor(WIDTH) as pool:
        for _ in pool.map(lambda path: blake3(path.read_bytes()).digest(), files):
            pass


def _scrub(total: int) -> None:
    """Do the job as the worker does, and insist that it saw all."""
    table.set_pace(100)
    number = table.request(JobKind.SCRUB)
    own = runtime()
    own.manifests = type(own.manifests)()
    while True:
        runner.run_step(own.array(), number)
        job = db.session.get(Job, number, populate_existing=True)
        release()
        assert job is not None
        if job.state == JobState.DONE:
            break
    if job.counts["bytes"] != total or job.report:
        raise RuntimeError(f"The scrub saw {job.counts}, not {total} bytes.")


if __name__ == "__main__":
    sys.exit(main())
