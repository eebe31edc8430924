"""What the second parity costs: RAID-6 writes against RAID-5 writes of the same bytes.

    python -m benchmarks.raid6 [--size MIB] [--rounds N] [--dir FOLDER]

Through the engine, without HTTP and database, onto durable members in folders. Once
with as many data roles (3+1 and 3+2: a quarter more is written), once on as many
members (six: 5+1 and 4+2). The speed of the parities alone makes sense of the ratios.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from benchmarks.common import MIB, Row, report, scratch
from raid.array import Array
from raid.buffers import BufferPool
from raid.geometry import Level, Shape, pad, padded_length, payload_length, shape_of
from raid.levels import encode_parities
from raid.writer import erase, write
from support.arrays import DESCRIPTION, Body, Log, attempts, local_array

GOAL = 0.7
PAIRS = {
    "3 data roles each (4 and 5 members)": (4, 5),
    "6 members each (5 and 4 data roles)": (6, 6),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="MiB of each write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    data = os.urandom(options.size * MIB)
    rows = []
    with scratch(options.dir) as folder:
        for name, widths in PAIRS.items():
            rows += _writes(folder / str(len(rows)), name, widths, data, options.rounds)
    rows += [
        _encoding(level, width, options.rounds)
        for level, width in ((Level.RAID5, 4), (Level.RAID6, 5))
    ]
    return report(f"{options.size} MiB, medians of {options.rounds}", rows)


def _writes(
    folder: Path, name: str, widths: tuple[int, int], data: bytes, rounds: int
) -> list[Row]:
    five = _array(Level.RAID5, widths[0], folder / "five")
    six = _array(Level.RAID6, widths[1], folder / "six")
    ratio = Row(f"RAID-6 / RAID-5, {name}", "", GOAL)
    speeds = [Row(f"  RAID-{level}", "MiB/s") for level in (5, 6)]
    for number in range(rounds + 1):
        pair = (five, six) if number % 2 else (six, five)
        taken = {id(array): _write(array, data) for array in pair}
        if number:
            ratio.samples.append(taken[id(five)] / taken[id(six)])
            for row, array in zip(speeds, (five, six), strict=True):
                row.samples.append(len(data) / MIB / taken[id(array)])
    return [ratio, *speeds]


def _array(level: Level, width: int, folder: Path) -> Array:
    for slot in range(width):
        (folder / f"m{slot}").mkdir(parents=True)
    return local_array(level, width, folder)


def _write(array: Array, data: bytes) -> float:
    """Seconds until a blob is durable; it is removed outside the clock."""
    blob, source, pool = uuid4(), Body(data), BufferPool(64 * MIB)
    os.sync()
    begun = time.perf_counter()
    write(
        array,
        blob,
        attempts(),
        DESCRIPTION,
        source,
        Log(),
        pool,
        want_sha256=False,
        size=len(data),
    )
    seconds = time.perf_counter() - begun
    erase(array, blob)
    return seconds


def _encoding(level: Level, width: int, rounds: int) -> Row:
    shape = shape_of(level, width)
    row = Row(f"parity alone, {level} of {width}", "MiB/s")
    length = 9 * MIB
    encode = _encoder(shape, length)
    encode()
    for _ in range(rounds):
        begun = time.perf_counter()
        encode()
        row.samples.append(length / MIB / (time.perf_counter() - begun))
    return row


def _encoder(shape: Shape, length: int) -> Callable[[], object]:
    buffer = memoryview(bytearray(padded_length(length, shape.k)))
    buffer[:length] = os.urandom(length)
    pad(buffer, length, shape.k)
    out = memoryview(bytearray(shape.m * payload_length(length, shape.k)))
    return lambda: encode_parities(shape, buffer, length, out)


if __name__ == "__main__":
    sys.exit(main())
