"""The tree that a recovery puts together: reachable, named apart, and counted."""

from typing import Any

import pytest

from files.recovered import arrange
from storage.errors import CannotRecover
from storage.journal.catalogue import Catalogue
from storage.journal.merge import Stray, Target


def user(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "name_key": name,
        "is_admin": name == "root",
        "disabled_at": None,
        "created_at": number,
        **more,
    }


class World:
    """A target with ann, bob and an administrator."""

    def __init__(self, *, admin: bool = True) -> None:
        self.target = Target(Catalogue())
        names = ["ann", "bob", "root"] if admin else ["ann", "bob"]
        for number, name in enumerate(names, 1):
            self.target.catalogue.users[str(number)] = user(number, name)
        self.age = 0

    def add(
        self,
        key: str,
        parent: str | None,
        name: str,
        size: int | None = None,
        **more: Any,
    ) -> None:
        """Add a folder, or with a size a file."""
        self.age += 1
        self.target.catalogue.entries[key] = {
            "id": key,
            "owner_id": 1,
            "parent_id": parent,
            "kind": 0 if size is None else 1,
            "name": name,
            "size": size or 0,
            "created_at": self.age,
            "changed_at": self.age,
            "blob_id": None if size is None else f"blob-{key}",
            "media_type": None,
            "trashed_at": None,
            "trashed_from": None,
            **more,
        }

    def stray(
        self, name: str, folder: str = "/", owner: str = "ann", **said: Any
    ) -> None:
        """Add a blob that nothing names."""
        said = {"live": True, "why": "", **said}
        self.target.strays.append(
            Stray(f"blob-{name}", 5, name, folder, owner, "", 77, **said)
        )

    def tree(self) -> dict[str, int | None]:
        """Arrange, check what always holds, and return path -> size."""
        arrange(self.target)
        rows = self.target.catalogue.entries
        found: dict[str, int | None] = {}
        for row in rows.values():
            path, here, steps = "", row, 0
            while here["parent_id"] is not None:
                path, here = f"/{here['name']}{path}", rows[here["parent_id"]]
                steps += 1
                assert steps < 50, "a circle"
                assert here["owner_id"] == row["owner_id"]
                assert here["kind"] == 0
            owner = self.target.catalogue.users[str(row["owner_id"])]["name"]
            top = f"/trash/{here['name']}" if here["trashed_at"] else ""
            full = f"{owner}{top}{path}"
            assert full not in found
            found[full] = row["size"] if row["kind"] else None
        self.check_counters()
        return found

    def check_counters(self) -> None:
        rows = self.target.catalogue.entries.values()
        for row in rows:
            inside = [one for one in rows if one["parent_id"] == row["id"]]
            files = [one for one in inside if one["kind"]]
            counted = (len(inside) - len(files), len(files))
            assert (row["folders"], row["files"]) == counted
            assert row["bytes"] == sum(one["size"] for one in files)
        for one in self.target.catalogue.users.values():
            mine = [row["size"] for row in rows if row["owner_id"] == one["id"]]
            assert one["used_bytes"] == sum(mine)


@pytest.fixture
def world() -> World:
    made = World()
    made.add("r", None, "Files")
    made.add("ship", "r", "Ship")
    made.add("a", "ship", "a.txt", 3)
    return made


PLAIN = {"ann": None, "ann/Ship": None, "ann/Ship/a.txt": 3}


def test_what_is_right_stays_as_it_is(world: World) -> None:
    world.add("old", None, "Old", trashed_at=9, trashed_from="r")
    world.add("b", "old", "b.txt", 4)
    more = {"ann/trash/Old": None, "ann/trash/Old/b.txt": 4}
    assert world.tree() == PLAIN | more
    assert world.target.notes == world.target.placed == []


def test_two_roots_of_one_owner_become_one(world: World) -> None:
    world.add("r2", None, "Files")
    world.add("b", "r2", "b.txt", 4)
    world.add("ship2", "r2", "Ship")
    assert world.tree() == PLAIN | {"ann/b.txt": 4, "ann/Ship (2)": None}


def test_the_older_of_two_keeps_the_name(world: World) -> None:
    world.add("a2", "ship", "a.txt", 4)
    assert world.tree() == PLAIN | {"ann/Ship/a (2).txt": 4}
    assert "a.txt of ann is now named a (2).txt" in world.target.notes[0]


def test_what_lay_in_no_folder_is_in_the_top_folder(world: World) -> None:
    world.add("b", "gone", "b.txt", 4)
    world.add("c", "a", "c.txt", 5)
    world.add("d", "ship", "d.txt", 6, owner_id=2)
    more = {"ann/b.txt": 4, "ann/c.txt": 5, "bob": None, "bob/d.txt": 6}
    assert world.tree() == PLAIN | more
    assert len(world.target.notes) == 3


def test_folders_inside_each_other_are_taken_apart(world: World) -> None:
    world.add("x", "y", "x")
    world.add("y", "z", "y")
    world.add("z", "x", "z")
    world.add("b", "y", "b.txt", 4)
    found = world.tree()
    assert found.items() > PLAIN.items()
    assert 4 in found.values()


def test_entries_without_an_owner_are_the_administrator_s(world: World) -> None:
    world.add("b", None, "Files", owner_id=99)
    world.add("c", "b", "c.txt", 4, owner_id=99)
    assert world.tree() == PLAIN | {"root": None, "root/c.txt": 4}


def test_a_late_file_is_where_it_was_uploaded(world: World) -> None:
    world.stray("late.txt", "/Ship")
    world.stray("deep.txt", "/Ship/new/er")
    world.stray("top.txt", "/", "bob")
    assert world.tree() == PLAIN | {
        "ann/Ship/late.txt": 5,
        "ann/Ship/new": None,
        "ann/Ship/new/er": None,
        "ann/Ship/new/er/deep.txt": 5,
        "bob": None,
        "bob/top.txt": 5,
    }
    said = "Ship/late.txt of ann: The journal does not name it yet."
    assert said in world.target.placed


def test_a_late_file_on_a_taken_name_is_numbered(world: World) -> None:
    world.stray("a.txt", "/Ship")
    world.stray("x", "/Ship/a.txt")
    assert world.tree() == PLAIN | {
        "ann/Ship/a (2).txt": 5,
        "ann/Ship/a.txt (2)": None,
        "ann/Ship/a.txt (2)/x": 5,
    }


def test_a_late_file_of_a_stranger_goes_to_the_administrator(world: World) -> None:
    world.stray("x", "/in", "zoe")
    found = world.tree()
    assert found["root/Recovered/zoe/in/x"] == 5
    assert "There is no account named zoe." in world.target.placed[0]


def test_what_is_doubtful_goes_to_the_administrator(world: World) -> None:
    world.stray("x", "/Ship", live=False, why="It is old.")
    found = world.tree()
    assert found["root/Recovered/ann/Ship/x"] == 5
    assert world.target.placed == ["Recovered/ann/Ship/x of root: It is old."]


@pytest.mark.parametrize("gone", [None, 5])
def test_without_an_administrator_it_refuses(gone: int | None) -> None:
    world = World(admin=False)
    if gone is not None:
        world.target.catalogue.users["3"] = user(3, "root", disabled_at=gone)
    world.stray("x", live=False)
    with pytest.raises(CannotRecover, match="flask user create NAME --admin"):
        arrange(world.target)


def test_names_that_can_not_be_kept_are_replaced(world: World) -> None:
    world.stray("..", "/Ship/../..")
    world.stray("b\0d", "/", live=False)
    found = world.tree()
    assert found["ann/Ship/unnamed/unnamed/unnamed"] == 5
    assert found["root/Recovered/ann/unnamed"] == 5
