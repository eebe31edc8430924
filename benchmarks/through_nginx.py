"""What Nginx in front costs: the same instance through it, and straight.

    python -m benchmarks.through_nginx [--size MIB] [--rounds N] [--dir FOLDER]

One instance on four local members, as `deploy/` runs it. Uploads and downloads of a
large file go through Nginx and straight to the socket of the transfers, in turn; pages
of 100 rows are asked over kept connections by eight clients, through Nginx and straight
to the socket of the pages, as requests a second. Ratios are through / straight.
"""

import argparse
import http.client
import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.common import (
    MIB,
    Row,
    connect,
    fetch,
    random_file,
    report,
    request_head,
    scratch,
    send,
    session_headers,
)
from support.client import Client
from support.instance import Instance

CLIENTS = 8


class _Kept(http.client.HTTPConnection):
    """A connection of http.client over a socket of any kind."""

    def __init__(self, way: int | Path) -> None:
        super().__init__("127.0.0.1")
        self._way = way

    def connect(self) -> None:
        self.sock = connect(self._way)


def _pages(way: int | Path, headers: dict[str, str], seconds: float) -> float:
    """Requests a second for the page of a folder, from some clients at once."""
    counts = [0] * CLIENTS
    ends = time.perf_counter() + seconds

    def ask(number: int) -> None:
        connection = _Kept(way)
        while time.perf_counter() < ends:
            connection.request("GET", "/files/", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200 or b"data-id" not in answer.read():
                raise RuntimeError(f"{answer.status} for the page")
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def measure(folder: Path, sockets: Path, size: int, rounds: int) -> int:
    """Run it all and print the table; 0, since these are no musts."""
    members = " ".join((folder / f"d{slot}").as_uri() for slot in range(4))
    for slot in range(4):
        (folder / f"d{slot}").mkdir()
    source = random_file(folder / "source", size)
    rows = [
        Row("upload through Nginx / straight", "", 0.70, 0.85),
        Row("download through Nginx / straight", "", 0.75, 0.88),
        Row("pages of 100 rows through Nginx / straight", "", 0.80),
    ]
    speeds = [Row(f"{what} straight", "MiB/s") for what in ("upload", "download")]
    with Instance(sockets, {"ARRAY_MEMBERS": members}) as instance:
        person = Client(instance.url).register("keeper")
        root, headers = person.root(), session_headers(person)
        numbers = itertools.count()
        ways: tuple[int | Path, ...] = (instance.port, sockets / "transfers.sock")
        for round_ in range(rounds + 1):
            taken: list[list[float]] = [[], []]
            for way in ways if round_ % 2 else reversed(ways):
                name = f"{next(numbers)}.bin"
                head = request_head(
                    "PUT", f"/files/folder/{root}/{name}", headers, size
                )
                up = send(way, head, source)
                entry = next(r["id"] for r in person.rows() if r["name"] == name)
                path = f"/files/file/{entry}/download"
                down = fetch(way, request_head("GET", path, headers), size)
                person.post(f"/files/file/{entry}/delete").expect(303)
                person.post(f"/files/file/{entry}/purge", {"confirm": "yes"})
                taken[way is ways[1]] += [up, down]
            if round_:
                (up, down), (up_straight, down_straight) = taken
                rows[0].samples.append(up_straight / up)
                rows[1].samples.append(down_straight / down)
                speeds[0].samples.append(size / MIB / up_straight)
                speeds[1].samples.append(size / MIB / down_straight)
        for number in range(100):
            person.put(root, f"row {number}", b"x").expect(201)
        ways = (instance.port, sockets / "web.sock")
        for round_ in range(rounds + 1):
            through, straight = (_pages(way, headers, 3.0) for way in ways)
            if round_:
                rows[2].samples.append(through / straight)
    return report(f"{size // MIB} MiB, {rounds} rounds", [*rows, *speeds])


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    # A socket's path has to be short, so it is not in the scratch folder.
    with scratch(options.dir) as folder, tempfile.TemporaryDirectory("", "hf-") as run:
        size = options.size * MIB
        return measure(folder, Path(run) / "i", size, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
