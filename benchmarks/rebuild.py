"""How fast a lost member is rebuilt, against copying the same shards.

    python -m benchmarks.rebuild [--mixed MIB] [--large MIB] [--rounds N] [--dir FOLDER]

RAID-5 on four members in folders. The yardstick is `cp -r` of the lost member's objects
and an fsync of every file and folder of the copy. The rebuild is the whole job, at full
pace: rows read, every object made from three others, verified, published and synced.

Then, on a whole site at the default pace, how long a client waits for a file of 100 KiB
at worst (p99) while a rebuild goes on, against the same without it.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.common import KIB, MIB, Row, report, scratch
from storage import blobs, membership, watch
from storage.db import transaction
from storage.jobs import runner, table
from storage.models import Job, JobKind
from support.client import Client
from support.database import application
from support.site import Site, until
from support.store import Store, wanted

SLOT = 1
SEED = 7
FILES = 100
READS = 2000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mixed", type=int, default=1024, help="MiB of mixed files")
    parser.add_argument("--large", type=int, default=4096, help="MiB of one large file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    watch.start = _nothing  # type: ignore[assignment] - no threads of its own
    rows: list[Row] = []
    with scratch(options.dir) as folder:
        for name, sizes in (
            (f"{options.mixed} MiB of mixed files", _mixed(options.mixed * MIB)),
            (f"one file of {options.large} MiB", [options.large * MIB]),
        ):
            place = folder / name.replace(" ", "-")
            place.mkdir()
            rows += _measure(place, name, list(sizes), options.rounds)
        rows += _latency(folder / "site", options.mixed, options.rounds)
    return report(f"medians of {options.rounds}, both sides durable", rows)


def _nothing(_: object) -> None:
    """Stand in for what a web process starts."""


def _mixed(total: int) -> Iterator[int]:
    """Sizes as people have them: many small files, most bytes in large ones."""
    draw = random.Random(SEED)
    while total > 0:
        size = int(min(64 * MIB, 4 * KIB * 2 ** draw.expovariate(1 / 4)))
        yield min(size, total)
        total -= size


class _Random:
    """A body of random bytes that is never whole in memory."""

    def __init__(self, size: int) -> None:
        self.left = size
        self._some = os.urandom(MIB)

    def readinto(self, view: memoryview) -> int:
        count = min(len(view), self.left, MIB)
        view[:count] = self._some[:count]
        self.left -= count
        return count


def _measure(folder: Path, name: str, sizes: list[int], rounds: int) -> list[Row]:
    ratio = Row(f"rebuild / cp and fsync, {name}", "", 0.50, 0.75)
    speeds = [Row("  cp and fsync", "MiB/s"), Row("  rebuild", "MiB/s")]
    app = application(folder, None, {})
    with app.app_context():
        store = Store(app)
        for size in sizes:
            _put(size)
        table.set_pace(100)
        place = store.member(SLOT)
        print(f"{name}: {len(sizes)} files, {_bytes(place) / MIB:.0f} MiB a member")
        for number in range(rounds + 1):
            size = _bytes(place)
            copied = _copy(place, folder / f"copy-{number}")
            fresh = store.folder / f"new-{number}"
            rebuilt = _rebuild(store, fresh)
            assert _bytes(fresh) == size
            shutil.rmtree(place)
            place = fresh
            print(f"  round {number}: cp {copied:.2f} s, rebuild {rebuilt:.2f} s")
            if number:
                ratio.samples.append(copied / rebuilt)
                for row, seconds in zip(speeds, (copied, rebuilt), strict=True):
                    row.samples.append(size / seconds / MIB)
        store.restart()
    return [ratio, *speeds]


def _put(size: int) -> None:
    said = wanted(b"", size=size)
    with (
        blobs.receive(said, _Random(size), lambda _: None) as incoming,
        transaction() as session,
    ):
        incoming.commit(session)


def _bytes(member: Path) -> int:
    return sum(path.stat().st_size for path in (member / "o").rglob("*.*"))


def _copy(source: Path, target: Path) -> float:
    """Copy a member's objects and make them durable; seconds."""
    os.sync()
    begun = time.perf_counter()
    subprocess.run(["cp", "-r", str(source / "o"), str(target)], check=True)
    for path in [*target.rglob("*"), target]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    seconds = time.perf_counter() - begun
    shutil.rmtree(target)
    return seconds


def _rebuild(store: Store, fresh: Path) -> float:
    """Put a new member into the slot and rebuild it; seconds of the job alone."""
    own = store.runtime
    own.check_members()
    membership.fail(SLOT)
    membership.replace(SLOT, f"file://{fresh}")
    own.forget_map()
    own.check_members()
    os.sync()
    begun = time.perf_counter()
    while any(job.state in table.ACTIVE for job in _jobs(store)):
        own.rests.clear()
        runner.run(own.array())
    seconds = time.perf_counter() - begun
    problems = [job.problem for job in _jobs(store) if job.problem]
    assert not problems, problems
    store.settle()
    assert set(store.states()) == {"in_sync"}
    return seconds


def _jobs(store: Store) -> list[Job]:
    return [job for job in store.rows(Job) if job.kind == JobKind.REBUILD]


def _latency(folder: Path, mixed: int, rounds: int) -> list[Row]:
    """Read small files from a site, alone and beside a rebuild of the worker."""
    ratio = Row("read latency p99, beside a rebuild / alone", "x", 2.0, most=True)
    alone, beside = Row("  alone", "ms"), Row("  beside a rebuild", "ms")
    with Site(folder) as site:
        person = site.person("bench")
        root = person.root()
        body = os.urandom(100 * KIB)
        small = [
            person.put(root, f"small-{n}", body).expect(201).json["id"]
            for n in range(FILES)
        ]
        for number in range(max(1, mixed // 64)):
            person.put(root, f"large-{number}", os.urandom(64 * MIB)).expect(201)
        member = site.members[SLOT]
        for number in range(rounds):
            quiet = _p99(person, small, lambda: True)
            member.rename(member.with_name(f"{member.name}-gone"))
            member = folder / f"new-{number}"
            time.sleep(3)  # the site has to see it
            site.server.flask("array", "replace", str(SLOT), member.as_uri())
            busy = _p99(person, small, lambda: _rebuilding(site))
            until(lambda: not _rebuilding(site), 600, 0.5)
            print(
                f"  round {number}: p99 {quiet:.1f} ms alone, {busy:.1f} ms beside it"
            )
            for row, value in zip((alone, beside), (quiet, busy), strict=True):
                row.samples.append(value)
            ratio.samples.append(busy / quiet)
    return [ratio, alone, beside]


def _p99(person: Client, files: list[str], go_on: Callable[[], bool]) -> float:
    """Read files one after the other; milliseconds of the slowest of a hundred."""
    taken = []
    for number in range(READS):
        if number % 50 == 0 and not go_on():
            break
        begun = time.perf_counter()
        person.get(f"/files/file/{files[number % len(files)]}/download").expect(200)
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)[int(len(taken) * 0.99)]


def _rebuilding(site: Site) -> bool:
    states = ", ".join(f"'{state.value}'" for state in table.ACTIVE)
    active = f"SELECT count(*) FROM jobs WHERE state IN ({states})"
    return bool(site.query(active)[0][0])


if __name__ == "__main__":
    sys.exit(main())
