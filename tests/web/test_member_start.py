"""Members that are not what they should be when the server starts."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.faults import Faults
from support.site import Site, until

KIB, MIB = 1024, 1024 * 1024


class Stage:
    """A stopped server with files in it, to be started over other members."""

    def __init__(self, site: Site, faults: Faults) -> None:
        self.site, self.faults = site, faults
        self.person = site.client().register("alice")
        self.digests: dict[str, str] = {}
        self.write("before")
        create = ("user", "create", "root", "--admin", "--password-stdin")
        site.server.flask(*create, input=ROOT)
        site.server.stop()

    def write(self, name: str) -> None:
        """Put three files, acknowledged."""
        folder = self.person.root()
        for size in (900, 200 * KIB, 25 * MIB):
            body = os.urandom(size)
            answer = self.person.put(folder, f"{name}-{size}", body).expect(201)
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


ROOT = "a lantern for the harbour 77 wide\n"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A fresh array with files, stopped."""
    faults = Faults(tmp_path / "faults")
    site = Site(tmp_path, environment=faults.environment)
    site.server.start()
    try:
        yield Stage(site, faults)
    finally:
        site.server.stop()


def _missing(stage: Stage) -> None:
    stage.site.members[1].rename(stage.site.members[1].with_name("gone"))


def _blank(stage: Stage) -> None:
    _missing(stage)
    stage.site.members[1].mkdir()


def _foreign(stage: Stage) -> None:
    """A member of somebody else's array stands in its place."""
    _missing(stage)
    other = Site(stage.site.members[0].parent / "other")
    with other:
        eve = other.person("eve")
        eve.put(eve.root(), "canary", b"kelp").expect(201)
    other.members[1].rename(stage.site.members[1])


def _cloned(stage: Stage) -> None:
    """A copy of member 0 stands where member 1 was."""
    _missing(stage)
    shutil.copytree(stage.site.members[0], stage.site.members[1])


def _damaged(stage: Stage) -> None:
    """Every superblock of member 1 has a flipped bit."""
    for path in stage.site.members[1].glob("superblock.*"):
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)


def _read_only(stage: Stage) -> None:
    calls = ("fallocate", "writev", "fsync", "rename_noreplace", "mkdir")
    stage.faults.add(stage.site.members[1], *calls, error="EROFS")


def _full(stage: Stage) -> None:
    calls = ("fallocate", "writev", "mkdir")
    stage.faults.add(stage.site.members[1], *calls, error="ENOSPC")


def _unreadable(stage: Stage) -> None:
    stage.faults.add(stage.site.members[1], error="EIO")


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


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_member_in_trouble_at_start_is_named_and_done_without(
    stage: Stage, kind: str
) -> None:
    """The server starts, serves every byte, takes new ones, and says what is wrong."""
    member = stage.site.members[1]
    trouble: Callable[[Stage], None] = TROUBLES[kind]
    trouble(stage)
    before = _listing(member)
    stage.start()
    stage.check()
    stage.write("during")
    stage.check()
    words = stage.words()
    if kind in {"read-only", "full", "unreadable"}:
        assert stage.faults.fired() > 0
    else:
        assert _listing(member) == before, "the stranger was written to"
        assert "degraded" in words or "away" in words
        assert kind.split()[0] in words or "missing" in words


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_swapped_members_are_known_by_their_identity(stage: Stage) -> None:
    """Two disks came back under each other's path: nothing is owed, all is read."""
    one, two = stage.site.members[:2]
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    stage.start()
    stage.check()
    stage.write("during")
    stage.check()
    status = stage.site.status()
    assert [entry["state"] for entry in status["members"]] == ["in_sync"] * 4
    assert status["state"] == "clean"
    assert stage.site.owed() == 0


def test_a_member_that_returns_gets_what_it_is_owed(stage: Stage) -> None:
    """Away at start, back while running: found by itself, and paid."""
    _missing(stage)
    stage.start()
    stage.write("during")
    assert stage.site.status()["state"] == "degraded"
    member = stage.site.members[1]
    member.with_name("gone").rename(member)
    until(lambda: stage.site.owed() == 0, 60, what="the debts are paid")
    until(lambda: stage.site.status()["state"] == "clean", 60, 1, "clean again")
    stage.check()


def test_too_many_members_away_still_starts_and_says_so(stage: Stage) -> None:
    """Failed, not broken: pages work, writes are refused, nothing is deleted."""
    for member in stage.site.members[:2]:
        member.rename(member.with_name(member.name + ".gone"))
    objects = stage.site.objects()
    stage.start()
    assert len(stage.person.rows()) == 3
    answer = stage.person.put(stage.person.root(), "refused", os.urandom(MIB))
    assert answer.status == 503
    assert stage.site.status()["state"] == "failed"
    assert stage.site.objects() == objects
    for member in stage.site.members[:2]:
        member.with_name(member.name + ".gone").rename(member)
    until(lambda: stage.site.status()["state"] == "clean", 60, 1, "clean again")
    stage.check()
