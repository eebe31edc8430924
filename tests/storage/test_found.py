"""What is on the members is told by them alone, and one liar has no say in it."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from raid.array import Array
from raid.geometry import Level
from raid.keys import manifest_key, superblock_key, tombstone_key
from raid.manifest import Description, Manifest
from raid.memory import MemoryMember
from raid.superblock import MemberEntry, StoredState, Superblock, Tombstone
from storage.journal import found
from storage.journal.found import Traces
from storage.journal.scene import NoMembers, Scene, look
from storage.journal.verdicts import LATE_US, Verdict, judge
from support.arrays import DESCRIPTION, EXECUTOR, memory_array, put_blob
from support.liars import LIES, Lie, corrupt

NOW = DESCRIPTION.uploaded_us
KIB = 1024


@pytest.fixture
def array() -> Array:
    return memory_array(Level.RAID5, 4)


def members(array: Array) -> list[MemoryMember]:
    return [one for one in array.members.values() if isinstance(one, MemoryMember)]


def fresh(array: Array, *, without: int | None = None) -> dict[str, MemoryMember]:
    """The same disks in a new process, not yet admitted."""
    places = {}
    for slot, member in enumerate(members(array)):
        place = MemoryMember(f"m{slot}")
        place.objects = dict(member.objects)
        place._modified = dict.fromkeys(member.objects, 0.0)
        if slot != without:
            places[f"file:m{slot}"] = place
    return places


def scene_of(array: Array) -> Scene:
    return look(fresh(array))


def traces_of(scene: Scene) -> dict[UUID, Traces]:
    return {one.blob: one for one in found.walk(scene, EXECUTOR)}


def test_it_finds_the_array_and_every_slot(array: Array) -> None:
    scene = scene_of(array)
    assert (scene.array, sorted(scene.places)) == (array.map.array, [0, 1, 2, 3])
    assert [e.member for e in scene.map().slots] == [e.member for e in array.map.slots]
    assert (scene.notes, scene.width, scene.enough) == ([], 4, 2)


def test_it_names_a_member_that_is_missing(array: Array) -> None:
    scene = look(fresh(array, without=2))
    assert sorted(scene.places) == [0, 1, 3]
    assert any("slot 2 is missing" in note for note in scene.notes)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("slot", range(4))
def test_one_liar_does_not_change_the_map(array: Array, lie: Lie, slot: int) -> None:
    stored = [put_blob(array, random.Random(n).randbytes(n)) for n in (9, 90 * KIB)]
    places = fresh(array)
    corrupt(places[f"file:m{slot}"], lie)
    scene = look(places)
    assert scene.array == array.map.array
    assert (scene.block.incarnation, scene.block.event) == (1, 1)
    assert set(scene.places) >= {0, 1, 2, 3} - {slot}
    traces = traces_of(scene)
    for one in stored:
        described = found.describe(scene, traces[one.blob])
        assert described is not None
        assert described.manifest == one.manifest
        assert described.complete
        assert described.holders >= 3


def test_the_highest_superblock_that_two_agree_on_is_believed(array: Array) -> None:
    places = fresh(array)
    for slot, event in ((0, 2), (1, 2), (2, 3)):
        put_event(places[f"file:m{slot}"], event)
    scene = look(places)
    assert (scene.block.event, scene.event) == (2, 3)
    assert any("One member alone knows event 3" in note for note in scene.notes)


def put_event(member: MemoryMember, event: int) -> None:
    block = replace(
        Superblock.unpack(member.objects[superblock_key(1, 1)]), event=event
    )
    member.put(superblock_key(1, event), [block.pack()], essential=True)


def test_the_highest_is_taken_where_none_agree(array: Array) -> None:
    places = fresh(array)
    for slot in range(3):
        del places[f"file:m{slot}"]
    scene = look(places)
    assert (scene.block.event, scene.enough) == (1, 1)
    assert any("No two members agree" in note for note in scene.notes)


def test_it_refuses_a_draw_between_two_arrays() -> None:
    one, other = memory_array(Level.RAID1, 2), memory_array(Level.RAID1, 2)
    places = fresh(one) | {f"file:o{n}": m for n, m in enumerate(members(other))}
    with pytest.raises(NoMembers, match="several arrays"):
        look(places)


def test_it_refuses_places_without_members() -> None:
    with pytest.raises(NoMembers, match="None of the places"):
        look({"file:a": MemoryMember("a")})


def test_a_clone_is_named_and_left_out(array: Array) -> None:
    places = fresh(array)
    places["file:copy"] = fresh(array)["file:m1"]
    scene = look(places)
    assert scene.places[1].url == "file:m1"
    assert any("file:copy is a clone of file:m1" in note for note in scene.notes)


def test_the_clone_at_its_own_url_is_the_real_one(array: Array) -> None:
    places = {"file:copy": fresh(array)["file:m1"]} | fresh(array)
    assert array.map.slots[1].url == "file:m1"
    assert look(places).places[1].url == "file:m1"


def test_a_spare_is_known_by_its_place(array: Array) -> None:
    places, spare = fresh(array), uuid4()
    old = Superblock.unpack(places["file:m0"].objects[superblock_key(1, 1)])
    entry = MemberEntry(spare, None, StoredState.SPARE, "file:was-here")
    block = replace(old, event=2, members=(*old.members, entry))
    for slot in range(4):
        own = replace(block, member=array.map.slots[slot].member, slot=slot)
        places[f"file:m{slot}"].put(superblock_key(1, 2), [own.pack()], essential=True)
    places["file:spare"] = MemoryMember("spare")
    own = replace(block, member=spare, slot=None)
    places["file:spare"].put(superblock_key(1, 2), [own.pack()], essential=True)
    scene = look(places)
    place = scene.place_of(spare)
    assert place is not None
    assert (place.url, sorted(scene.places), scene.width) == (
        "file:spare",
        [0, 1, 2, 3],
        4,
    )


def test_an_object_of_an_absurd_size_is_not_read(
    array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "_LONGEST", 400)
    blob = put_manifest(array, [0, 1], data=b"x" * 300)
    small = put_manifest(array, [0, 1])
    assert set(traces_of(scene_of(array))) == {small}
    assert blob != small


# -- verdicts


def put_manifest(
    array: Array, slots: list[int], *, age: int = 0, data: bytes = b"x"
) -> UUID:
    """Store an inline blob on some members only."""
    blob = uuid4()
    description = Description("a", "/", "ann", "", NOW - age)
    manifest = Manifest.build(array.map.array, blob, 1, description, inline=data)
    for slot in slots:
        members(array)[slot].put(manifest_key(blob, 1), [manifest.pack()])
    return blob


def bury(array: Array, blob: UUID, slots: list[int]) -> None:
    for slot in slots:
        stone = Tombstone(array.map.array, blob, 1, NOW).pack()
        members(array)[slot].put(tombstone_key(blob), [stone], essential=True)


def verdict(array: Array, blob: UUID, head_us: int | None = NOW) -> Verdict:
    scene = scene_of(array)
    return judge(scene, traces_of(scene)[blob], head_us).verdict


def test_what_is_newer_than_the_journal_is_live(array: Array) -> None:
    assert verdict(array, put_manifest(array, [0, 1])) is Verdict.LIVE
    assert verdict(array, put_manifest(array, [0, 1], age=LATE_US)) is Verdict.LIVE


def test_what_is_older_and_unknown_is_doubtful(array: Array) -> None:
    blob = put_manifest(array, [0, 1, 2, 3], age=LATE_US + 1)
    assert verdict(array, blob) is Verdict.RECOVERED
    assert verdict(array, blob, None) is Verdict.LIVE


def test_what_one_member_says_alone_is_doubtful(array: Array) -> None:
    assert verdict(array, put_manifest(array, [3])) is Verdict.RECOVERED


def test_tombstones_on_enough_members_delete(array: Array) -> None:
    blob = put_manifest(array, [0, 1, 2, 3])
    bury(array, blob, [2])
    assert verdict(array, blob) is Verdict.RECOVERED
    bury(array, blob, [3])
    assert verdict(array, blob) is Verdict.DELETED


def test_a_tombstone_that_is_damaged_counts_for_nothing(array: Array) -> None:
    blob = put_manifest(array, [0, 1, 2, 3])
    bury(array, blob, [2, 3])
    members(array)[3].objects[tombstone_key(blob)] = b"noise"
    assert verdict(array, blob) is Verdict.RECOVERED


def test_what_is_doubtful_and_has_no_bytes_is_nothing(array: Array) -> None:
    stored = put_blob(array, random.Random(1).randbytes(300 * KIB))
    lose_role(array, 2)
    late = NOW + LATE_US + 1
    assert verdict(array, stored.blob, late) is Verdict.RECOVERED
    lose_role(array, 1)
    assert verdict(array, stored.blob, late) is Verdict.NOTHING
    assert verdict(array, stored.blob) is Verdict.LIVE


def lose_role(array: Array, slot: int) -> None:
    objects = members(array)[slot].objects
    for key in [key for key in objects if key.startswith("o/")]:
        del objects[key]


def test_an_attempt_that_is_whole_goes_before_a_higher_one(array: Array) -> None:
    stored = put_blob(array, random.Random(1).randbytes(300 * KIB))
    higher = replace(
        stored.manifest,
        attempt=7,
        segments=tuple(replace(row, attempt=7) for row in stored.manifest.segments),
        stored=b"",
    )
    for member in members(array):
        member.put(manifest_key(stored.blob, 7), [higher.pack()])
    scene = scene_of(array)
    described = found.describe(scene, traces_of(scene)[stored.blob])
    assert described is not None
    assert described.manifest.attempt == stored.attempt


def test_a_walk_goes_on_past_a_member_that_can_not_be_listed(array: Array) -> None:
    blobs = {put_manifest(array, [0, 1, 2, 3]) for _ in range(5)}
    scene = scene_of(array)
    unlistable(scene)
    assert set(traces_of(scene)) == blobs
    assert any("Slot 1 can't be listed" in note for note in scene.notes)


def unlistable(scene: Scene) -> None:
    from raid.errors import MemberFailing

    def fail(prefix: str) -> list[object]:
        raise MemberFailing("m1", "The disk is failing.")

    scene.places[1].member.list = fail  # type: ignore[method-assign, assignment]


def test_the_walk_holds_a_part_of_the_array_at_a_time(array: Array) -> None:
    for _ in range(20):
        put_manifest(array, [0])
    asked: list[str] = []
    scene = scene_of(array)
    member = scene.places[0].member
    real: Callable[..., object] = member.list

    def note(prefix: str) -> object:
        asked.append(prefix)
        return real(prefix)

    member.list = note  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(2) as executor:
        next(iter(found.walk(scene, executor)))
    assert len(asked) < 2 * 256
