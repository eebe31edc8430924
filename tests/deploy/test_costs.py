"""The tables of docs/deploy-aws.md: printed by a program, out of requests we count."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select

from benchmarks import growth
from benchmarks.catalogue import person, settle, upload
from deploy import costs
from files import trash
from storage import purge, tombstones
from storage.db import db, release
from storage.jobs import receipts, runner
from storage.models import JournalEntry
from storage.runtime import runtime
from support.store import KIB
from support.templates import SITE, plain

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


def test_they_are_those_of_the_page_about_scale() -> None:
    page = (DOCS / "scale.md").read_text("utf-8")
    row = re.search(r"^\| combined.*$", page, re.MULTILINE)
    assert row is not None
    cells = [cell.strip() for cell in row[0].strip("|").split("|")]
    assert cells[1] == f"{costs.puts(costs.FILE)} PUT"
    lines = [*costs.upkeep(10**12), *costs.used(10**12)]
    told = {one.what: one.how.replace(",", "") for one in lines}
    assert told["scrub"] == f"{250_000 * int(cells[4].split()[0])} GET"
    assert cells[5] == "8 DELETE, 8 LIST, 4 PUT"  # a DELETE costs nothing
    assert told["purges"] == "100000 PUT 200000 LIST"
    assert costs.SNAPSHOT == growth.SNAPSHOT


def test_what_is_kept_is_tried_until_a_bucket_ends_it() -> None:
    days = plain(SITE)["Parameters"]["KeepVersionsDays"]["Default"]
    assert days == costs.KEEP_DAYS
    assert costs.tries() == 6


def test_a_load_balancer_takes_for_each_gigabyte() -> None:
    """In and out of it: 2,000 GB are read and 1,000 GB are new."""
    lines = costs.standing(10**13, public=True)
    line = next(one for one in lines if one.what == "load balancer")
    assert "3,000 LCU-hours" in line.how
    assert line.dollars == pytest.approx(730 * 0.0325 + 3000 * 0.008)


def test_instances_end_a_scrub_before_there_is_an_alarm() -> None:
    parameters = plain(SITE)["Parameters"]
    assert parameters["ScrubAlarmDays"]["Default"] == costs.ALARM_DAYS
    assert costs.kind_for(10**11) == parameters["InstanceType"]["Default"]
    # 13,333 GB over 0.256 Gbit/s take 4.8 days, and a job works for 40 % of the time.
    assert costs.scrub_days(10**13, "t3.medium") == pytest.approx(4.8 / 0.4, rel=0.01)
    assert costs.kind_for(10**13) == "c6i.large"
    for public in (True, False):
        bill = [*costs.standing(10**13, public)]
        assert "2 x 730 h of c6i.large" in bill[0].how


def test_journals_are_listed_daily_and_their_ends_looked_at_meanwhile() -> None:
    """Each of two workers asks each of four members twice every 180 s."""
    assert costs.ends() == 2 * 2 * 4 * 30 * 86_400 / 180
    once = 2 * 4 * 30
    assert costs.listings(0) == once * 5  # 4 MiB of entries come before a snapshot
    held = 2_500_000 * growth.SNAPSHOT / costs.ENTRY
    assert costs.listings(10**13) == pytest.approx(once * held / 1000, rel=0.01)


def test_the_entries_of_a_file_that_comes_and_goes_alone(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "QUIET", timedelta(0))
    app = make_app(PURGE_GRACE_SECONDS="0")
    with app.app_context():
        user, top = person()
        settle()
        begun = _entries()
        entry, _ = upload(user, top, "some-file-name.tar.gz", 400 * KIB)
        settle()
        assert receipts.request() == 1
        runner.run(runtime().array(), lambda: False)
        come = _entries()
        for step in (
            lambda: trash.trash(user, [entry]),
            lambda: trash.purge(user, [entry]),
            tombstones.begin_due,
            lambda: purge.run(runtime().array()),
        ):
            step()
            settle()
        gone = _entries()
    assert come[0] - begun[0] == costs.COMES
    assert gone[0] - come[0] == costs.GOES
    size = (gone[1] - begun[1]) / (costs.COMES + costs.GOES)
    assert size == pytest.approx(costs.ENTRY, rel=0.1)


def _entries() -> tuple[int, int]:
    """How many entries there are, and their bytes."""
    settle()
    row = db.session.execute(
        select(func.count(), func.sum(func.length(JournalEntry.data)))
    ).one()
    release()
    return row[0], row[1]


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
