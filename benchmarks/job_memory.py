"""How much memory each job of the array takes in the worker: a must.

    python -m benchmarks.job_memory [--size MiB] [--files N] [--dir FOLDER]

A site of its own holds one large file and many small ones over four members. Each job
runs once in the worker, at full pace, while the memory of the worker is sampled. The
bound is the same for a file of any size: run it with another `--size` to see that.
Recovery is a command of its own; it holds the catalogue and grows with that.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import KIB, MIB, ROOT, Peak, Row, report, resident, scratch
from storage.jobs import table
from support.client import Client
from support.site import Site, until

BOUND = 96
CATALOGUE = 96
Step = Callable[[], None]


def main() -> int:
    """Measure; exit 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--files", type=int, default=2000, help="small files")
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder:
        with Site(folder / "site", {"PURGE_GRACE_SECONDS": "0"}) as site:
            _fill(site, folder, options.size, options.files)
            rows = [_job(site, name, step) for name, step in _steps(site, folder)]
        rows.append(_recovery(site, folder))
    title = f"memory over idle: {options.size} MiB and {options.files} small files"
    return report(title, rows)


def _fill(site: Site, folder: Path, size: int, files: int) -> None:
    person: Client = site.person("bench")
    block = os.urandom(MIB)
    body = (block for _ in range(size))
    length = str(size * MIB)
    person.put(person.root(), "large", body, Content_Length=length).expect(201)
    source = folder / "small"
    source.mkdir()
    for number in range(files):
        (source / str(number)).write_bytes(os.urandom(number % 150 * KIB))
    site.server.flask("files", "import", str(source), "--user", "bench")
    site.server.flask("array", "pace", "100")


def _steps(site: Site, folder: Path) -> list[tuple[str, Step]]:
    """Each job by its name, and the command that starts it and waits for its end."""

    def array(*words: str) -> None:
        site.server.flask("array", *words)

    def rebuild() -> None:
        shutil.rmtree(site.members[1])
        array("replace", "1", (folder / "new1").as_uri())
        array("rebuild")

    def copy() -> None:
        array("replace", "2", (folder / "new2").as_uri())
        array("rebuild")

    def inventory() -> None:
        array("fail", "3")
        array("readd", "3")
        array("rebuild")

    return [
        ("scrub", lambda: array("scrub", "--check")),
        ("drill", lambda: array("drill")),
        ("sweep", lambda: array("sweep")),
        ("rebuild", rebuild),
        ("planned replacement", copy),
        ("inventory of a member that returned", inventory),
        ("widen", lambda: array("widen", (folder / "new4").as_uri())),
        ("convert to RAID-6", lambda: array("convert", "raid6")),
        ("narrow", lambda: array("narrow", "0")),
    ]


def _job(site: Site, name: str, step: Step) -> Row:
    """Run one job in a worker that has only just started."""
    site.server.restart()
    pid = site.server.worker_pid()
    idle = _settled(pid)
    with Peak([pid]) as peak:
        step()
        until(lambda: not _busy(site), 1800, 0.5)
    row = Row(name, "MiB", BOUND, most=True, must=True)
    row.samples.append((peak.bytes - idle) / MIB)
    print(f"  {row.line()}")
    return row


def _busy(site: Site) -> bool:
    states = ", ".join(f"'{state.value}'" for state in table.ACTIVE)
    return bool(
        site.query(f"SELECT count(*) FROM jobs WHERE state IN ({states})")[0][0]
    )


def _settled(pid: int) -> int:
    """The memory of a process once it has loaded everything."""
    seen = [0]

    def calm() -> bool:
        seen.append(resident(pid))
        return seen[-1] > 30 * MIB and seen[-1] == seen[-2]

    until(calm, 30, 1.0)
    return seen[-1]


def _recovery(site: Site, folder: Path) -> Row:
    """Recovery from the members, over a command that reads no catalogue."""
    members = (folder / "new1", folder / "new2", site.members[3], folder / "new4")
    urls = " ".join(member.as_uri() for member in members)
    site.server.environment["HOLDFAST_ARRAY_MEMBERS"] = urls
    idle = _peak_of(site, "array", "jobs")
    for path in site.data.glob("holdfast.db*"):
        path.unlink()
    row = Row("flask array recover", "MiB", CATALOGUE, most=True, must=True)
    row.samples.append((_peak_of(site, "array", "recover") - idle) / MIB)
    return row


def _peak_of(site: Site, *words: str) -> int:
    """The highest memory of a command."""
    command = [sys.executable, "-m", "flask", *words]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=site.server.environment, cwd=ROOT, stdout=quiet
    ) as child:
        with Peak([child.pid]) as peak:
            child.wait()
        assert child.returncode == 0, words
    return peak.bytes


if __name__ == "__main__":
    sys.exit(main())
