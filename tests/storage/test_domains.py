"""Which members share a fate, by their URLs and by what the system says of devices."""

import os
from pathlib import Path

import pytest

from storage import domains, words
from storage.domains import Domain, Shared
from support.people import Person
from support.store import Store

pytestmark = pytest.mark.sqlite
HERE = Path("/nowhere")


def s3(slot: int, bucket: str, query: str = "") -> dict[int, list[Domain]]:
    return {slot: domains.of(f"s3://{bucket}/p{slot}{query}", HERE)}


def test_folders_of_one_file_system_share_it(tmp_path: Path) -> None:
    found = {}
    for slot in range(3):
        (tmp_path / str(slot)).mkdir()
        found[slot] = domains.of(f"file:{slot}", tmp_path)
    device = os.stat(tmp_path).st_dev
    assert Domain("file system", f"{os.major(device)}:{os.minor(device)}") in found[0]
    warnings = domains.shared(found, survives=1)
    assert len(warnings) == 1, "the disk and its file system are said once"
    assert warnings[0].slots == (0, 1, 2)
    assert warnings[0].grave
    assert warnings[0].kind in ("disk", "file system")
    assert warnings[0].sentence.startswith("Members 0, 1 and 2 are on one ")
    assert warnings[0].sentence.endswith(" are not an array.")


def test_a_folder_that_is_not_there_is_not_asked_twice() -> None:
    assert domains.of("file:///there/is/nothing", HERE) == []
    assert domains.of("tape:7", HERE) == []


def block(system: Path, number: str, *path: str, partition: bool = False) -> Path:
    """Make a device as /sys shows it: numbers are links into the tree of devices."""
    place = system.joinpath("devices", *path)
    place.mkdir(parents=True, exist_ok=True)
    if partition:
        (place / "partition").write_text("1\n")
    (system / number).symlink_to(place)
    return place


def test_a_partition_lies_in_its_disk(tmp_path: Path) -> None:
    block(tmp_path, "8:0", "sda")
    block(tmp_path, "8:1", "sda", "sda1", partition=True)
    assert domains.disks(os.makedev(8, 1), tmp_path) == ["sda"]
    assert domains.disks(os.makedev(8, 0), tmp_path) == ["sda"]
    assert domains.disks(os.makedev(0, 44), tmp_path) == [], "no disk below a tmpfs"


def test_what_is_put_together_hangs_on_all_its_disks(tmp_path: Path) -> None:
    """An encrypted volume on a mirror of two partitions."""
    md, dm = block(tmp_path, "9:0", "md0"), block(tmp_path, "253:0", "dm-0")
    for disk in ("sda", "sdb"):
        block(tmp_path, f"part {disk}", disk, f"{disk}1", partition=True)
        (md / "slaves").mkdir(exist_ok=True)
        (md / "slaves" / f"{disk}1").symlink_to(tmp_path / f"part {disk}")
    (dm / "slaves").mkdir()
    (dm / "slaves" / "md0").symlink_to(md)
    assert domains.disks(os.makedev(253, 0), tmp_path) == ["sda", "sdb"]


def test_two_partitions_of_one_disk_are_one_fate() -> None:
    found = {
        slot: [Domain("file system", f"8:{slot}"), Domain("disk", "sda", "sda")]
        for slot in (0, 1)
    }
    found[2] = [Domain("file system", "8:16"), Domain("disk", "sdb", "sdb")]
    assert domains.shared(found, survives=1) == [Shared("disk", "sda", (0, 1), True)]


def test_prefixes_of_one_bucket() -> None:
    found = s3(0, "a") | s3(1, "a") | s3(2, "b")
    kinds = [(one.kind, one.slots) for one in domains.shared(found, survives=1)]
    assert kinds == [("bucket", (0, 1)), ("account", (0, 1, 2))]


def test_buckets_of_one_account_in_two_regions() -> None:
    found = s3(0, "a", "?region=eu-west-1&owner=111122223333")
    found |= s3(1, "b", "?region=eu-west-1&owner=111122223333")
    found |= s3(2, "c", "?region=us-east-1&owner=111122223333")
    told = [(one.kind, one.name, one.slots) for one in domains.shared(found, 1)]
    assert told == [
        ("account", "111122223333", (0, 1, 2)),
        ("region", "eu-west-1", (0, 1)),
    ]


def test_other_accounts_with_one_provider() -> None:
    found = s3(0, "a", "?endpoint=https://s3.example:9000&profile=x&region=r1")
    found |= s3(1, "b", "?endpoint=https://s3.example:9000&profile=y&region=r2")
    (only,) = domains.shared(found, survives=1)
    assert (only.kind, only.name) == ("provider", "s3.example:9000")


def test_independent_members_have_no_warning() -> None:
    found = s3(0, "a", "?endpoint=https://one.example")
    found |= s3(1, "a", "?endpoint=https://two.example")
    assert domains.shared(found, survives=1) == []


def test_two_of_one_disk_are_no_grave_matter_when_two_may_go() -> None:
    found = {0: [Domain("disk", "sda")], 1: [Domain("disk", "sda")], 2: []}
    assert [one.grave for one in domains.shared(found, survives=2)] == [False]


@pytest.mark.parametrize("kind", domains.KINDS)
def test_every_kind_has_its_sentence(kind: str) -> None:
    grave = words.shared(kind, "X", [0, 1, 2, 3], grave=True)
    assert grave.startswith("Members 0, 1, 2 and 3 are ")
    assert "(X)" in grave
    assert grave.count(".") == 2
    assert words.shared(kind, "", [0, 1], grave=False).count(".") == 1


def test_the_page_and_the_command_warn(store: Store, admin: Person) -> None:
    """Four folders of one test are on one file system; the page asks nobody."""
    own = store.runtime
    own.check_members()
    assert domains.warnings(own) == []
    domains.look(own)
    page = admin.get("/array/").text
    assert "Members 0, 1, 2 and 3 are on one " in page
    told = store.app.test_cli_runner().invoke(args=["array", "status"]).output
    assert "Members 0, 1, 2 and 3 are on one " in told


def test_members_are_asked_now_and_then_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, asked = store.runtime, []
    own.check_members()
    real = domains.of
    monkeypatch.setattr(
        domains, "of", lambda url, base: asked.append(url) or real(url, base)
    )
    domains.look(own)
    domains.look(own)
    assert len(asked) == 4
    store.lose(3)
    own.check_members()
    domains.look(own)
    assert len(asked) == 4, "who is away is not asked"
    assert domains.warnings(own)[0].slots == (0, 1, 2, 3), "and is not forgotten"
