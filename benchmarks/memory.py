"""How much memory a web process takes for transfers of any size: two musts.

    python -m benchmarks.memory [--size MiB] [--dir FOLDER]

An upload and a download of 4 GiB, then two and three of each at once. Idle is measured
after one small file went in and out, so that everything is loaded.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator

from benchmarks.common import MIB, Peak, Row, report, resident, scratch
from support.client import Client, pieces
from support.site import Site

FIRST, FURTHER = 48, 40


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


def _at_once(site: Site, work: object, names: list[str], size: int) -> float:
    """Peak resident memory in MiB while several transfers run."""
    threads = [
        threading.Thread(target=work, args=(site.person("bench").twin(), name, size))
        for name in names
    ]
    with Peak(site.server.web_pids()) as peak:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return peak.bytes / MIB


def main() -> int:
    """Measure; exit 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="MiB")
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder, Site(folder) as site:
        return _measure(site, options.size * MIB)


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


if __name__ == "__main__":
    sys.exit(main())
