"""The model of durability: its formula and simulations agree, and it never boasts."""

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from benchmarks import chances, durability
from benchmarks.chances import Case
from raid.geometry import Level

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
USUAL = [Case(level, width, 0.04, 2) for level, width in durability.LAYOUTS]
WAYS = ("lives", "cycles")


@cache
def checks() -> list[durability.Check]:
    return list(durability.checks())


def ids(case: Case) -> str:
    return f"{case.level}-{case.width}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", USUAL, ids=ids)
def test_the_formula_lies_in_the_interval_of_each_simulation(case, way) -> None:
    layout = (case.level, case.width, way)
    [check] = [c for c in checks() if (c.case.level, c.case.width, c.way) == layout]
    assert check.found.holds(check.formula), check.line()
    # An interval that holds everything would prove nothing.
    assert check.found.half < 0.15 * check.found.mean


@pytest.mark.parametrize("case", USUAL, ids=ids)
def test_a_wrong_formula_would_lie_outside(case: Case) -> None:
    """Half a year of repair, one member more, or a lost factor of two are noticed."""
    found = chances.simulate_rare(case, durability.CYCLES, durability.SEED)
    for wrong in (
        replace(case, repair_days=3),
        replace(case, width=case.width + 2),
        replace(case, annual_loss=0.05),
    ):
        assert not found.holds(chances.mean_years(wrong))
    assert not found.holds(2 * chances.mean_years(case))


@pytest.mark.parametrize("case", USUAL[:-1], ids=ids)
def test_it_becomes_the_textbook_where_repair_is_quick(case: Case) -> None:
    quick = replace(case, annual_loss=0.01, repair_days=0.01)
    book = chances.textbook_years(quick)
    assert chances.mean_years(quick) == pytest.approx(book, rel=1e-4)


def test_pairs_are_as_many_mirrors_as_there_are() -> None:
    pair = chances.mean_years(Case(Level.RAID1, 2, 0.01, 0.1))
    four = chances.mean_years(Case(Level.RAID10, 8, 0.01, 0.1))
    assert four == pytest.approx(pair / 4, rel=1e-3)


def test_without_repair_in_time_it_is_a_race_of_lifetimes() -> None:
    """With no repair, the first of n to go and then the next: 1/nr + 1/(n-1)r."""
    case = Case(Level.RAID5, 4, 0.5, 1e12)
    rate = case.failures
    assert chances.mean_years(case) == pytest.approx(1 / (4 * rate) + 1 / (3 * rate))


def test_a_common_cause_bounds_every_level() -> None:
    """Whatever the parity, the time is not longer than that of the one event."""
    for case in USUAL:
        whole = replace(case, common=0.001)
        assert chances.mean_years(whole) < 1000 < chances.mean_years(case)


def test_more_parity_and_quicker_repair_help() -> None:
    five, six = Case(Level.RAID5, 6, 0.04, 2), Case(Level.RAID6, 6, 0.04, 2)
    assert chances.mean_years(six) > 100 * chances.mean_years(five)
    slower = replace(six, repair_days=4)
    ratio = chances.mean_years(six) / chances.mean_years(slower)
    assert ratio == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize(
    "given",
    [
        (Level.RAID5, 2, 0.04, 2),
        (Level.RAID10, 5, 0.04, 2),
        (Level.RAID5, 4, 0.0, 2),
        (Level.RAID5, 4, 1.0, 2),
        (Level.RAID5, 4, 0.04, 0),
        (Level.RAID5, 4, 0.04, 2, -1),
    ],
)
def test_what_it_does_not_describe_is_refused(given) -> None:
    with pytest.raises(ValueError):
        Case(*given)


# -- what is said ------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """Return the rows of all tables, as cells, with their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines]


def test_no_figure_without_a_common_cause() -> None:
    with pytest.raises(ValueError, match="common cause"):
        durability.Figure(USUAL[0])
    command = [sys.executable, "-m", "benchmarks.durability", "--common", "0"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""


def test_the_command_prints_it_in_every_row() -> None:
    command = [sys.executable, "-m", "benchmarks.durability", "--common", "0.004"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = [row for row in rows(done.stdout) if row[0].startswith("raid")]
    assert len(figures) == 17 + len(checks())
    for row in figures:
        assert "4,000" in row[4] or "at 0.0" in row[5], row
    for head in (row for row in rows(done.stdout) if row[0] == "array"):
        assert any("common cause (assumed)" in cell for cell in head)
    loose = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith("|") and re.search(r"\d", line)
    ]
    assert [re.sub(r"\D", "", line) for line in loose] == ["1"]  # the seed


def test_the_page_holds_the_tables_of_today() -> None:
    assert durability.table() in PAGE, "python -m benchmarks.durability"
    lines = "\n".join([durability.CHECK_HEAD, *(check.line() for check in checks())])
    assert lines in PAGE, "python -m benchmarks.durability"


def test_the_page_counts_no_nines() -> None:
    assert not re.search(r"99[.,]?\d* ?(%|percent)(?! interval)|\bnines\b", PAGE)
