"""How fast buckets are, against plain boto3 on the very same servers.

    python -m benchmarks.buckets [--part large|hang|small|all] [--quick] [--dir FOLDER]

Each bucket has a server process of its own (`rclone serve s3` over memory). RAID-5 over
four, medians, rounds interleaved, the first thrown away; plain boto3 computes no
checksums, so nothing slows the yardstick down.

large  one file in and out through the storage layer, as a web process does it, but
       without HTTP; against parallel `put_object` and `get_object` of the same file in
       parts of a shard's size, with as many threads as a segment has shards, and
       against `upload_fileobj` with its defaults, to one server.
hang   the same while one server stands still (SIGSTOP), beside a second array on
       healthy servers, once the member rests; and what the first requests cost.
small  files of 100 KiB from eight clients over HTTP, with a delay before every request
       to a server, against eight clients of boto3 that put each file once. Servers of
       both kinds: moto's honour If-None-Match, rclone's cost a request more.
"""

import argparse
import hashlib
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.common import KIB, MIB, Row, random_file, report, scratch
from benchmarks.latency import late
from benchmarks.servers import several, use_test_keys
from benchmarks.sides import Ours, Plain
from storage.models import Blob
from support.buckets import CREDENTIALS, S3Server
from support.client import Client
from support.site import Site

SMALL = 100 * KIB
MOST_FIRST = 12
"""Requests to a bucket that hangs, until its rest has to have been learnt."""


# -- large


def large(folder: Path, options: argparse.Namespace) -> list[Row]:
    """One large file up and down, against boto3."""
    up = Row("upload / parallel put_object", "x", 0.60, 0.72)
    usual = Row("upload / upload_fileobj with its defaults", "x", 1.0)
    down = Row("download / parallel get_object", "x", 0.80, 0.95)
    names = ("put_object", "upload", "upload_fileobj", "get_object", "download")
    speeds = [Row(f"  {name}", "MiB/s") for name in names]
    size = options.size * MIB
    with ExitStack() as stack:
        servers = stack.enter_context(several(4))
        ours = Ours(folder / "large", [server.url() for server in servers])
        stack.callback(ours.close)
        plain = Plain(servers, options.threads)
        body = random_file(folder / "body", size)
        for number in range(options.rounds + 1):
            put = plain.put(body, f"up-{number}")
            blob, stored = ours.put(body)
            fileobj = plain.upload_fileobj(body, f"whole-{number}")
            got = plain.get(f"up-{number}", size)
            read = ours.get(blob)
            if number == 0:
                _compare(ours, blob, body)
            ours.drop(blob)
            plain.drop(f"up-{number}", size)
            taken = (put, stored, fileobj, got, read)
            print(f"  round {number}:", *(f"{one:.2f}" for one in taken), flush=True)
            if number:
                up.samples.append(put / stored)
                usual.samples.append(fileobj / stored)
                down.samples.append(got / read)
                for row, seconds in zip(speeds, taken, strict=True):
                    row.samples.append(size / MIB / seconds)
    return [up, usual, down, *speeds]


def _compare(ours: Ours, blob: Blob, body: Path) -> None:
    """Be sure that what is measured is right."""
    seen = hashlib.sha256()
    ours.get(blob, seen)
    with body.open("rb") as file:
        assert seen.digest() == hashlib.file_digest(file, "sha256").digest()


# -- hang


def hang(folder: Path, options: argparse.Namespace) -> list[Row]:
    """One server stands still: what that costs at first, and once it rests."""
    body = random_file(folder / "hang-body", options.hang_size * MIB)
    tiny = random_file(folder / "hang-tiny", 300 * KIB)
    with ExitStack() as stack:
        servers = stack.enter_context(several(5))
        others = [*servers[:3], servers[4]]
        sick = Ours(folder / "sick", [server.url() for server in servers[:4]])
        stack.callback(sick.close)
        well = Ours(folder / "well", [server.url() for server in others])
        stack.callback(well.close)
        files = [(well.put(tiny)[0], sick.put(tiny)[0]) for _ in range(options.reads)]
        # What is read has shards in the bucket that will hang.
        kept = {ours: ours.put(body)[0] for ours in (well, sick)}
        usual = [_in_and_out(sick, body, kept[sick]) for _ in range(3)][1:]
        with servers[3].hanging():
            first = _first_requests(sick, body, kept[sick], usual)
            ratios = _beside(kept, body, options.rounds)
            return [*ratios, *_first_bytes(well, sick, files), *first]


def _in_and_out(ours: Ours, body: Path, kept: Blob) -> tuple[float, float]:
    """Store a file and drop it, and read another one; seconds of both."""
    blob, stored = ours.put(body)
    ours.drop(blob)
    return stored, ours.get(kept)


def _first_requests(
    sick: Ours, body: Path, kept: Blob, usual: list[tuple[float, float]]
) -> list[Row]:
    """Read and write at once until nobody waits any more, and say what that cost."""
    up, down = (min(column) for column in zip(*usual, strict=True))
    lost = []
    for _ in range(MOST_FIRST):
        with ThreadPoolExecutor(2) as pool:
            reading, writing = pool.submit(sick.get, kept), pool.submit(sick.put, body)
            read, (blob, stored) = reading.result() - down, writing.result()
        lost += [read, stored - up]
        sick.drop(blob)
        print(f"  at first: a read {read:+.2f} s, a write {stored - up:+.2f} s")
        if read < 2 * down and stored < 3 * up:  # beside each other, so it is more
            break
    else:
        print(f"  it still costs after {MOST_FIRST} reads and writes")
    whole = Row("first requests to it: seconds lost in all", "s")
    longest = Row("first requests to it: the longest", "s")
    whole.samples.append(sum(max(0.0, one) for one in lost))
    longest.samples.append(max(lost))
    return [whole, longest]


def _beside(kept: dict[Ours, Blob], body: Path, rounds: int) -> list[Row]:
    """Compare the healthy array, which comes first, with the other one."""
    up = Row("one bucket hangs and rests: upload / healthy", "x", 0.7)
    down = Row("one bucket hangs and rests: download / healthy", "x", 0.7)
    for number in range(rounds + 1):
        healthy, hanging = (
            _in_and_out(ours, body, blob) for ours, blob in kept.items()
        )
        print(
            f"  round {number}: up {healthy[0]:.2f} {hanging[0]:.2f}, "
            f"down {healthy[1]:.2f} {hanging[1]:.2f} s",
            flush=True,
        )
        if number:
            up.samples.append(healthy[0] / hanging[0])
            down.samples.append(healthy[1] / hanging[1])
    return [up, down]


def _first_bytes(well: Ours, sick: Ours, files: list[tuple[Blob, Blob]]) -> list[Row]:
    """Open files that nobody has read before, in both arrays in turn."""
    healthy, hanging = [], []
    for good, bad in files:
        healthy.append(well.first_byte(good) * 1000)
        hanging.append(sick.first_byte(bad) * 1000)
    usual = statistics.median(healthy)
    late_one = sorted(hanging)[int(len(hanging) * 0.99)]
    ratio = Row("first byte: p99 with a hanging bucket / healthy median", "x", 2.0)
    ratio.most = True
    ratio.samples.append(late_one / usual)
    return [
        ratio,
        Row("  healthy, all", "ms", samples=healthy),
        Row("  with a hanging bucket, all", "ms", samples=hanging),
    ]


# -- small


def small(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Small files over a long way, on servers of both kinds."""
    rows = []
    for kind in ("moto", "rclone"):
        with ExitStack() as stack:
            servers = stack.enter_context(several(4, kind))
            ports = [urlsplit(one.endpoint).port or 0 for one in servers]
            ways = stack.enter_context(late(ports, options.latency))
            far = [S3Server(kind, f"http://127.0.0.1:{port}") for port in ways]
            settings = {"ARRAY_MEMBERS": " ".join(server.url() for server in far)}
            place = folder / f"small-{kind}"
            site = Site(place, settings, width=0, environment=CREDENTIALS)
            rows += _small(kind, stack.enter_context(site), far, options)
    return rows


def _small(
    kind: str, site: Site, far: list[S3Server], options: argparse.Namespace
) -> list[Row]:
    ratio = Row(f"small files, {kind}: Holdfast / plain boto3", "x", 0.5)
    speeds = [Row(f"  {name}", "/s") for name in ("plain boto3", "Holdfast")]
    buckets = [server.bucket() for server in far]
    way = Row("  one plain put alone", "ms")
    for number in range(options.rounds + 1):
        begun = time.perf_counter()
        far[0].client.put_object(Bucket=buckets[0], Key=f"way-{number}", Body=b"x")
        way.samples.append((time.perf_counter() - begun) * 1000)
        assert way.samples[-1] >= options.latency, "the proxy delays nothing"
        label = f"r{number}"
        plain = _at_once(_boto_puts(far, buckets, label, options), options)
        ours = _at_once(_http_puts(site, label, options), options)
        print(f"  {kind}, round {number}: {plain:.1f} and {ours:.1f}/s", flush=True)
        if number:
            ratio.samples.append(ours / plain)
            for row, rate in zip(speeds, (plain, ours), strict=True):
                row.samples.append(rate)
    return [ratio, *speeds, way]


Put = Callable[[int, bytes], object]


def _boto_puts(
    far: list[S3Server], buckets: list[str], label: str, options: argparse.Namespace
) -> list[Put]:
    """One function for each client; every one has connections of its own."""

    def one() -> Put:
        clients = [S3Server(server.name, server.endpoint).client for server in far]

        def put(number: int, body: bytes) -> object:
            turn = number % len(far)
            key = f"{label}/{number}"
            return clients[turn].put_object(Bucket=buckets[turn], Key=key, Body=body)

        return put

    return [one() for _ in range(options.clients)]


def _http_puts(site: Site, label: str, options: argparse.Namespace) -> list[Put]:
    people = [site.person("bench").twin() for _ in range(options.clients)]
    folder = people[0].folder(people[0].root(), label)

    def one(person: Client) -> Put:
        return lambda number, body: person.put(folder, str(number), body).expect(201)

    return [one(person) for person in people]


def _at_once(puts: list[Put], options: argparse.Namespace) -> float:
    """Put all files, each client its share; files a second."""
    errors: list[Exception] = []

    def share(first: int, put: Put) -> None:
        body = bytearray(os.urandom(SMALL))
        try:
            for number in range(first, options.files, len(puts)):
                body[:8] = number.to_bytes(8, "big")
                put(number, bytes(body))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=share, args=pair) for pair in enumerate(puts)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if errors:
        raise errors[0]
    return options.files / seconds


PARTS = {"large": large, "hang": hang, "small": small}
QUICK = {"size": 64, "hang_size": 32, "reads": 60, "files": 80, "rounds": 2}


def main() -> int:
    """Measure and print; these are targets, so a miss is only printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--size", type=int, default=1024, help="MiB, large")
    parser.add_argument("--threads", type=int, default=4, help="of plain boto3, large")
    parser.add_argument("--hang-size", type=int, default=256, help="MiB, hang")
    parser.add_argument("--reads", type=int, default=400, help="first bytes, hang")
    parser.add_argument("--files", type=int, default=500, help="small")
    parser.add_argument("--clients", type=int, default=8, help="small")
    parser.add_argument("--latency", type=float, default=100, help="ms, small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="all of it smaller")
    parser.add_argument("--dir", default=None)
    known = parser.parse_args()
    if known.quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    use_test_keys()
    code = 0
    for name, part in PARTS.items():
        if options.part in (name, "all"):
            with scratch(options.dir) as folder:
                rows = part(folder, options)
            code |= report(f"{name}, medians of {options.rounds}", rows)
    return code


if __name__ == "__main__":
    sys.exit(main())
