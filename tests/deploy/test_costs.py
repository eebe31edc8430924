"""The tables of docs/deploy-aws.md: printed by a program, out of requests we count."""

import re
from pathlib import Path

from deploy import costs

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_tables_are_those_of_today() -> None:
    page = (DOCS / "deploy-aws.md").read_text("utf-8")
    for table in (
        costs.table(apart=False),
        costs.table(apart=True),
        costs.beside(),
        costs.prices(),
    ):
        assert table in page


def test_the_requests_are_those_of_the_page_about_members() -> None:
    page = (DOCS / "members.md").read_text("utf-8")
    found = re.search(r"\| 1 GiB \|.*\*\*(\d+) PUT\*\*.*\*\*(\d+) GET\*\*", page)
    assert found is not None
    assert found.groups() == (str(costs.puts(1 << 30)), str(costs.gets(1 << 30)))
    assert "| up to 9 MiB | 4 PUT | 1 GET, and 3 for each 3 MiB |" in page
    assert (costs.puts(9 << 20), costs.gets(9 << 20)) == (4, 10)
    assert (costs.puts(1), costs.gets(1)) == (4, 1)
    assert f"{costs.LOOKS:,} a month" in page


def test_the_sum_is_that_of_the_lines() -> None:
    rows = costs.table(apart=True).splitlines()[2:]
    cells = [[cell.strip(" *") for cell in row.split("|")] for row in rows]
    for column in (3, 5):
        values = [float(row[column].replace(",", "")) for row in cells]
        assert abs(sum(values[:-1]) - values[-1]) < 0.05


def test_what_is_far_costs_traffic_and_no_gateway() -> None:
    near, far = costs.table(apart=False), costs.table(apart=True)
    assert "| 2 NAT gateways | 2 x 730 h" in near
    assert "between regions" not in near
    assert "NAT gateway" not in far
    assert "between regions" in far
