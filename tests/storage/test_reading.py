"""The journal is read right with a member missing or lying, and says what it left."""

import random
from uuid import uuid4

import pytest

from raid.array import Array
from raid.geometry import Level
from raid.keys import journal_key
from raid.memory import MemoryMember
from storage.journal import reading
from storage.journal.catalogue import Catalogue
from storage.journal.scene import Scene, look
from support.arrays import memory_array
from support.journals import Line, Writer
from support.liars import LIES, Lie, corrupt

Users = dict[str, str]


def user(number: int, name: str | None) -> Line:
    return "users", str(number), None if name is None else {"name": name}


class Shelf:
    """Four members and a journal on them."""

    def __init__(self, level: Level = Level.RAID5, width: int = 4) -> None:
        self.array: Array = memory_array(level, width)
        self.members = [
            one for one in self.array.members.values() if isinstance(one, MemoryMember)
        ]
        self.writer = Writer(self.array.map.array, self.members)

    def scene(self, without: int | None = None) -> Scene:
        places = {}
        for slot, member in enumerate(self.members):
            place = MemoryMember(member.label)
            place.objects = dict(member.objects)
            place._modified = dict.fromkeys(member.objects, 0.0)
            if slot != without:
                places[f"file:m{slot}"] = place
        return look(places)

    def read(self, without: int | None = None) -> tuple[Users, reading.Chain]:
        scene = self.scene(without)
        found = reading.read(scene)
        catalogue = Catalogue.of(reading.entries(scene, found))
        return {key: row["name"] for key, row in catalogue.users.items()}, found

    def lie(self, slot: int, number: int, *lines: Line, **flags: bool) -> None:
        """Forge an entry on one member, sealed and chained as it should be."""
        before = self.writer.hash(number - 1)
        self.writer.put(slot, self.writer.make(number, before, lines, **flags))


@pytest.fixture
def shelf() -> Shelf:
    found = Shelf()
    found.writer.snapshot(user(1, "ann"), user(2, "bob"))
    found.writer.write(user(3, "carol"))
    found.writer.write(user(2, None))
    found.writer.write(user(1, "anna"))
    return found


RIGHT = {"1": "anna", "3": "carol"}


def test_it_applies_the_snapshot_and_what_follows(shelf: Shelf) -> None:
    users, found = shelf.read()
    assert users == RIGHT
    assert found.head is not None
    assert (found.incarnation, found.head.number, found.notes) == (1, 4, [])
    assert found.head.hash == shelf.writer.hash(4)


@pytest.mark.parametrize("slot", range(4))
def test_it_needs_no_member_in_particular(shelf: Shelf, slot: int) -> None:
    assert shelf.read(without=slot)[0] == RIGHT


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("slot", range(4))
def test_it_does_not_believe_a_liar(shelf: Shelf, lie: Lie, slot: int) -> None:
    corrupt(shelf.members[slot], lie)
    assert shelf.read()[0] == RIGHT


@pytest.mark.parametrize("slot", range(4))
@pytest.mark.parametrize("number", range(1, 5))
def test_a_forged_entry_on_one_member_is_not_believed(
    shelf: Shelf, slot: int, number: int
) -> None:
    snapshot = {"snapshot": True, "first": True, "last": True} if number == 1 else {}
    shelf.lie(slot, number, user(9, "mallory"), **snapshot)
    assert shelf.read()[0] == RIGHT


@pytest.mark.parametrize("slot", range(4))
def test_a_journal_forged_from_end_to_end_is_not_believed(
    shelf: Shelf, slot: int
) -> None:
    forged = Writer(shelf.array.map.array, [shelf.members[slot]])
    forged.now = shelf.writer.now
    for key in [key for key in shelf.members[slot].objects if key.startswith("c/")]:
        del shelf.members[slot].objects[key]
    forged.snapshot(user(9, "mallory"))
    for _ in range(3):
        forged.write(user(9, "mallory"))
    users, found = shelf.read()
    assert users == RIGHT
    assert found.top == (1, 4)


@pytest.mark.parametrize("slot", range(4))
def test_a_liar_can_not_add_to_the_end(shelf: Shelf, slot: int) -> None:
    shelf.lie(slot, 5, user(9, "mallory"))
    users, found = shelf.read()
    assert users == RIGHT
    assert any("Entry 5 of incarnation 1 is not believed" in n for n in found.notes)


def test_two_that_tell_different_ends_are_not_believed(shelf: Shelf) -> None:
    shelf.writer.write(user(4, "dave"), on=[0])
    shelf.lie(1, 5, user(9, "mallory"))
    assert shelf.read()[0] == RIGHT


@pytest.mark.parametrize("slot", range(4))
def test_a_liar_can_not_begin_another_incarnation(shelf: Shelf, slot: int) -> None:
    forged = Writer(shelf.array.map.array, [shelf.members[slot]], incarnation=5)
    forged.snapshot(user(9, "mallory"))
    users, found = shelf.read()
    assert users == RIGHT
    assert (found.incarnation, found.top) == (1, (5, 1))
    assert any("incarnation 5 can't be used" in note for note in found.notes)


def test_a_rolled_back_member_lacks_the_end_and_nothing_else(shelf: Shelf) -> None:
    for number in (3, 4):
        del shelf.members[2].objects[journal_key(1, number)]
    assert shelf.read()[0] == RIGHT


def test_an_entry_that_one_member_has_is_proved_by_the_next_one(shelf: Shelf) -> None:
    shelf.writer.write(user(4, "dave"), on=[2])
    assert shelf.read()[0] == RIGHT
    shelf.writer.write(user(5, "eve"))
    assert shelf.read()[0] == RIGHT | {"4": "dave", "5": "eve"}


def test_a_draw_goes_to_the_one_that_is_chained(shelf: Shelf) -> None:
    writer = shelf.writer
    wrong = writer.make(5, random.Random(1).randbytes(32), [user(9, "mallory")])
    writer.write(user(4, "dave"), on=[0, 1])
    for slot in (2, 3):
        writer.put(slot, wrong)
    assert shelf.read()[0] == RIGHT | {"4": "dave"}


def test_it_stops_at_a_gap_and_says_so(shelf: Shelf) -> None:
    shelf.writer.write(user(4, "dave"), on=[])
    shelf.writer.write(user(5, "eve"))
    shelf.writer.write(user(6, "fred"))
    users, found = shelf.read()
    assert users == RIGHT
    assert found.head is not None
    assert found.head.number == 4
    assert any("The entries 6 to 7" in note for note in found.notes)


def test_a_snapshot_after_a_gap_makes_it_harmless(shelf: Shelf) -> None:
    shelf.writer.write(user(4, "dave"), on=[])
    shelf.writer.snapshot(user(7, "gina"))
    shelf.writer.write(user(8, "hugo"))
    assert shelf.read()[0] == {"7": "gina", "8": "hugo"}


def test_entries_before_the_snapshot_are_not_needed(shelf: Shelf) -> None:
    shelf.writer.snapshot(user(7, "gina"))
    for member in shelf.members:
        for number in range(1, 5):
            del member.objects[journal_key(1, number)]
    users, found = shelf.read()
    assert (users, found.notes) == ({"7": "gina"}, [])


def parts(writer: Writer, count: int, *, done: bool = True) -> None:
    for index in range(count):
        writer.write(
            user(20 + index, f"u{index}"),
            snapshot=True,
            first=index == 0,
            last=done and index == count - 1,
        )


def test_a_snapshot_may_have_many_parts(shelf: Shelf) -> None:
    parts(shelf.writer, 3)
    assert shelf.read()[0] == {"20": "u0", "21": "u1", "22": "u2"}


def test_a_snapshot_that_does_not_end_is_left_out(shelf: Shelf) -> None:
    parts(shelf.writer, 3, done=False)
    assert shelf.read()[0] == RIGHT


def test_what_follows_a_snapshot_that_does_not_end_counts(shelf: Shelf) -> None:
    parts(shelf.writer, 2, done=False)
    shelf.writer.write(user(3, None))
    users, _ = shelf.read()
    assert users.items() >= {"1": "anna"}.items()
    assert "3" not in users


def test_an_entry_that_goes_on_in_none_is_left_out(shelf: Shelf) -> None:
    shelf.writer.write(user(4, "dave"), continues=True)
    shelf.writer.write(user(5, "eve"), continues=True)
    assert shelf.read()[0] == RIGHT
    shelf.writer.write(user(6, "fred"))
    assert shelf.read()[0] == RIGHT | {"4": "dave", "5": "eve", "6": "fred"}


def test_the_highest_incarnation_wins(shelf: Shelf) -> None:
    again = Writer(shelf.array.map.array, shelf.members, incarnation=2)
    again.snapshot(user(1, "zoe"))
    users, found = shelf.read()
    assert (users, found.incarnation) == ({"1": "zoe"}, 2)


def test_an_incarnation_without_a_snapshot_leaves_the_one_before(shelf: Shelf) -> None:
    again = Writer(shelf.array.map.array, shelf.members, incarnation=2)
    parts(again, 2, done=False)
    users, found = shelf.read()
    assert (users, found.incarnation, found.top) == (RIGHT, 1, (2, 2))


def test_no_journal_is_no_error() -> None:
    users, found = Shelf().read()
    assert (users, found.head, found.top) == ({}, None, (0, 0))


def test_a_member_that_changes_while_it_is_read_is_an_error(shelf: Shelf) -> None:
    scene = shelf.scene()
    found = reading.read(scene)
    for place in scene.places.values():
        assert isinstance(place.member, MemoryMember)
        del place.member.objects[journal_key(1, 3)]
    with pytest.raises(reading.Changed, match="Entry 3"):
        list(reading.entries(scene, found))


@pytest.mark.parametrize("without", [0, 1])
def test_a_mirror_of_two_needs_one_member(without: int) -> None:
    shelf = Shelf(Level.RAID1, 2)
    shelf.writer.snapshot(user(1, "ann"))
    shelf.writer.write(user(2, "bob"))
    assert shelf.read(without=without)[0] == {"1": "ann", "2": "bob"}


def test_it_says_which_member_has_bad_entries(shelf: Shelf) -> None:
    member = shelf.members[0]
    member.objects[journal_key(1, 2)] = b"noise"
    foreign = Writer(uuid4(), [member], incarnation=1)
    foreign.put(0, foreign.make(3, bytes(32), []))
    users, found = shelf.read()
    assert users == RIGHT
    said = "Slot 0: entries of the journal that are"
    assert [note for note in found.notes if note.startswith(said)] == [
        f"{said} damaged: 1.",
        f"{said} of another array: 1.",
    ]
