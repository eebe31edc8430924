"""docs/scale.md says what the program does today: rows, requests, bytes and objects."""

import re
from pathlib import Path

import pytest

import config
from benchmarks import catalogue, growth, requests, scale
from benchmarks.growth import Site
from raid.buffers import BufferPool
from raid.geometry import Level, shape_of
from raid.halves import capacity_for, lend_halves
from raid.keys import OBJECTS
from support.arrays import memory_array, put_blob

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "scale.md").read_text("utf-8")


def test_the_page_holds_the_arithmetic_of_today() -> None:
    assert growth.table() in PAGE, "python -m benchmarks.scale --no-count"
    assert growth.limits() in PAGE, "python -m benchmarks.scale --no-count"
    assert growth.by_members() in PAGE, "python -m benchmarks.scale --no-count"
    assert scale.measured() in PAGE, "python -m benchmarks.scale --no-count"


def test_a_file_asks_for_what_the_page_says(tmp_path) -> None:
    """Files of each form live their whole life; the command does it with buckets."""
    found = scale.counted(requests.as_if_far(tmp_path))
    assert found in PAGE, "python -m benchmarks.scale"


def test_a_file_has_the_rows_that_the_page_says(tmp_path) -> None:
    """Bytes of pages depend on how full they are; those of rows and keys do not."""
    found = catalogue.sizes(tmp_path, None, 60)
    assert {table: round(n) for table, n in found.rows.items()} == growth.ROWS
    told = "measure anew: python -m benchmarks.scale; then growth.py and docs/scale.md"
    assert found.payload == pytest.approx(growth.PAYLOAD, rel=0.02), told
    assert found.entry == pytest.approx(growth.SNAPSHOT, rel=0.06)


def test_what_changed_is_named() -> None:
    known = dict(growth.BYTES["SQLite"])
    good = catalogue.Sizes(
        rows={table: n * 1.01 for table, n in growth.ROWS.items()},
        bytes=known,
        payload=growth.PAYLOAD,
        snapshot=growth.SNAPSHOT,
        entry=growth.SNAPSHOT,
        rate=1.0,
        sweep=growth.LISTED,
    )
    assert list(scale.differences("SQLite", good)) == []
    for name, value in (
        ("rows", {**growth.ROWS, "uploads": 1}),
        ("bytes", {**known, "entries": known["entries"] * 1.2}),
        ("payload", growth.PAYLOAD * 1.03),
        ("snapshot", growth.SNAPSHOT * 0.8),
        ("sweep", growth.LISTED * 2),
    ):
        bad = catalogue.Sizes(**{**vars(good), name: value})
        assert len(list(scale.differences("SQLite", bad))) == 1, name


@pytest.mark.parametrize(
    "level", [(Level.RAID1, 3), (Level.RAID5, 4), (Level.RAID6, 8)]
)
@pytest.mark.parametrize("segments", [1, 3])
def test_the_arithmetic_is_what_the_engine_does(level, segments) -> None:
    """Objects are the same to the last, bytes to what the names in a manifest take."""
    full = capacity_for(shape_of(*level), None)
    size = full * (segments - 1) + 700_000
    array = memory_array(*level)
    put_blob(array, bytes(size))
    site = Site(1, size, *level)
    held = [
        value
        for member in array.members.values()
        for key, value in member.objects.items()
        if key.startswith(OBJECTS)
    ]
    assert len(site.segments) == segments
    assert len(held) == site.objects
    over = sum(map(len, held)) - site.stored
    assert 0 < over < 400 * site.width


@pytest.mark.parametrize("layout", growth.LAYOUTS)
def test_an_upload_borrows_what_the_page_says(layout) -> None:
    pool = BufferPool(1 << 30)
    with lend_halves(pool, shape_of(*layout), None):
        borrowed = pool.mapped
    assert Site(1, growth.SIZE, *layout).buffer == borrowed


def test_copies_on_some_of_many_slots_are_counted_so() -> None:
    array = memory_array(Level.RAID10, 6)
    for size in (700_000, 20_000_000):
        before = sum(len(member.objects) for member in array.members.values())
        put_blob(array, bytes(size))
        after = sum(len(member.objects) for member in array.members.values())
        assert after - before == Site(1, size, Level.RAID10, 6).objects


def test_files_inside_of_their_manifests_are_not_in_it() -> None:
    with pytest.raises(ValueError):
        Site(1, 64 * 1024, Level.RAID5, 4)


def test_a_limit_is_where_the_arithmetic_meets_it() -> None:
    """The sizes of that table, put into a site, take what the table says."""
    said = [line.split(" | ")[0].strip("| ") for line in growth.limits().splitlines()]
    files = [int(one.split()[0].replace(",", "")) for one in said[2:4]]
    minute = Site(files[0], growth.SIZE, growth.LEVEL, growth.WIDTH)
    assert minute.snapshot_days * growth.DAY == pytest.approx(60, rel=0.05)
    sweep = Site(files[1], growth.SIZE, growth.LEVEL, growth.WIDTH)
    assert sweep.sweep_step * growth.DAY == pytest.approx(60, rel=0.05)
    assert said[-1].endswith("of files")
    bytes_ = float(said[-1].split()[0]) * {"TB": 1e12, "PB": 1e15}[said[-1].split()[1]]
    whole = Site(round(bytes_ / 1e7), 10_000_000, growth.LEVEL, growth.WIDTH)
    assert whole.scrub_days == pytest.approx(growth.SCRUB_DAYS, rel=0.05)


def test_what_it_takes_from_elsewhere_is_what_stands_there() -> None:
    defaults = {setting.name: setting.default for setting in config.SETTINGS}
    assert float(defaults["PACE"]) == growth.PACE * 100
    assert float(defaults["SCRUB_DAYS"]) == growth.SCRUB_DAYS
    recovery = " ".join((DOCS / "recovery.md").read_text("utf-8").split())
    assert "about 5 KiB for each file" in recovery
    assert "2,000 files take 2.7 seconds of a processor" in recovery
    house = " ".join((DOCS / "architecture.md").read_text("utf-8").split())
    assert "100,000 blobs take 14 ms" in house
    members = " ".join((DOCS / "members.md").read_text("utf-8").split())
    assert f"a GET every 10 s, process and member is {growth.MONTHLY:,}" in members


def test_every_assumed_speed_stands_on_the_page() -> None:
    """A reader can put in his own; none is hidden in the code."""
    plain = " ".join(PAGE.split())
    for said in (
        f"{growth.amount(growth.MEMBER_SPEED)} a second",
        f"{growth.amount(growth.WORKER_SPEED)} a second",
        f"{growth.SNAPSHOT_SPEED:,} files a second",
        f"{growth.REQUEST_SECONDS * 1000:.0f} ms",
    ):
        assert said in plain


@pytest.mark.parametrize(
    ("say", "value", "said"),
    [
        (growth.amount, 999.6, "1 kB"),
        (growth.amount, 1.34e15, "1.3 PB"),
        (growth.number, 2_400_000, "2.4 million"),
        (growth.number, 6_480, "6,500"),
        (growth.duration, 1.0, "24 h"),
        (growth.duration, 39.2, "39 d"),
        (growth.duration, 33 / 86_400, "33 s"),
        (growth.duration, 0.014 / 86_400, "0.014 s"),
    ],
)
def test_numbers_have_two_digits(say, value, said) -> None:
    assert say(value) == said


def test_no_figure_of_the_prose_is_left_behind() -> None:
    """What the text says of the largest site is what the table says."""
    largest = Site(100_000_000, growth.SIZE, growth.LEVEL, growth.WIDTH)
    plain = " ".join(PAGE.split())
    for said in (
        growth.amount(largest.files * growth.RECOVERED),
        growth.duration(largest.rebuild_days(growth.PACE)),
        growth.duration(largest.scrub_days),
        growth.duration(largest.snapshot_days),
    ):
        assert len(re.findall(re.escape(said), plain)) >= 2, said
