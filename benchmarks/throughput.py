"""How fast a large file goes in and comes out, against one plain file.

    python -m benchmarks.throughput [--size MiB] [--rounds N] [--dir FOLDER]

Durable on both sides, interleaved, medians; downloads verify every unit.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import (
    MIB,
    ROOT,
    Row,
    fetch,
    random_file,
    report,
    request_head,
    scratch,
    send,
    session_headers,
)
from support.database import SECRET_KEY
from support.server import free_port
from support.site import Site, until


class Plain:
    """The yardstick's server, under the very same gunicorn configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        environment = os.environ | {
            "PLAIN_FOLDER": str(folder),
            "HOLDFAST_DATA_DIR": str(folder / "data"),
            "HOLDFAST_SECRET_KEY": SECRET_KEY,
            "HOLDFAST_BIND": f"127.0.0.1:{self.port}",
        }
        command = ["-m", "gunicorn", "-c", "benchmarks/plain_gunicorn.py"]
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment
        )
        until(self._mine, 30, what="the plain server")

    def _mine(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/whoami"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return int(answer.read()) == self.process.pid
        except OSError:
            return False

    def put(self, path: Path, name: str) -> float:
        """Store a file; seconds."""
        head = request_head("PUT", f"/{name}", {}, path.stat().st_size)
        return send(self.port, head, path)

    def get(self, name: str, size: int) -> float:
        """Fetch it; seconds."""
        return fetch(self.port, request_head("GET", f"/{name}", {}), size)

    def drop(self, name: str) -> None:
        """Make room on the disk."""
        (self.folder / name).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(40)


class Ours:
    """A Holdfast over fresh members."""

    def __init__(self, folder: Path, level: str, width: int) -> None:
        self.site = Site(folder, {"ARRAY_LEVEL": level}, width)
        self.site.server.start()
        self.person = self.site.client().register("bench")
        self.headers = session_headers(self.person)
        self.root = self.person.root()

    def put(self, path: Path, name: str) -> float:
        """Store a file; seconds."""
        target = f"/files/folder/{self.root}/{name}"
        head = request_head("PUT", target, self.headers, path.stat().st_size)
        return send(self.site.port, head, path)

    def get(self, name: str, size: int) -> float:
        """Fetch it; seconds."""
        entry = next(row["id"] for row in self.person.rows() if row["name"] == name)
        head = request_head("GET", f"/files/file/{entry}/download", self.headers)
        return fetch(self.site.port, head, size)

    def stop(self) -> None:
        """End the server."""
        self.site.server.stop()


def settled(action: Callable[[], float]) -> float:
    """Run one timed action after everything before it is on the disk."""
    os.sync()
    time.sleep(0.2)
    return action()


def main() -> int:
    """Measure, print, and say whether a must was missed (there is none here)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder:
        return _measure(folder, options.size * MIB, options.rounds)


def _measure(folder: Path, size: int, rounds: int) -> int:
    body = random_file(folder / "body", size)
    plain = Plain(folder / "plain")
    raid5, raid1 = Ours(folder / "r5", "raid5", 4), Ours(folder / "r1", "raid1", 2)
    try:
        rows = _uploads(plain, raid5, raid1, body, rounds)
        rows += _downloads(plain, raid5, size, rounds)
        rows += _degraded(raid5, size, rounds)
        return report(f"{size // MIB} MiB, durable, medians of {rounds}", rows)
    finally:
        for server in (plain, raid5, raid1):
            server.stop()


def _uploads(
    plain: Plain, raid5: Ours, raid1: Ours, body: Path, rounds: int
) -> list[Row]:
    size = body.stat().st_size / MIB
    speeds = [Row(f"upload, {name}", "MiB/s") for name in ("plain", "RAID-5", "RAID-1")]
    five = Row("upload RAID-5 3+1 / one plain file", "x", 0.50, 0.62)
    one = Row("upload RAID-1 x 2 / one plain file", "x", 0.40, 0.50)
    for number in range(rounds + 1):
        name = f"up-{number}"
        base = settled(lambda: plain.put(body, name))  # noqa: B023
        r5 = settled(lambda: raid5.put(body, name))  # noqa: B023
        r1 = settled(lambda: raid1.put(body, name))  # noqa: B023
        plain.drop(f"up-{number - 1}")
        if number:
            five.samples.append(base / r5)
            one.samples.append(base / r1)
            for row, seconds in zip(speeds, (base, r5, r1), strict=True):
                row.samples.append(size / seconds)
        print(f"  round {number}: {base:.2f} {r5:.2f} {r1:.2f} s", flush=True)
    return [*speeds, five, one]


def _downloads(plain: Plain, raid5: Ours, size: int, rounds: int) -> list[Row]:
    name = f"up-{rounds}"
    speeds = [Row(f"download, {kind}", "MiB/s") for kind in ("plain", "RAID-5")]
    ratio = Row("verified download / generator over one file", "x", 0.70, 0.82)
    for number in range(rounds + 1):
        base, ours = plain.get(name, size), raid5.get(name, size)
        if number:
            ratio.samples.append(base / ours)
            speeds[0].samples.append(size / MIB / base)
            speeds[1].samples.append(size / MIB / ours)
    return [*speeds, ratio]


def _degraded(raid5: Ours, size: int, rounds: int) -> list[Row]:
    name = f"up-{rounds}"
    speed = Row("download, one member gone", "MiB/s")
    ratio = Row("degraded / healthy download", "x", 0.85, 0.97)
    for number in range(rounds + 1):
        healthy = raid5.get(name, size)
        member = raid5.site.members[number % 4]
        with _away(raid5.site, member):
            gone = raid5.get(name, size)
        if number:
            ratio.samples.append(healthy / gone)
            speed.samples.append(size / MIB / gone)
    return [speed, ratio]


class _away:
    """One member moved away, and noticed; put back, and used again."""

    def __init__(self, site: Site, member: Path) -> None:
        self.site, self.member = site, member
        self.aside = member.with_name(f"{member.name}.away")

    def __enter__(self) -> None:
        self.member.rename(self.aside)
        until(lambda: self.site.status()["state"] == "degraded", 60, 0.5, "degraded")
        time.sleep(3)

    def __exit__(self, *problem: object) -> None:
        self.aside.rename(self.member)
        until(lambda: self.site.status()["state"] == "clean", 120, 0.5, "clean")
        time.sleep(5)


if __name__ == "__main__":
    sys.exit(main())
