"""How much memory a web process takes for transfers of any size: two musts.

    python -m benchmarks.memory [--size MiB] [--dir FOLDER]
    python -m benchmarks.memory --buckets [--size MiB] [--dir FOLDER]

An upload and a download of 4 GiB, then two and three of each at once. Idle is measured
after one small file went in and out, so that everything is loaded.

With --buckets the members are four buckets, each on a server of its own over a folder,
and 16 uploads of 2 GiB run at once: three musts, one of which is MEMORY_BYTES. That
needs 45 GB of disk, all of which is given back.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import config
from benchmarks.common import MIB, Peak, Row, report, resident, scratch
from benchmarks.servers import several, use_test_keys
from support.buckets import CREDENTIALS
from support.client import Client, pieces
from support.site import Site

FIRST, FURTHER = 48, 40
AT_ONCE = 16
PATIENCE = 3600.0
"""Seconds that one of many clients may have to wait while others are served."""


def _body(size: int) -> Iterator[bytes]:
    block = bytearray(os.urandom(MIB))
    for number in range(size // MIB):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block)


def _upload(person: Client, name: str, size: int) -> None:
    answer = person.put(person.root(), name, _body(size), Content_Length=str(size))
    answer.expect(201)


def _download(person: Client, name: str, size: int) -> None:
    entry = next(row["id"] for row in person.rows() if row["name"] == name)
    response = person.open("GET", f"/files/file/{entry}/download")
    assert sum(len(piece) for piece in pieces(response)) == size
    person.close()


def _at_once(
    site: Site, work: Callable[[Client, str, int], None], names: list[str], size: int
) -> float:
    """Peak resident memory in MiB while several transfers run."""
    failed: list[Exception] = []

    def one(person: Client, name: str) -> None:
        try:
            work(person, name, size)
        except Exception as error:
            failed.append(error)

    people = [site.person("bench").twin() for _ in names]
    for person in people:
        person.timeout = PATIENCE
    pairs = zip(people, names, strict=True)
    threads = [threading.Thread(target=one, args=pair) for pair in pairs]
    with Peak(site.server.web_pids()) as peak:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    return peak.bytes / MIB


def main() -> int:
    """Measure; exit 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, help="MiB; 4096, of buckets 2048")
    parser.add_argument("--buckets", action="store_true", help="16 at once, to S3")
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder:
        if options.buckets:
            return _buckets(folder, (options.size or 2048) * MIB)
        with Site(folder) as site:
            return _measure(site, (options.size or 4096) * MIB)


def _idle(site: Site) -> float:
    person = site.person("bench")
    for name, size in (("tiny", 10), ("small", 300_000)):
        person.put(person.root(), name, os.urandom(size)).expect(201)
        _download(person, name, size)
    time.sleep(3)
    return max(resident(pid) for pid in site.server.web_pids()) / MIB


def _measure(site: Site, size: int) -> int:
    idle = _idle(site)
    print(f"idle web process: {idle:.1f} MiB")
    rows = []
    further = min(size, 512 * MIB)
    for word, work in (("upload", _upload), ("download", _download)):
        peaks = [_at_once(site, work, ["big"], size)]
        first = Row(f"first {word}, over idle", "MiB", FIRST, 40, most=True, must=True)
        first.samples.append(peaks[0] - idle)
        more = Row(f"each further {word}", "MiB", FURTHER, 32, most=True, must=True)
        for count in (2, 3):
            names = [f"f{count}-{number}" for number in range(count)]
            peaks.append(_at_once(site, work, names, further))
            more.samples.append(peaks[-1] - peaks[-2])
        print(f"  {word}: peaks {', '.join(f'{peak:.1f}' for peak in peaks)} MiB")
        rows += [first, more]
    time.sleep(5)
    after = Row("idle again, over idle", "MiB")
    after.samples.append(max(resident(pid) for pid in site.server.web_pids()) / MIB)
    after.samples[0] -= idle
    return report(f"resident memory, {size // MIB} MiB files", [*rows, after])


def _buckets(folder: Path, size: int) -> int:
    """Sixteen uploads at once into four buckets."""
    use_test_keys()
    with several(4, folder=folder) as servers:
        settings = {"ARRAY_MEMBERS": " ".join(server.url() for server in servers)}
        site = Site(folder / "site", settings, width=0, environment=CREDENTIALS)
        with site:
            return _sixteen(site, size)


def _sixteen(site: Site, size: int) -> int:
    idle = _idle(site)
    print(f"idle web process: {idle:.1f} MiB")
    first = Row("first upload, over idle", "MiB", FIRST, 40, most=True, must=True)
    more = Row("each further upload", "MiB", FURTHER, 32, most=True, must=True)
    bound = config.load(site.server.environment).memory_bytes / MIB
    whole = Row(f"{AT_ONCE} uploads, over idle (MEMORY_BYTES)", "MiB", bound)
    whole.most = whole.must = True
    alone = _at_once(site, _upload, ["alone"], min(size, 512 * MIB))
    first.samples.append(alone - idle)
    names = [f"upload-{number}" for number in range(AT_ONCE)]
    begun = time.perf_counter()
    peak = _at_once(site, _upload, names, size)
    seconds = time.perf_counter() - begun
    print(f"  peaks {alone:.1f} and {peak:.1f} MiB; {seconds:.0f} s for {AT_ONCE}")
    more.samples.append((peak - alone) / (AT_ONCE - 1))
    whole.samples.append(peak - idle)
    assert not site.owed(), "a bucket made trouble, so other shards were measured"
    title = f"{AT_ONCE} uploads of {size // MIB} MiB at once into four buckets"
    return report(title, [first, more, whole])


if __name__ == "__main__":
    sys.exit(main())
