"""The first page of a large folder against a small one: two musts.

    python -m benchmarks.listing [--files N] [--dir FOLDER]

Server time is what the request's own log line says. The rows are written by one
statement, all naming one stored blob: a listing never touches bytes.
"""

import argparse
import sqlite3
import sys
from contextlib import closing

from benchmarks.common import Row, report, scratch
from support.client import Client
from support.site import Site, until

ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO entries ({columns})
SELECT {values} FROM n, entries e WHERE e.id = :like
"""
OWN = {
    "id": "printf('%s%08d', substr(:folder, 1, 14), i)",
    "parent_id": ":folder",
    "name": "printf('file %05d.txt', i)",
    "sort_key": "CAST(printf('file %05d.txt', i) AS BLOB)",
    "size": "i * 37 % 100003",
}


def main() -> int:
    """Measure; exit 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder, Site(folder) as site:
        return _measure(site, options.files, options.rounds)


def _fill(site: Site, person: Client, name: str, count: int) -> str:
    """A folder of so many rows."""
    folder = person.folder(person.root(), name)
    like = person.put(person.root(), f"like-{name}", b"kelp").expect(201).json["id"]
    with closing(sqlite3.connect(site.data / "holdfast.db", timeout=30)) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(entries)")]
        values = ", ".join(OWN.get(column, f"e.{column}") for column in names)
        sql = ROWS.format(columns=", ".join(names), values=values)
        database.execute(sql, {"count": count, "folder": folder, "like": like})
        sums = "SELECT count(*), sum(size) FROM entries WHERE parent_id = ?"
        files, size = database.execute(sums, (folder,)).fetchone()
        database.execute(
            "UPDATE entries SET files = ?, bytes = ? WHERE id = ?",
            (files, size, folder),
        )
        database.commit()
    return folder


def _server_time(site: Site, person: Client, path: str) -> float:
    """Milliseconds of the server for one page, from its own log line."""
    answer = person.get(path).expect(200)
    assert len(answer.page.rows) == 100
    wanted = answer.headers["X-Request-ID"]
    # The line is written when the answer has left.
    line = until(lambda: _line(site, wanted), 10, 0.01, "the line of the request")
    return float(line.partition('"ms": ')[2].split(",")[0].rstrip("}"))


def _line(site: Site, wanted: str) -> str:
    lines = reversed(site.server.log.read_text().splitlines())
    return next((line for line in lines if wanted in line), "")


def _measure(site: Site, files: int, rounds: int) -> int:
    person = site.person("bench")
    few, many = _fill(site, person, "few", 100), _fill(site, person, "many", files)
    small = Row("first page of 100 files", "ms")
    large = Row(f"first page of {files} files", "ms", 100, most=True, must=True)
    ratio = Row("large / small", "x", 1.5, most=True, must=True)
    sorts = [Row(f"the same by {sort}", "ms") for sort in ("size", "date")]
    deep = Row("a page in the middle", "ms")
    middle = _middle(person, f"/files/folder/{many}")
    for number in range(rounds + 1):
        pair = [_server_time(site, person, f"/files/folder/{x}") for x in (few, many)]
        if not number:
            continue
        small.samples.append(pair[0])
        large.samples.append(pair[1])
        deep.samples.append(_server_time(site, person, middle))
        for row, sort in zip(sorts, ("size", "date"), strict=True):
            path = f"/files/folder/{many}?sort={sort}"
            row.samples.append(_server_time(site, person, path))
    ratio.samples.append(large.value / small.value)
    return report("server time of folder pages", [small, large, ratio, *sorts, deep])


def _middle(person: Client, path: str) -> str:
    for _ in range(20):
        following = person.get(path).page.next
        if following is None:
            break
        path = following
    return path


if __name__ == "__main__":
    sys.exit(main())
