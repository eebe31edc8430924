"""Foreign, cloned, swapped, blank and stale members are told apart and named."""

from dataclasses import replace
from uuid import uuid4

import pytest

from raid.array import ArrayMap
from raid.assemble import Assembled, Problem, assemble, format_member, inspect
from raid.errors import MemberMissing
from raid.geometry import Level
from raid.keys import superblock_key
from raid.member import Member
from raid.memory import MemoryMember
from raid.repair import put_superblock
from support.arrays import array_over, map_of, superblock_of
from support.faulty import FaultyMember

URLS = ["file:/a", "file:/b", "file:/c"]


@pytest.fixture
def array_map() -> ArrayMap:
    return map_of(Level.RAID5, URLS)


@pytest.fixture
def places(array_map: ArrayMap) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for slot, url in enumerate(URLS):
        found[url] = MemoryMember(url)
        format_member(found[url], superblock_of(array_map, slot))
    return {url: _again(found[url]) for url in URLS}


def _again(member: Member) -> MemoryMember:
    """Return the same disk in a new process, not yet admitted."""
    assert isinstance(member, MemoryMember)
    fresh = MemoryMember(member.label)
    for key, data in member.objects.items():
        fresh.put(key, [data], essential=True)
    return fresh


def _refused(found: Assembled, slot: int) -> None:
    with pytest.raises(MemberMissing):
        found.members[slot].check()


def test_all_in_their_places(array_map: ArrayMap, places: dict[str, Member]) -> None:
    found = assemble(array_map, places)
    assert [found.members[slot] for slot in range(3)] == list(places.values())
    assert (found.problems, found.notes, found.behind, found.ahead) == (
        {},
        [],
        set(),
        set(),
    )
    for member in found.members.values():
        member.check()


def test_swapped_members_are_used_where_they_are(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    a, b = places[URLS[0]], places[URLS[1]]
    places[URLS[0]], places[URLS[1]] = b, a
    found = assemble(array_map, places)
    assert found.members[0] is a
    assert found.members[1] is b
    assert len(found.notes) == 2
    assert not found.problems
    found.members[0].check()


def test_a_blank_place_is_missing_and_left_alone(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    places[URLS[2]] = MemoryMember(URLS[2])
    found = assemble(array_map, places)
    assert "is empty" in found.problems[2]
    _refused(found, 2)


def test_a_foreign_member_is_named_and_left_alone(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    stranger = MemoryMember(URLS[2])
    format_member(stranger, superblock_of(map_of(Level.RAID1, URLS[:2]), 0))
    places[URLS[2]] = _again(stranger)
    found = assemble(array_map, places)
    assert "another member" in found.problems[2]
    assert any("another array" in note for note in found.notes)
    _refused(found, 2)


def test_a_clone_is_named_and_the_one_at_home_is_used(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    places["file:/copy"] = _again(places[URLS[1]])
    found = assemble(array_map, places)
    assert found.members[1] is places[URLS[1]]
    assert any("clone" in note for note in found.notes)


def test_two_clones_away_from_home_are_both_refused(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    member = places.pop(URLS[1])
    places["file:/x"], places["file:/y"] = member, _again(member)
    found = assemble(array_map, places)
    assert 1 not in found.members
    assert 1 in found.problems
    assert any("clones" in note for note in found.notes)


def test_a_slot_without_a_place_is_missing(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    del places[URLS[0]]
    found = assemble(array_map, places)
    assert "nothing looks for it" in found.problems[0]
    assert 0 not in found.members


def test_a_member_that_does_not_answer_keeps_its_place(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    silent = FaultyMember(places[URLS[1]])
    silent.always("denied")
    found = assemble(array_map, {**places, URLS[1]: silent})
    assert 1 in found.problems
    silent.always(None)
    found.members[1].check()
    assert silent.fired["denied"]


def test_older_and_newer_superblocks_are_noted(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    later = replace(array_map, event=2)
    ahead = places[URLS[0]]
    ahead.put(superblock_key(1, 2), [superblock_of(later, 0).pack()], essential=True)
    assert assemble(array_map, places).ahead == {0}
    found = assemble(later, places)
    assert (found.ahead, found.behind) == (set(), {1, 2})


def test_a_member_without_a_slot_is_left_alone(
    array_map: ArrayMap, places: dict[str, Member]
) -> None:
    gone = replace(array_map.slots[2], member=uuid4())
    changed = replace(array_map, slots=(*array_map.slots[:2], gone))
    found = assemble(changed, places)
    assert any("without a slot" in note for note in found.notes)
    assert 2 in found.problems


def test_other_files_are_not_blank() -> None:
    member = MemoryMember("m")
    member.put("holiday.jpg", [b"x"])
    assert inspect(member).problem is Problem.FOREIGN


def test_superblocks_are_kept_two_at_a_time() -> None:
    array = array_over(Level.RAID1, [MemoryMember("a"), MemoryMember("b")])
    for event in (2, 3, 4):
        later = replace(array.map, event=event)
        put_superblock(array, 0, superblock_of(later, 0))
        put_superblock(array, 0, superblock_of(later, 0))
    keys = [info.key for info in array.members[0].list("superblock.")]
    assert keys == [superblock_key(1, 3), superblock_key(1, 4)]
    array.check(0)
