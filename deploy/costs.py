"""What the stack of cloudformation.yaml costs: `python -m deploy.costs`.

It prints the tables of docs/deploy-aws.md. Requests for a file are those that
docs/members.md counts; prices are list prices and stand in one table, to be replaced by
your own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

REGION = "us-east-1"
HOURS = 730
SEGMENT = 9 << 20
RUN = 3 << 20
SMALL = 64 << 10
GB = 10**9

PRICES = {
    "t3.medium, an hour": 0.0416,
    "gp3 volume, a GB and month": 0.08,
    "NAT gateway, an hour": 0.045,
    "NAT gateway, a GB": 0.045,
    "public IPv4 address, an hour": 0.005,
    "load balancer, an hour": 0.0225,
    "load balancer, an LCU and hour": 0.008,
    "db.t4g.medium in two zones, an hour": 0.129,
    "database storage in two zones, a GB and month": 0.23,
    "S3 Standard, a GB and month": 0.023,
    "S3, 1000 PUT": 0.005,
    "S3, 1000 GET": 0.0004,
    "traffic to the Internet, a GB": 0.09,
    "traffic between regions, a GB": 0.02,
    "secret, a month": 0.40,
    "CloudWatch metric, a month": 0.30,
    "CloudWatch alarm, a month": 0.10,
    "CloudWatch, 1000 puts": 0.01,
}
"""US dollars."""

INSTANCES, ZONES, MEMBERS, DATA = 2, 2, 4, 3
PROCESSES = 3
"""That look at the members on an instance: pages, transfers, worker."""
FILE = 4 * 10**6
NEW, READ, KEPT = 0.10, 0.20, 0.10
"""Shares of what is stored: new and read in a month, and kept as old versions."""
LOOKS = 259_200
"""GETs of the superblock in a month, for each process and member."""


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


def standing(public: bool) -> Iterator[Line]:
    """Yield what is paid whatever is stored."""
    price = PRICES
    yield Line(
        "2 instances",
        "2 x 730 h, and 2 x 16 GB of disk",
        INSTANCES
        * (
            HOURS * price["t3.medium, an hour"]
            + 16 * price["gp3 volume, a GB and month"]
        ),
    )
    if public:
        address = price["public IPv4 address, an hour"]
        yield Line("2 addresses", "2 x 730 h", INSTANCES * HOURS * address)
    else:
        hour = price["NAT gateway, an hour"] + price["public IPv4 address, an hour"]
        yield Line(
            "2 NAT gateways", "2 x 730 h, each with an address", ZONES * HOURS * hour
        )
    yield Line(
        "load balancer",
        "730 h, 1 LCU, 2 addresses",
        HOURS
        * (
            price["load balancer, an hour"]
            + price["load balancer, an LCU and hour"]
            + 2 * price["public IPv4 address, an hour"]
        ),
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
    looks = INSTANCES * PROCESSES * MEMBERS * LOOKS
    yield Line(
        "looks at members",
        f"{looks:,} GET",
        looks / 1000 * price["S3, 1000 GET"],
    )


def stored(size: int, apart: bool) -> Iterator[Line]:
    """Yield what follows from how much is stored, new and read."""
    price, files, raw = PRICES, size / FILE, size / GB * MEMBERS / DATA
    yield Line(
        "storage",
        f"{raw:,.0f} GB, and {raw * KEPT:,.0f} GB of old versions",
        raw * (1 + KEPT) * price["S3 Standard, a GB and month"],
    )
    put = files * NEW * puts(FILE)
    yield Line("new files", f"{put:,.0f} PUT", put / 1000 * price["S3, 1000 PUT"])
    got = files * READ * gets(FILE)
    yield Line("files read", f"{got:,.0f} GET", got / 1000 * price["S3, 1000 GET"])
    seen = files * MEMBERS
    yield Line("scrub", f"{seen:,.0f} GET", seen / 1000 * price["S3, 1000 GET"])
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
    bills = [[*standing(apart), *stored(size, apart)] for size in sizes]
    for small, large in zip(*bills, strict=True):
        lines.append(
            f"| {small.what} | {small.how} | {small.dollars:,.2f} "
            f"| {large.how} | {large.dollars:,.2f} |"
        )
    totals = [sum(line.dollars for line in bill) for bill in bills]
    lines.append(f"| **a month** | | **{totals[0]:,.2f}** | | **{totals[1]:,.2f}** |")
    return "\n".join(lines)


def beside() -> str:
    """Return what it costs to bring everything in, and what a NAT gateway adds."""
    lines = ["| | 100 GB | 10 TB |", "|---|---|---|"]
    counts = [size / FILE * puts(FILE) for size in (100 * GB, 10_000 * GB)]
    cells = [f"{n:,.0f} PUT = {n / 1000 * PRICES['S3, 1000 PUT']:,.2f}" for n in counts]
    lines.append(f"| to store everything once | {' | '.join(cells)} |")
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
