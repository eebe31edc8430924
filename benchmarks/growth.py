"""Arithmetic: what an array of files takes, by files, bytes and members.

It stands on the geometry of the code, on what `benchmarks.catalogue` measures (the
constants below), on figures of other pages, and on assumed speeds. `benchmarks.scale`
prints it and says when a constant is not true any more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from raid.format import HEADER_LENGTH, table_length
from raid.geometry import Code, Level, Shape, payload_length, shape_of
from raid.halves import capacity_for
from raid.manifest import INLINE_LIMIT
from raid.rows import row_size
from storage.jobs.sweep import PREFIXES

# -- measured by `benchmarks.catalogue` --------------------------------------------

ROWS = {"entries": 1, "blobs": 1}
PAYLOAD = 890
"""Bytes of rows and keys by file, on SQLite: the same in every run."""
BYTES = {
    "SQLite": {"entries": 750, "blobs": 290},
    "PostgreSQL": {"entries": 1160, "blobs": 290},
}
"""Bytes of the database by file, with indexes."""
SNAPSHOT = 225
"""Bytes by file in a snapshot of the journal, compressed."""
LISTED = 450
"""Bytes of the worker's memory by object that a sweep looks at."""

# -- from other pages, each with its command there ---------------------------------

RECOVERED = 5 * 1024
RECOVERED_SECONDS = 2.7 / 2000
"""Memory and processor of `flask array recover` by file: docs/recovery.md."""
COUNTED_SECONDS = 0.014 / 100_000
"""How long the array page counts, by file: docs/architecture.md."""

# -- assumed -----------------------------------------------------------------------

MEMBER_SPEED = 200e6
"""Bytes a second that a member takes or gives."""
WORKER_SPEED = 1e9
"""Bytes a second that a worker takes from all members: a network of 10 Gbit/s."""
SNAPSHOT_SPEED = 5000
"""Files a second that go into a snapshot."""
REQUEST_SECONDS = 0.02
"""One request to a bucket."""
PACE, SCRUB_DAYS = 0.4, 30
"""The settings PACE and SCRUB_DAYS, as they come."""

MIB = 1 << 20
DAY = 86_400
MONTHLY = 30 * DAY // 10
"""A process looks at each bucket every 10 s: docs/members.md."""
TOLERANCE = 0.15


@dataclass(frozen=True)
class Site:
    """Some files of one size over one array."""

    files: int
    size: int
    level: Level
    width: int

    def __post_init__(self) -> None:
        """Refuse files that lie inside of their manifests: those have no shards."""
        if self.size <= INLINE_LIMIT:
            raise ValueError("This arithmetic is about files with shards.")

    @cached_property
    def shape(self) -> Shape:
        """Return the shape of a segment."""
        return shape_of(self.level, self.width)

    @cached_property
    def segments(self) -> list[int]:
        """Return the lengths of the segments of a file."""
        most = capacity_for(self.shape, None)
        full, rest = divmod(self.size, most)
        return [most] * full + ([rest] if rest else [])

    @property
    def shards(self) -> int:
        """Return the shards of a file on all members together."""
        return len(self.segments) * self.shape.width

    @property
    def objects(self) -> int:
        """Return how many objects all members hold together."""
        alone = len(self.segments) == 1
        manifests = self.width - self.shape.width if alone else self.width
        return self.files * (self.shards + manifests)

    @property
    def stored(self) -> int:
        """Return the bytes of all shards and manifests."""
        heads = [HEADER_LENGTH + table_length(n, self.shape) for n in self.segments]
        units = [payload_length(n, self.shape.k) for n in self.segments]
        rows = len(self.segments) * row_size(self.shape.width) * self.width
        return self.files * ((sum(heads) + sum(units)) * self.shape.width + rows)

    @property
    def share(self) -> float:
        """Return the bytes of one member."""
        return self.stored / self.width

    @property
    def puts(self) -> int:
        """Return the requests that stored it all."""
        return self.objects

    @property
    def buffer(self) -> int:
        """Return the memory of an upload: two halves with their parities."""
        data = capacity_for(self.shape, None)
        copies = self.shape.code is Code.COPIES
        each = data if copies else data * self.shape.width // self.shape.k
        return (2 * each // MIB + 1) * MIB  # whole MiB, and room for zeros

    @property
    def database(self) -> int:
        """Return the bytes of a PostgreSQL."""
        return self.files * sum(BYTES["PostgreSQL"].values())

    @property
    def snapshot(self) -> int:
        """Return the bytes of a snapshot of the journal."""
        return self.files * SNAPSHOT

    @property
    def snapshot_days(self) -> float:
        """Return how long one is written, in which the journal stands still."""
        return self.files / SNAPSHOT_SPEED / DAY

    @property
    def scrub_days(self) -> float:
        """Return how long a scrub takes at the usual pace."""
        speed = min(WORKER_SPEED, self.width * MEMBER_SPEED)
        return self.stored / (speed * PACE) / DAY

    @property
    def lists(self) -> int:
        """Return the LIST requests of the daily sweep."""
        return 2 * PREFIXES * self.width + self.objects // 1000

    @property
    def in_folder(self) -> float:
        """Return the objects in one folder of a member."""
        return self.objects / self.width / PREFIXES

    @property
    def sweep_memory(self) -> float:
        """Return the memory of the worker while it looks at one part."""
        return self.objects / PREFIXES * LISTED

    @property
    def sweep_step(self) -> float:
        """Return how long one of its 256 parts takes; nothing comes between."""
        return self.sweep_days * PACE / PREFIXES

    @property
    def sweep_days(self) -> float:
        """Return how long a sweep reads manifests from buckets, one by one."""
        several = self.files if len(self.segments) > 1 else 0
        return several * REQUEST_SECONDS / PACE / DAY

    def rebuild_days(self, pace: float) -> float:
        """Return how long a lost member is rebuilt."""
        inputs = 1 if self.shape.code is Code.COPIES else self.shape.k
        return self.share / (min(MEMBER_SPEED, WORKER_SPEED / inputs) * pace) / DAY


# -- the table of arithmetic -------------------------------------------------------

COLUMNS = (100_000, 1_000_000, 10_000_000, 100_000_000)
SIZE = 10_000_000
LEVEL, WIDTH = Level.RAID6, 8

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def amount(value: float) -> str:
    """Return bytes with two digits.

    >>> [amount(value) for value in (224.6, 17_500_000, 1.34e15)]
    ['220 B', '18 MB', '1.3 PB']
    """
    value = float(f"{value:.1e}")
    power = 0
    while value >= 1000:
        value, power = value / 1000, power + 1
    return f"{value:g} {_UNITS[power]}"


def number(value: float) -> str:
    """Return a number with two digits, and words for large ones."""
    value = float(f"{value:.1e}")
    for limit, word in ((1e9, " billion"), (1e6, " million")):
        if value >= limit:
            return f"{value / limit:g}{word}"
    return f"{value:,.0f}"


def duration(days: float) -> str:
    """Return a time with two digits in a unit that people read."""
    for least, unit, word in (
        (2.0, 1.0, "d"),
        (2 / 24, 1 / 24, "h"),
        (2 / 1440, 1 / 1440, "min"),
    ):
        if days >= least:
            return f"{float(f'{days / unit:.1e}'):,g} {word}"
    return f"{float(f'{days * DAY:.1e}'):g} s"


def journal(site: Site) -> str:
    """Return the journal at its largest: a snapshot, twice that, and the next one."""
    return amount(4 * site.snapshot)


Lines = tuple[tuple[str, Callable[[Site], str]], ...]

LINES: Lines = (
    ("bytes of the files", lambda s: amount(s.files * s.size)),
    ("bytes on all members", lambda s: amount(s.stored)),
    ("bytes on one member", lambda s: amount(s.share)),
    ("objects on one member", lambda s: number(s.objects / s.width)),
    (
        "objects in one of its 256 folders",
        lambda s: number(s.objects / s.width / PREFIXES),
    ),
    ("PUT to store it", lambda s: number(s.puts)),
    ("rows of the database", lambda s: number(s.files * sum(ROWS.values()))),
    ("PostgreSQL, indexes included", lambda s: amount(s.database)),
    ("a snapshot of the journal", lambda s: amount(s.snapshot)),
    ("journal at most, in the database and on each member", journal),
    ("a snapshot takes (the journal waits)", lambda s: duration(s.snapshot_days)),
    ("the array page counts", lambda s: duration(s.files * COUNTED_SECONDS / DAY)),
    ("LIST of the daily sweep", lambda s: number(s.lists)),
    ("the sweep reads manifests, in buckets", lambda s: duration(s.sweep_days)),
    ("one of its 256 parts, in buckets", lambda s: duration(s.sweep_step)),
    (
        "memory of the worker in a sweep",
        lambda s: amount(s.objects / PREFIXES * LISTED),
    ),
    ("scrub, at the usual pace", lambda s: duration(s.scrub_days)),
    ("rebuild, at the usual pace", lambda s: duration(s.rebuild_days(PACE))),
    ("rebuild, at full pace", lambda s: duration(s.rebuild_days(1))),
    ("recovery: memory", lambda s: amount(s.files * RECOVERED)),
    ("recovery: processor", lambda s: duration(s.files * RECOVERED_SECONDS / DAY)),
)


def table() -> str:
    """Return the table of arithmetic."""
    sites = [Site(files, SIZE, LEVEL, WIDTH) for files in COLUMNS]
    head = " | ".join(f"{site.files:,} files" for site in sites)
    return _table(head, sites, LINES)


def _table(head: str, sites: list[Site], rows: Lines) -> str:
    lines = [f"| | {head} |", "|---|" + "---:|" * len(sites)]
    for name, say in rows:
        lines.append(f"| {name} | " + " | ".join(map(say, sites)) + " |")
    return "\n".join(lines)


LAYOUTS = (
    (Level.RAID1, 3),
    (Level.RAID5, 4),
    (Level.RAID6, 6),
    (Level.RAID6, 8),
    (Level.RAID6, 16),
    (Level.RAID10, 8),
)
FILES = 10_000_000

BY_MEMBERS: Lines = (
    ("stored for each byte", lambda s: f"{s.stored / (s.files * s.size):.2f}"),
    ("members that may go, whichever they are", lambda s: str(s.shape.m)),
    ("most bytes in a segment", lambda s: amount(capacity_for(s.shape, None))),
    ("PUT for a file", lambda s: number(s.puts / s.files)),
    ("memory of an upload", lambda s: amount(s.buffer)),
    ("bytes on one member", lambda s: amount(s.share)),
    ("rebuild, at the usual pace", lambda s: duration(s.rebuild_days(PACE))),
    ("GET of a process at rest, a month", lambda s: number(s.width * MONTHLY)),
)


def by_members() -> str:
    """Return the table of what the layout changes."""
    sites = [Site(FILES, SIZE, *layout) for layout in LAYOUTS]
    head = " | ".join(f"{site.level} x {site.width}" for site in sites)
    return _table(head, sites, BY_MEMBERS)


# -- where it begins to hurt -------------------------------------------------------

MINUTE, WEEK = 60.0, 7.0
ROOM = 64e9
"""Memory of a large machine."""


OF_FILES: tuple[tuple[float, Callable[[Site], float], str], ...] = (
    (
        MINUTE,
        lambda s: s.snapshot_days * DAY,
        "a snapshot of the journal takes a minute, and changes wait for it",
    ),
    (
        MINUTE,
        lambda s: s.sweep_step * DAY,
        "in buckets, a part of the sweep takes a minute, and all else waits",
    ),
    (
        1.0,
        lambda s: s.files * COUNTED_SECONDS,
        "the array page counts for a second",
    ),
    (
        ROOM,
        lambda s: s.files * RECOVERED,
        f"`flask array recover` needs {amount(ROOM)} of memory",
    ),
)
OF_BYTES: tuple[tuple[float, Callable[[Site], float], str], ...] = (
    (WEEK, lambda s: s.rebuild_days(PACE), "a rebuild takes a week at the usual pace"),
    (
        SCRUB_DAYS,
        lambda s: s.scrub_days,
        f"a scrub takes its {SCRUB_DAYS} days at the usual pace",
    ),
)


def limits() -> str:
    """Return the table of the sizes at which something stops being as promised.

    Everything grows evenly with the files, so one site says where a bound is met.
    """
    site = Site(1_000_000, SIZE, LEVEL, WIDTH)
    lines = ["| at about | what happens |", "|---:|---|"]
    for bound, taken, what in OF_FILES:
        lines.append(f"| {number(site.files * bound / taken(site))} files | {what} |")
    for bound, taken, what in OF_BYTES:
        size = site.files * site.size * bound / taken(site)
        lines.append(f"| {amount(size)} of files | {what} |")
    return "\n".join(lines)
