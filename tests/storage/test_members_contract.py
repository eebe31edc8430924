"""What every kind of member does, whatever it is made of."""

import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from raid.assemble import format_member
from raid.errors import MemberFull, MemberMissing, ObjectExists, ObjectMissing
from raid.geometry import Level
from raid.keys import QUARANTINE
from raid.member import Member
from raid.memory import MemoryMember
from storage.members.local import LocalMember
from support.arrays import map_of, superblock_of
from support.buckets import S3Server

MakeMember = Callable[..., Member]
KEY = "o/ab/abcdef00-0000-4000-8000-000000000000.m1"


KINDS = ("memory", "local", "moto", "rclone")


@pytest.fixture(params=KINDS)
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> MakeMember:
    """Make a blank member of each kind; the buckets are on real servers."""
    if request.param == "memory":
        return lambda **options: MemoryMember("memory", **options)
    if request.param == "local":
        return lambda capacity=0, **options: LocalMember(tmp_path / "m", **options)
    request.getfixturevalue("credentials")
    server: S3Server = request.getfixturevalue(request.param)
    return server.member


@pytest.fixture
def member(blank: MakeMember) -> Member:
    """A member that belongs to an array."""
    made = blank()
    format_member(made, superblock_of(map_of(Level.RAID1, ["a", "b"]), 0))
    return made


def _keys(member: Member, prefix: str = "o/") -> list[str]:
    return [info.key for info in member.list(prefix)]


def test_it_reads_what_was_put(member: Member) -> None:
    member.put(KEY, [b"one", memoryview(b"two"), bytearray(b""), b"three"])
    assert member.read(KEY) == b"onetwothree"
    assert member.info(KEY).size == 11


def test_it_stores_an_object_of_no_bytes(member: Member) -> None:
    member.put(KEY, [])
    assert member.read(KEY) == b""


def test_it_reads_ranges_and_is_short_only_at_the_end(member: Member) -> None:
    member.put(KEY, [bytes(range(100))])
    assert member.read(KEY, 10, 5) == bytes(range(10, 15))
    assert member.read(KEY, 95, 50) == bytes(range(95, 100))
    assert member.read(KEY, 100, 1) == b""
    assert member.read(KEY, 40) == bytes(range(40, 100))


def test_it_accepts_the_same_bytes_again(member: Member) -> None:
    member.put(KEY, [b"abc", b"def"])
    member.put(KEY, [b"a", b"bcdef"])
    assert member.read(KEY) == b"abcdef"


@pytest.mark.parametrize("other", [b"abcdeg", b"abcde", b"abcdefg", b""])
def test_it_never_replaces_other_bytes_unasked(member: Member, other: bytes) -> None:
    member.put(KEY, [b"abcdef"])
    with pytest.raises(ObjectExists):
        member.put(KEY, [other])
    assert member.read(KEY) == b"abcdef"


def test_it_replaces_when_told_to(member: Member) -> None:
    member.put(KEY, [b"bad"])
    member.put(KEY, [b"good"], replace=True)
    assert member.read(KEY) == b"good"
    assert _keys(member) == [KEY]


def test_it_says_definitely_that_an_object_is_absent(member: Member) -> None:
    for ask in (member.read, member.info):
        with pytest.raises(ObjectMissing) as caught:
            ask(KEY)
        assert caught.value.key == KEY


def test_it_deletes_and_deletes_again(member: Member) -> None:
    member.put(KEY, [b"abc"])
    member.delete(KEY)
    member.delete(KEY)
    assert _keys(member) == []


def test_it_keeps_nothing_of_what_was_deleted(member: Member) -> None:
    member.put(KEY, [b"abc"])
    assert not member.keeps("o/ab/")
    member.delete(KEY)
    assert not member.keeps("o/ab/")


def test_it_syncs_what_is_there_and_what_is_not(member: Member) -> None:
    member.sync(KEY)
    member.put(KEY, [b"abc"])
    for prefix in (KEY, "o/ab/", "o/ff/"):
        member.sync(prefix)
    assert member.read(KEY) == b"abc"


def test_it_sets_aside_and_sets_aside_again(member: Member) -> None:
    before = time.time() - 1
    for data in (b"first", b"second"):
        member.put(KEY, [data])
        member.set_aside(KEY)
        member.set_aside(KEY)
        assert _keys(member) == []
    aside = list(member.list(QUARANTINE))
    assert sorted(info.size for info in aside) == [5, 6]
    assert all(info.modified > before for info in aside)
    assert not any(info.key.startswith(QUARANTINE) for info in member.list(""))
    for info in aside:
        member.delete(info.key)
        member.delete(info.key)
    assert _keys(member, QUARANTINE) == []


def test_it_lists_by_prefix_sorted(member: Member) -> None:
    blob = "o/ab/abcdef00-0000-4000-8000-000000000000"
    near = "o/ab/abcdef00-0000-4000-8000-000000000001.m1"
    far = "o/cd/cdcdef00-0000-4000-8000-000000000000.s0.1.p"
    for key in (far, near, f"{blob}.s10.1.d0", f"{blob}.m1"):
        member.put(key, [key.encode()])
    assert _keys(member, f"{blob}.") == [f"{blob}.m1", f"{blob}.s10.1.d0"]
    assert _keys(member, "o/ab/") == [f"{blob}.m1", f"{blob}.s10.1.d0", near]
    assert _keys(member, "o/") == [f"{blob}.m1", f"{blob}.s10.1.d0", near, far]
    assert _keys(member, "o/ee/") == []
    assert _keys(member, "t/") == []
    everything = list(member.list(""))
    assert sorted(info.key for info in everything) == [i.key for i in everything]
    assert len(everything) == 5
    assert all(info.size and info.modified for info in everything)


def test_it_knows_its_space(member: Member) -> None:
    space = member.space()
    assert 0 < space.free <= space.total


def test_it_keeps_a_reserve_for_what_is_essential(blank: MakeMember) -> None:
    member = blank(reserve=1 << 60, capacity=1 << 50)
    format_member(member, superblock_of(map_of(Level.RAID1, ["a", "b"]), 0))
    with pytest.raises(MemberFull):
        member.put(KEY, [b"x"])
    assert _keys(member) == []
    tombstone = "t/ab/abcdef00-0000-4000-8000-000000000000"
    member.put(tombstone, [b"x"], essential=True)
    assert member.read(tombstone) == b"x"


def test_it_refuses_everything_under_another_identity(member: Member) -> None:
    member.put(KEY, [b"abc"])
    member.admit(uuid4(), uuid4())
    for call in (
        member.check,
        member.space,
        lambda: member.put(KEY, [b"abc"]),
        lambda: member.delete(KEY),
        lambda: member.set_aside(KEY),
        lambda: member.keeps("o/"),
        lambda: list(member.list("o/")),
        lambda: member.read("o/ab/abcdef00-0000-4000-8000-00000000000f.m1"),
    ):
        with pytest.raises(MemberMissing):
            call()


def test_it_is_formatted_only_when_it_is_blank(member: Member) -> None:
    with pytest.raises(MemberMissing):
        format_member(member, superblock_of(map_of(Level.RAID1, ["a", "b"]), 0))
    member.check()


def test_it_checks_itself(member: Member) -> None:
    member.check()
