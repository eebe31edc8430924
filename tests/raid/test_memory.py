"""The member in memory keeps the contract of `raid/member.py`."""

from dataclasses import replace

import pytest

from raid.errors import MemberFull, MemberMissing, ObjectExists, ObjectMissing
from raid.member import Member, ObjectInfo
from raid.memory import MemoryMember
from support import structures


@pytest.fixture
def member() -> MemoryMember:
    return MemoryMember("m0", clock=lambda: 5.0)


def test_it_is_a_member(member):
    checked: Member = member
    assert checked.label == "m0"


def test_it_joins_parts_and_reads_ranges(member):
    member.put("o/a", [b"01", bytearray(b"234"), memoryview(b"56")])
    assert member.read("o/a") == b"0123456"
    assert member.read("o/a", 2, 3) == b"234"
    assert member.read("o/a", 5, 100) == b"56"
    assert member.info("o/a") == ObjectInfo("o/a", 7, 5.0)


def test_it_lists_by_prefix_in_order(member):
    for key in ("o/b", "t/a", "o/a"):
        member.put(key, [b""])
    assert [info.key for info in member.list("o/")] == ["o/a", "o/b"]


def test_it_accepts_equal_bytes_and_refuses_others(member):
    member.put("o/a", [b"x"])
    member.put("o/a", [b"x"])
    with pytest.raises(ObjectExists):
        member.put("o/a", [b"y"])
    assert member.read("o/a") == b"x"


def test_it_moves_what_it_replaces_to_quarantine(member):
    member.put("o/a", [b"bad"])
    member.put("o/a", [b"good"], replace=True)
    assert member.read("o/a") == b"good"
    assert member.quarantine == [("o/a", b"bad")]


def test_it_says_definitely_that_an_object_is_absent(member):
    for call in (member.read, member.info):
        with pytest.raises(ObjectMissing):
            call("o/none")
    member.delete("o/none")


def test_it_keeps_a_reserve_for_what_is_essential():
    member = MemoryMember(capacity=100, reserve=60)
    with pytest.raises(MemberFull):
        member.put("o/a", [bytes(41)])
    assert member.objects == {}
    member.put("o/a", [bytes(40)])
    member.put("t/a", [bytes(60)], essential=True)
    assert member.space().free == 0
    with pytest.raises(MemberFull):
        member.put("t/b", [b"1"], essential=True)


def test_it_insists_on_its_admitted_identity(member):
    superblock = structures.superblock()
    member.put("superblock.1.7", [superblock.pack()])
    member.admit(superblock.array, superblock.member)
    member.check()
    member.put("o/a", [b"x"])
    member.put("superblock.1.8", [replace(superblock, event=8).pack()])
    member.delete("superblock.1.7")
    member.check()
    other = replace(superblock, event=10, member=superblock.members[1].member, slot=1)
    member.put("superblock.1.10", [other.pack()])
    with pytest.raises(MemberMissing):
        member.read("o/a")


@pytest.mark.parametrize("wreck", ["blank", "damaged"])
def test_it_is_missing_when_its_superblock_is(member, wreck):
    superblock = structures.superblock()
    member.put("superblock.1.7", [superblock.pack()])
    member.admit(superblock.array, superblock.member)
    member.check()
    if wreck == "blank":
        member.objects.clear()
    else:
        member.objects["superblock.1.7"] = b"HOLDFAST"
    for call in (member.check, lambda: member.put("o/a", [b""]), member.space):
        with pytest.raises(MemberMissing):
            call()
