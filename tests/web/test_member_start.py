"""Members that are not what they should be when the server starts."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raid.geometry import Level
from support.arrays import local_array
from support.faults import Faults
from support.site import Site, until
from support.soak import drawn

KIB, MIB = 1024, 1024 * 1024


KEPT = 3
"""So many of the older files are looked at again and again."""
ROOT = "a lantern for the harbour 77 wide\n"


class Stage:
    """One array with files in it, whose server is started over members in trouble."""

    def __init__(self, site: Site, faults: Faults) -> None:
        self.site, self.faults = site, faults
        self.member = site.members[1]
        self.aside = self.member.with_name("aside")
        self.person = site.client().register("alice")
        self.digests: dict[str, str] = {}
        self.serial, self.written = 0, 0
        self.write()
        create = ("user", "create", "root", "--admin", "--password-stdin")
        site.server.flask(*create, input=ROOT)

    def write(self) -> None:
        """Put three files, acknowledged."""
        self.serial += 1
        for entry in list(self.digests)[:-KEPT]:
            del self.digests[entry]
        folder = self.person.root()
        for size in (900, 200 * KIB, 18 * MIB):
            body = os.urandom(size)
            name = f"{self.serial}-{size}"
            answer = self.person.put(folder, name, body).expect(201)
            self.written += 1
            self.digests[answer.json["id"]] = hashlib.sha256(body).hexdigest()

    def start(self) -> None:
        """Start again over whatever lies there now."""
        self.site.server.start()
        self.person = self.site.client().login("alice")

    def check(self) -> None:
        """Download everything and compare."""
        for entry, expected in self.digests.items():
            assert self.person.digest(entry)[0] == expected

    def words(self) -> str:
        """What the array page tells an administrator."""
        admin = self.site.client().login("root", ROOT.strip())
        return admin.get("/array/").expect(200).page.visible.lower()

    def states(self) -> list[str]:
        """The stored states of the members, by slot."""
        rows = self.site.query("SELECT state FROM members ORDER BY slot")
        return [row[0] for row in rows]

    def whole(self) -> bool:
        """Nothing is owed and everybody is in sync."""
        return self.site.owed() == 0 and self.states() == ["in_sync"] * 4

    def put_right(self) -> None:
        """Undo every trouble, with the server running, and wait."""
        self.faults.clear()
        if self.aside.exists():
            shutil.rmtree(self.member, ignore_errors=True)
            self.aside.rename(self.member)
        until(self.whole, 60, 0.2, "the array is whole again")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The array of this module."""
    folder = tmp_path_factory.mktemp("stage")
    faults = Faults(folder / "faults")
    with Site(folder, environment=faults.environment) as site:
        yield Stage(site, faults)


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    """The array with its server down; everything is put right afterwards."""
    running.site.server.kill()
    yield running
    running.put_right()
    running.check()


def _missing(stage: Stage) -> None:
    stage.member.rename(stage.aside)


def _blank(stage: Stage) -> None:
    _missing(stage)
    stage.member.mkdir()


def _foreign(stage: Stage) -> None:
    """A member of somebody else's array stands in its place."""
    _missing(stage)
    other = stage.member.parent / "other"
    for slot in range(3):
        (other / f"m{slot}").mkdir(parents=True)
    local_array(Level.RAID5, 3, other)
    (other / "m1").rename(stage.member)
    shutil.rmtree(other)


def _cloned(stage: Stage) -> None:
    """A copy of member 0 stands where member 1 was."""
    _missing(stage)
    shutil.copytree(stage.site.members[0], stage.member)


def _damaged(stage: Stage) -> None:
    """Every superblock of member 1 has a flipped bit."""
    _missing(stage)
    shutil.copytree(stage.aside, stage.member)
    for path in stage.member.glob("superblock.*"):
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)


def _read_only(stage: Stage) -> None:
    calls = ("fallocate", "writev", "fsync", "rename_noreplace", "mkdir")
    stage.faults.add(stage.member, *calls, error="EROFS")


def _full(stage: Stage) -> None:
    stage.faults.add(stage.member, "fallocate", "writev", "mkdir", error="ENOSPC")


def _unreadable(stage: Stage) -> None:
    stage.faults.add(stage.member, error="EIO")


TROUBLES = {
    "missing": _missing,
    "blank": _blank,
    "foreign": _foreign,
    "cloned": _cloned,
    "damaged superblock": _damaged,
    "read-only": _read_only,
    "full": _full,
    "unreadable": _unreadable,
}


@pytest.mark.parametrize("kind", drawn(TROUBLES, 3))
def test_a_member_in_trouble_at_start_is_named_and_done_without(
    stage: Stage, kind: str
) -> None:
    """The server starts, serves every byte, takes new ones, and says what is wrong."""
    trouble: Callable[[Stage], None] = TROUBLES[kind]
    trouble(stage)
    before = _listing(stage.member)
    stage.start()
    stage.check()
    stage.write()
    stage.check()
    named = {kind.split()[0], "missing"}
    until(lambda: any(word in stage.words() for word in named), 20, 0.5, "its name")
    if kind in {"read-only", "full", "unreadable"}:
        assert stage.faults.fired() > 0
    else:
        assert _listing(stage.member) == before, "the stranger was written to"
        assert "away" in stage.words()


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_swapped_members_are_known_by_their_identity(stage: Stage) -> None:
    """Two disks came back under each other's path: nothing is owed, all is read."""
    one, two = stage.site.members[2:]
    between = one.with_name("between")
    one.rename(between)
    two.rename(one)
    between.rename(two)
    stage.start()
    stage.check()
    stage.write()
    stage.check()
    assert stage.whole()
    status = stage.site.status()
    assert status["state"] == "clean"
    assert [entry["observed"] for entry in status["members"]] == [None] * 4


def test_a_member_that_returns_gets_what_it_is_owed(stage: Stage) -> None:
    """Away at start, back while running: found by itself, and paid."""
    _missing(stage)
    stage.start()
    stage.write()
    assert "away" in stage.words()
    assert stage.site.owed() > 0
    stage.put_right()
    until(lambda: "clean" in stage.words(), 30, 0.5, "clean again")


def test_too_many_members_away_still_starts_and_says_so(stage: Stage) -> None:
    """Failed, not broken: pages work, writes are refused, nothing is deleted."""
    gone = stage.site.members[:2]
    for member in gone:
        member.rename(member.with_name(member.name + ".gone"))
    objects = stage.site.objects()
    stage.start()
    assert len(stage.person.rows()) == stage.written
    answer = stage.person.put(stage.person.root(), "refused", os.urandom(MIB))
    assert answer.status == 503
    assert stage.site.status()["state"] == "failed"
    assert stage.site.objects() == objects
    for member in gone:
        member.with_name(member.name + ".gone").rename(member)
    until(lambda: "clean" in stage.words(), 60, 1, "clean again")
