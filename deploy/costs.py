"""What the stack of cloudformation.yaml costs: `python -m deploy.costs`.

It prints the tables of docs/deploy-aws.md. Requests for a file are those that
docs/members.md and docs/scale.md count, and how often the code asks is read from it;
prices are list prices and stand in one table, to be replaced by your own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import ceil

import config
from storage.jobs.sweep import PREFIXES
from storage.journal.snapshots import LEAST_BYTES
from storage.kept import WAITS
from storage.members.s3 import FRESH
from storage.worker import HEADS_SECONDS, WHOLE_JOURNALS_SECONDS

REGION = "us-east-1"
HOURS = 730
SEGMENT = 9 << 20
RUN = 3 << 20
SMALL = 64 << 10
GB = 10**9

PRICES = {
    "t3.medium, an hour": 0.0416,
    "c6i.large, an hour": 0.085,
    "gp3 volume, a GB and month": 0.08,
    "NAT gateway, an hour": 0.045,
    "NAT gateway, a GB": 0.045,
    "public IPv4 address, an hour": 0.005,
    "load balancer, an hour": 0.0225,
    "load balancer, an LCU and hour": 0.008,
    "db.t4g.medium in two zones, an hour": 0.129,
    "database storage in two zones, a GB and month": 0.23,
    "S3 Standard, a GB and month": 0.023,
    "S3, 1000 PUT or LIST": 0.005,
    "S3, 1000 GET": 0.0004,
    "traffic to the Internet, a GB": 0.09,
    "traffic between regions, a GB": 0.02,
    "secret, a month": 0.40,
    "CloudWatch metric, a month": 0.30,
    "CloudWatch alarm, a month": 0.10,
    "CloudWatch, 1000 puts": 0.01,
}
"""US dollars."""

BASELINE = {"t3.medium": 0.256, "c6i.large": 0.781}
"""Gbit/s that types of instances may move all the time; the cheapest comes first."""
_SETTINGS = {row.name: row.default for row in config.SETTINGS}
PACE = int(_SETTINGS["PACE"] or 0) / 100
SCRUB_DAYS = int(_SETTINGS["SCRUB_DAYS"] or 0)
ALARM_DAYS = 40
"""`ScrubAlarmDays`."""
INSTANCES, ZONES, MEMBERS, DATA = 2, 2, 4, 3
PROCESSES = 3
"""That look at the members on an instance: pages, transfers, worker."""
FILE = 4 * 10**6
NEW, READ, KEPT = 0.10, 0.20, 0.10
"""Shares of what is stored: new and read in a month, and purged in it, which lies as
old versions for as long."""
KEEP_DAYS = 30
"""For how long old versions lie: `KeepVersionsDays`."""
MONTH = 30 * 86_400
LOOKS = round(MONTH / FRESH)
"""GETs of the superblock in a month, for each process and member."""
PAGE = 1000
"""Objects in the answer to a LIST."""
COMES, GOES, ENTRY = 2, 4, 490
"""Entries of the journal for a file that comes alone (it, its receipt) and for one that
goes alone (to the trash, out of it, its purge begins and ends), and bytes of each."""
SNAPSHOT = 225
"""Bytes by file in a snapshot of the journal."""


@dataclass(frozen=True)
class Line:
    """One line of the bill, in dollars a month."""

    what: str
    how: str
    dollars: float


def puts(size: int) -> int:
    """Return the PUTs that store a file over four members in RAID-5."""
    if size <= SEGMENT:
        return 4
    return 4 * ceil(size / SEGMENT) + 4


def gets(size: int) -> int:
    """Return the GETs that read it."""
    if size <= SMALL:
        return 1
    if size <= SEGMENT:
        return 1 + 3 * ceil(size / RUN)
    return 10 + 3 * (ceil(size / SEGMENT) - 1)


def tries() -> int:
    """Return how often it is looked whether the versions of a purged file are gone."""
    return 1 + sum(age.days <= KEEP_DAYS for age in accumulate(WAITS))


def ends() -> float:
    """Return the GETs in a month by which workers look where journals end.

    They ask for the newest entry of a member, and for the one after it.
    """
    return 2 * INSTANCES * MEMBERS * MONTH / HEADS_SECONDS


def listings(size: float) -> float:
    """Return the LISTs in a month of whole journals, by each worker daily.

    All entries are listed: those since the last snapshot, half-way to the next one.
    """
    snapshot = size / FILE * SNAPSHOT
    entries = max(LEAST_BYTES, 2 * snapshot) / 2 / ENTRY
    return INSTANCES * MEMBERS * MONTH / WHOLE_JOURNALS_SECONDS * ceil(entries / PAGE)


def sweeps(size: float) -> float:
    """Return the LISTs in a month of the sweeps, which come daily."""
    objects = size / FILE * MEMBERS
    return MONTH / 86_400 * (2 * PREFIXES * MEMBERS + objects // PAGE)


def scrub_days(size: float, kind: str) -> float:
    """Return how long a scrub takes if its instance moves no more than its baseline."""
    bits = 8 * size * MEMBERS / DATA
    return bits / (BASELINE[kind] * 1e9 * PACE) / 86_400


def kind_for(size: float) -> str:
    """Return the type of instances that end a scrub before there is an alarm."""
    room = ALARM_DAYS - SCRUB_DAYS
    return next(kind for kind in BASELINE if scrub_days(size, kind) <= room)


def asked(what: str, put: float = 0, get: float = 0, lists: float = 0) -> Line:
    """Return the line of some requests."""
    counts = {"PUT": put, "GET": get, "LIST": lists}
    told = [f"{count:,.0f} {verb}" for verb, count in counts.items() if count]
    dear, cheap = PRICES["S3, 1000 PUT or LIST"], PRICES["S3, 1000 GET"]
    dollars = (put + lists) / 1000 * dear + get / 1000 * cheap
    return Line(what, ", ".join(told), dollars)


def standing(size: float, public: bool) -> Iterator[Line]:
    """Yield what is paid for hours, of the load balancer for bytes, too."""
    price, kind = PRICES, kind_for(size)
    yield Line(
        "2 instances",
        f"2 x 730 h of {kind}, and 2 x 16 GB of disk",
        INSTANCES
        * (
            HOURS * price[f"{kind}, an hour"] + 16 * price["gp3 volume, a GB and month"]
        ),
    )
    address = price["public IPv4 address, an hour"]
    if public:
        yield Line("2 addresses", "2 x 730 h", INSTANCES * HOURS * address)
    else:
        hour = price["NAT gateway, an hour"] + address
        yield Line(
            "2 NAT gateways", "2 x 730 h, each with an address", ZONES * HOURS * hour
        )
    units = max(HOURS, size / GB * (NEW + READ))
    yield Line(
        "load balancer",
        f"730 h, {units:,.0f} LCU-hours, 2 addresses",
        HOURS * (price["load balancer, an hour"] + 2 * address)
        + units * price["load balancer, an LCU and hour"],
    )
    yield Line(
        "database",
        "730 h in two zones, 20 GB",
        HOURS * price["db.t4g.medium in two zones, an hour"]
        + 20 * price["database storage in two zones, a GB and month"],
    )
    yield Line("2 secrets", "", 2 * price["secret, a month"])
    sent = INSTANCES * HOURS * 30 / 1000
    yield Line(
        "alarms",
        "4 metrics, 8 alarms, a put every 2 minutes",
        4 * price["CloudWatch metric, a month"]
        + 8 * price["CloudWatch alarm, a month"]
        + sent * price["CloudWatch, 1000 puts"],
    )


def upkeep(size: float) -> Iterator[Line]:
    """Yield what the array asks of itself while nobody uses it."""
    yield asked("looks at members", get=INSTANCES * PROCESSES * MEMBERS * LOOKS)
    yield asked("looks at journals", get=ends(), lists=listings(size))
    yield asked("sweeps", lists=sweeps(size))
    yield asked("scrub", get=size / FILE * (MEMBERS + 1))


def used(size: float) -> Iterator[Line]:
    """Yield what follows from the files that come, are read and go."""
    new, read, gone = (size / FILE * share for share in (NEW, READ, KEPT))
    yield asked("new files", put=new * puts(FILE))
    yield asked("their receipts", get=new * gets(FILE))
    yield asked("files read", get=read * gets(FILE))
    yield asked("purges", put=gone * MEMBERS, lists=2 * gone * MEMBERS)
    again = gone * MEMBERS * tries()
    yield asked(
        f"{tries()} tries of what is kept", put=again, get=again, lists=2 * again
    )
    yield asked("journal", put=(new * COMES + gone * GOES) * MEMBERS)


def stored(size: float, apart: bool) -> Iterator[Line]:
    """Yield what is paid for bytes."""
    price, raw = PRICES, size / GB * MEMBERS / DATA
    yield Line(
        "storage",
        f"{raw:,.0f} GB, and {raw * KEPT:,.0f} GB of old versions",
        raw * (1 + KEPT) * price["S3 Standard, a GB and month"],
    )
    out = max(0.0, size / GB * READ - 100)
    yield Line(
        "downloads",
        f"{out:,.0f} GB to the Internet (100 GB are free)",
        out * price["traffic to the Internet, a GB"],
    )
    if apart:
        yield _between(size / GB)


def between(size: float) -> float:
    """Return the GB a month to and from three of four members in other regions."""
    raw = size * MEMBERS / DATA
    return raw * NEW * 3 / 4 + size * READ * 2 / 3 + raw * 3 / 4


def _between(size: float) -> Line:
    moved = between(size)
    return Line(
        "between regions",
        f"{moved:,.0f} GB: new, read, and the scrub",
        moved * PRICES["traffic between regions, a GB"],
    )


def table(apart: bool) -> str:
    """Return the table of a month, for 100 GB and for 10 TB."""
    sizes = (100 * GB, 10_000 * GB)
    lines = ["| line | 100 GB | USD | 10 TB | USD |", "|---|---|---|---|---|"]
    bills = [
        [*standing(n, apart), *upkeep(n), *used(n), *stored(n, apart)] for n in sizes
    ]
    for small, large in zip(*bills, strict=True):
        lines.append(
            f"| {small.what} | {small.how} | {small.dollars:,.2f} "
            f"| {large.how} | {large.dollars:,.2f} |"
        )
    totals = [sum(line.dollars for line in bill) for bill in bills]
    lines.append(f"| **a month** | | **{totals[0]:,.2f}** | | **{totals[1]:,.2f}** |")
    return "\n".join(lines)


def beside() -> str:
    """Return what it costs to bring all in, how long scrubs take, what NAT adds."""
    lines = ["| | 100 GB | 10 TB |", "|---|---|---|"]
    counts = [size / FILE * puts(FILE) for size in (100 * GB, 10_000 * GB)]
    cells = [
        f"{n:,.0f} PUT = {n / 1000 * PRICES['S3, 1000 PUT or LIST']:,.2f}"
        for n in counts
    ]
    lines.append(f"| to store everything once | {' | '.join(cells)} |")
    for kind in BASELINE:
        days = [scrub_days(n, kind) for n in (100 * GB, 10_000 * GB)]
        cells = [f"{n:.2f} days" if n < 1 else f"{n:.1f} days" for n in days]
        lines.append(f"| a scrub, at the baseline of {kind} | {' | '.join(cells)} |")
    more = [between(n) * PRICES["NAT gateway, a GB"] for n in (100, 10_000)]
    cells = [f"{dollars:,.2f} a month" for dollars in more]
    lines.append(
        "| members in other regions through a NAT gateway, on top "
        f"| {' | '.join(cells)} |"
    )
    return "\n".join(lines)


def prices() -> str:
    """Return the table of prices."""
    lines = ["| price | USD |", "|---|---|"]
    return "\n".join([*lines, *(f"| {k} | {v:g} |" for k, v in PRICES.items())])


def main() -> None:
    """Print all tables."""
    print(f"All four members in {REGION}:\n\n{table(apart=False)}\n")
    print(f"Three of four members in other regions:\n\n{table(apart=True)}\n")
    print(f"Beside that:\n\n{beside()}\n\nPrices:\n\n{prices()}")


if __name__ == "__main__":
    main()
