"""How many small files a second become durable, and where the time goes.

    python -m benchmarks.small_puts [--seconds N] [--dir FOLDER]

100 KiB each, RAID-5 on four members, with sessions, quota and rows, one client and
eight, each on a connection of its own. The profile is taken in a run of its own.
"""

import argparse
import os
import sys
import threading
import time

from benchmarks.common import KIB, Row, report, scratch
from benchmarks.sampler import Sampler, show
from support.client import Client
from support.site import Site

SIZE = 100 * KIB


def main() -> int:
    """Measure, print, and profile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    rows = [
        Row("durable puts of 100 KiB, 1 client", "/s", 150, 400),
        Row("durable puts of 100 KiB, 8 clients", "/s", 300, 800),
    ]
    with scratch(options.dir) as folder:
        sampler = Sampler(folder / "sampler")
        with Site(folder, environment=sampler.environment) as site:
            _measure(site, rows, options.seconds, options.rounds)
            code = report(f"medians of {options.rounds}", rows)
            for clients in (1, 8):
                sampler.start()
                _rate(site, clients, options.seconds, f"profile-{clients}")
                print(f"\nWhere the time goes, {clients} client(s)")
                show(sampler.stop())
    return code


def _measure(site: Site, rows: list[Row], seconds: float, rounds: int) -> None:
    for number in range(rounds + 1):
        for row, clients in zip(rows, (1, 8), strict=True):
            os.sync()
            rate = _rate(site, clients, seconds, f"{number}-{clients}")
            print(f"  round {number}, {clients} client(s): {rate:.0f}/s", flush=True)
            if number:
                row.samples.append(rate)


def _rate(site: Site, clients: int, seconds: float, label: str) -> float:
    """Puts a second over all clients."""
    people = [site.person("bench").twin() for _ in range(clients)]
    folder = people[0].folder(people[0].root(), label)
    counts, end = [0] * clients, time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_put, args=(one, folder, number, counts, end))
        for number, one in enumerate(people)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def _put(
    person: Client, folder: str, number: int, counts: list[int], end: float
) -> None:
    body = bytearray(os.urandom(SIZE))
    while time.perf_counter() < end:
        body[:8] = counts[number].to_bytes(8, "big")
        person.put(folder, f"{number}-{counts[number]}", bytes(body)).expect(201)
        counts[number] += 1


if __name__ == "__main__":
    sys.exit(main())
