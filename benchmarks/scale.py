"""What grows with files, bytes and members: the tables of docs/scale.md, once more.

    python -m benchmarks.scale [--files N] [--no-count]

The first table is counted: files of each form go through the services over four buckets
on a real server, and what they ask for is written down. The second is measured: so many
files go into a fresh SQLite and a fresh PostgreSQL through the services. The third is
arithmetic over the geometry of the code, over what was measured (the constants below),
and over assumed speeds, which are named in it; `--no-count` prints it alone. Exits with
1 when something measured is no longer what the constants say.
"""

import argparse
import sys
from collections.abc import Iterator

from benchmarks import catalogue, requests
from benchmarks.catalogue import MEMBERS, Sizes
from benchmarks.common import scratch
from benchmarks.growth import (
    BYTES,
    FILES,
    LEVEL,
    LISTED,
    PAYLOAD,
    ROWS,
    SIZE,
    SNAPSHOT,
    TOLERANCE,
    WIDTH,
    amount,
    by_members,
    limits,
    table,
)
from support.database import Postgres

COUNTED_HEAD = (
    "| file | upload | its transactions | download | scrub | purge "
    "| one part of a sweep |\n|---|---|---|---|---|---|---|"
)


def counted(costs: requests.Costs) -> str:
    """Return the table of requests, over four buckets in RAID-5."""
    lines = [COUNTED_HEAD]
    for form, acts in costs.items():
        up = acts["upload"]
        cells = [
            f"{form}, {amount(requests.SIZES[form])}",
            up.said(),
            str(up.transactions),
            *(acts[act].said() for act in ("download", "scrub", "purge", "sweep")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


MEASURED_HEAD = (
    "| database | rows by file | bytes by file: entries | blobs |\n|---|---|---:|---:|"
)


def measured() -> str:
    """Return the table of what a file takes in a database, as the arithmetic has it."""
    rows = ", ".join(f"{number} in {table}" for table, number in ROWS.items())
    lines = [MEASURED_HEAD]
    for name, tables in BYTES.items():
        sizes = " | ".join(f"{tables[table]:,}" for table in catalogue.TABLES)
        lines.append(f"| {name} | {rows} | {sizes} |")
    return "\n".join(lines)


def differences(name: str, found: Sizes) -> Iterator[str]:
    """Say what is no longer as the constants have it."""
    rows = {table: round(number) for table, number in found.rows.items()}
    if rows != ROWS:
        yield f"{name}: rows by file are {rows} and not {ROWS}"
    pairs = [(found.bytes[table], BYTES[name][table]) for table in catalogue.TABLES]
    pairs += [(found.snapshot, SNAPSHOT), (found.sweep, LISTED)]
    for value, known in pairs:
        if abs(value - known) > TOLERANCE * known:
            yield f"{name}: {value:.0f} bytes were measured and {known} are known"
    if found.payload and abs(found.payload - PAYLOAD) > 0.02 * PAYLOAD:
        yield f"{name}: a file has {found.payload:.0f} bytes of rows, not {PAYLOAD}"


def _measure(files: int) -> list[str]:
    wrong: list[str] = []
    server = Postgres()
    try:
        with server.empty_database() as url:
            for name, address in (("SQLite", None), ("PostgreSQL", url)):
                with scratch(None) as folder:
                    found = catalogue.sizes(folder, address, files)
                print(f"{name}, {files} files: {_told(found)}")
                wrong += differences(name, found)
    finally:
        server.stop()
    return wrong


def _told(found: Sizes) -> str:
    tables = ", ".join(f"{size:.0f} in {name}" for name, size in found.bytes.items())
    return (
        f"bytes by file {tables}; journal {found.snapshot:.0f} in a snapshot and "
        f"{found.entry:.0f} before it; {found.rate:,.0f} files a second into a "
        f"snapshot; {found.sweep:.0f} bytes of memory by object in a sweep"
    )


def main() -> int:
    """Count, measure and print; exit 1 when the constants are not true any more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--no-count", action="store_true", help="arithmetic alone")
    options = parser.parse_args()
    wrong: list[str] = []
    if not options.no_count:
        print(f"Requests and transactions: {MEMBERS} buckets in RAID-5.\n")
        with scratch(None) as folder:
            told = counted(requests.over_buckets(folder))
        print(told)
        with scratch(None) as folder:
            if counted(requests.as_if_far(folder)) != told:
                wrong.append("far folders are asked for something else")
        print("\nMeasured now, and below it what the arithmetic takes.\n")
        wrong += _measure(options.files)
        print(f"\n{measured()}\n")
    size = amount(SIZE)
    print(f"Arithmetic: files of {size} over {LEVEL} x {WIDTH}.\n")
    print(table())
    print(f"\nBy members: {FILES:,} files of {size}.\n")
    print(by_members())
    print(f"\nWhere it begins to hurt: files of {size} over {LEVEL} x {WIDTH}.\n")
    print(limits())
    for sentence in wrong:
        print(f"Not true any more: {sentence}.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
