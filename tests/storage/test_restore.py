"""A plain tree comes back from the members alone, verified, and inside its folder."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from raid.array import Array
from raid.buffers import BufferPool
from raid.geometry import Level
from raid.keys import manifest_key, tombstone_key
from raid.manifest import Description, Manifest
from raid.stored import Stored
from raid.superblock import Tombstone
from raid.writer import write
from storage import plaintree, restore
from storage.journal.lines import encode_value
from storage.journal.verdicts import LATE_US
from storage.members.calls import SystemCalls
from support.arrays import Body, Log, attempts, local_array
from support.journals import Line, Writer
from support.liars import LIES, Lie, corrupt_folder

pytestmark = pytest.mark.usefixtures("fast")
KIB = 1024
NOW = 1_700_000_000_000_000
SIZES = (0, 5, 64 * KIB, 64 * KIB + 1, 300 * KIB, 1200 * KIB)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raid.halves.HALF", 512 * KIB)
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)


@dataclass
class World:
    """An array of four folders, a journal, and what must come back."""

    array: Array
    folder: Path
    writer: Writer
    lines: list[Line] = field(default_factory=list)
    model: dict[str, bytes] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def user(self, number: int, name: str) -> None:
        """Make an account with its top folder, named `root<number>`."""
        self.lines.append(("users", str(number), {"id": number, "name": name}))
        self.entry(f"root{number}", number, None, "Files")

    def entry(
        self,
        key: str,
        owner: int,
        parent: str | None,
        name: str,
        blob: UUID | None = None,
        **more: object,
    ) -> None:
        """Make a folder, or with a blob a file."""
        row = {
            "id": key,
            "owner_id": owner,
            "parent_id": parent,
            "kind": 0 if blob is None else 1,
            "name": name,
            "size": 0,
            "created_at": NOW,
            "changed_at": NOW + 5_000_000,
            "blob_id": None if blob is None else str(blob),
            "trashed_at": None,
            "trashed_from": None,
            **more,
        }
        self.lines.append(("entries", key, row))

    def blob(self, data: bytes, *, described: Description | None = None) -> Stored:
        """Store bytes; nothing names them yet."""
        return write(
            self.array,
            uuid4(),
            attempts(),
            described or Description("as-uploaded", "/up", "ann", "", NOW),
            Body(data),
            Log(),
            BufferPool(1 << 26),
            want_sha256=False,
            size=len(data),
        )

    def file(self, path: str, parent: str, data: bytes, owner: int = 1) -> Stored:
        """Store a file that the journal names, and note what must come back."""
        stored = self.blob(data)
        self.lines.append(blob_line(stored))
        key = f"f{len(self.lines)}"
        self.entry(key, owner, parent, path.rpartition("/")[2], stored.blob)
        self.model[path] = data
        return stored

    def journal(self) -> None:
        """Write down all that was done, as a snapshot."""
        self.writer.snapshot(*self.lines)

    def bury(self, blob: UUID, slots: range) -> None:
        """Put a tombstone onto some members."""
        for slot in slots:
            stone = Tombstone(self.array.map.array, blob, 1, NOW).pack()
            self.array.members[slot].put(tombstone_key(blob), [stone], essential=True)

    def urls(self) -> list[str]:
        """Return the places of all members."""
        return [f"file://{self.member(slot)}" for slot in range(4)]

    def member(self, slot: int) -> Path:
        """Return the folder of a member."""
        return self.folder / f"m{slot}"

    def bytes(self, size: int) -> bytes:
        """Return bytes that nobody else has."""
        return self.rng.randbytes(size)


def blob_line(stored: Stored, **more: object) -> Line:
    row = {
        "uuid": str(stored.blob),
        "size": stored.size,
        "form": int(stored.form),
        "attempt": stored.attempt,
        "manifest_digest": encode_value(stored.manifest_digest),
        "root": encode_value(stored.root),
        "sha256": None,
        "state": "live",
        **more,
    }
    return "blobs", str(stored.blob), row


@pytest.fixture
def world(fast: None, tmp_path: Path) -> World:
    array = local_array(Level.RAID5, 4, tmp_path)
    writer = Writer(array.map.array, [array.members[slot] for slot in range(4)])
    writer.now = NOW
    made = World(array, tmp_path, writer)
    made.user(1, "ann")
    made.user(2, "bob")
    made.entry("ship", 1, "root1", "Ship")
    made.entry("empty", 1, "ship", "empty")
    for size in SIZES:
        made.file(f"ann/Ship/{size}.bin", "ship", made.bytes(size))
    made.file("bob/notes.txt", "root2", made.bytes(9), owner=2)
    return made


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(world: World, to: Path, *more: str) -> int:
    return restore.main(["--to", str(to), *more, *world.urls()])


def tree(to: Path) -> dict[str, bytes]:
    paths = [path for path in to.rglob("*") if path.is_file()]
    return {str(path.relative_to(to)): path.read_bytes() for path in paths}


def test_everything_comes_back(world: World, to: Path) -> None:
    world.journal()
    assert run(world, to) == 0
    assert tree(to) == world.model
    assert (to / "ann/Ship/empty").is_dir()
    assert (to / "bob/notes.txt").stat().st_mtime_ns == (NOW + 5_000_000) * 1000


def test_nothing_is_written_to_a_member(world: World, to: Path) -> None:
    world.journal()
    left = world.member(0) / "tmp" / "left-behind"
    left.write_bytes(b"x")
    before = [tree(world.member(slot)) for slot in range(4)]
    assert run(world, to) == 0
    assert [tree(world.member(slot)) for slot in range(4)] == before


@pytest.mark.parametrize("slot", range(4))
def test_a_member_may_be_missing(world: World, to: Path, slot: int) -> None:
    world.journal()
    world.member(slot).rename(world.folder / "away")
    assert run(world, to) == 0
    assert tree(to) == world.model


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("slot", [0, 3])
def test_a_member_may_lie(world: World, to: Path, slot: int, lie: Lie) -> None:
    world.journal()
    corrupt_folder(world.member(slot), lie)
    assert run(world, to) == 0
    assert tree(to) == world.model


@pytest.mark.parametrize("slot", [0, 2])
@pytest.mark.parametrize("attempt", [1, 9])
def test_a_forged_manifest_is_not_taken_for_the_journal_s(
    world: World, to: Path, slot: int, attempt: int
) -> None:
    stored = world.file("ann/Ship/true.txt", "ship", b"true")
    world.journal()
    said = stored.manifest.description
    forged = Manifest.build(
        world.array.map.array, stored.blob, attempt, said, inline=b"lies"
    )
    path = world.member(slot) / manifest_key(stored.blob, attempt)
    path.write_bytes(forged.pack())
    assert run(world, to) == 0
    assert tree(to) == world.model


def test_with_too_few_members_it_restores_what_it_can(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.journal()
    for slot in (1, 2):
        world.member(slot).rename(world.folder / f"away{slot}")
    assert run(world, to) == 1
    small = {path: data for path, data in world.model.items() if len(data) <= 65536}
    assert tree(to) == small
    said = capsys.readouterr().out
    assert "NOT RESTORED: ann/Ship/307200.bin (owner ann): A part of this file" in said
    assert f"{len(world.model) - len(small)} could not be restored" in said


def test_damage_beyond_repair_is_named_and_the_rest_comes(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = world.file("ann/Ship/bad.bin", "ship", world.bytes(200 * KIB))
    world.journal()
    for slot in stored.rows[0].slots[:2]:
        for path in world.member(slot).rglob(f"{stored.blob}.*"):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
    assert run(world, to) == 1
    assert tree(to) == {p: d for p, d in world.model.items() if "bad" not in p}
    assert "ann/Ship/bad.bin (owner ann): A part of this file is" in (
        capsys.readouterr().out
    )


def test_a_file_that_nobody_has_is_named(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = world.file("ann/Ship/gone.bin", "ship", b"gone")
    world.journal()
    for path in world.folder.rglob(f"{stored.blob}.*"):
        path.unlink()
    assert run(world, to) == 1
    assert "ann/Ship/gone.bin (owner ann): No member has" in capsys.readouterr().out


# -- what the journal does not name


def test_what_came_after_the_journal_is_as_it_was_uploaded(
    world: World, to: Path
) -> None:
    world.journal()
    late = Description("late.txt", "/Ship/new", "ann", "", NOW + 60_000_000)
    world.blob(b"late", described=late)
    stranger = Description("hi.txt", "/", "zoe", "", NOW)
    world.blob(b"hi", described=stranger)
    assert run(world, to) == 0
    more = {"ann/Ship/new/late.txt": b"late", "zoe/hi.txt": b"hi"}
    assert tree(to) == world.model | more
    found = (to / "ann/Ship/new/late.txt").stat()
    assert found.st_mtime_ns == (NOW + 60_000_000) * 1000


def test_a_taken_name_keeps_both(world: World, to: Path) -> None:
    world.journal()
    world.blob(b"new", described=Description("notes.txt", "/", "bob", "", NOW))
    assert run(world, to) == 0
    assert tree(to) == world.model | {"bob/notes (2).txt": b"new"}


def test_what_is_older_and_unknown_is_set_apart(world: World, to: Path) -> None:
    world.journal()
    old = Description("old.txt", "/Ship", "ann", "", NOW - LATE_US)
    world.blob(b"old", described=old)
    assert run(world, to) == 0
    assert tree(to) == world.model | {".recovered/ann/Ship/old.txt": b"old"}


def test_the_trash_is_set_apart(world: World, to: Path) -> None:
    gone = {"parent_id": None, "trashed_at": NOW, "trashed_from": "root1"}
    for number in (1, 2):
        key = f"old{number}"
        world.entry(
            key, 1, None, "Old", **{k: v for k, v in gone.items() if k[0] == "t"}
        )
        suffix = "" if number == 1 else " (2)"
        world.file(f".trash/ann/Old{suffix}/a.txt", key, world.bytes(number))
    world.journal()
    assert run(world, to) == 0
    assert tree(to) == world.model


def test_deleted_stays_deleted(world: World, to: Path) -> None:
    let_go = world.blob(b"let go")
    world.lines.append(blob_line(let_go, state="tombstoned"))
    purged = world.blob(b"purged")
    world.bury(purged.blob, range(2, 4))
    world.journal()
    ended = world.blob(b"ended")
    world.writer.write(blob_line(ended))
    world.writer.write(("blobs", str(ended.blob), None))
    assert run(world, to) == 0
    assert tree(to) == world.model


def test_what_was_purged_after_the_journal_does_not_come_back(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = world.file("ann/Ship/purged.bin", "ship", b"purged")
    world.journal()
    world.bury(stored.blob, range(0, 2))
    assert run(world, to) == 0
    del world.model["ann/Ship/purged.bin"]
    assert tree(to) == world.model
    assert "ann/Ship/purged.bin was purged after" in capsys.readouterr().out


def test_without_a_journal_all_is_as_it_was_uploaded(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, to) == 0
    assert sorted(tree(to).values()) == sorted(world.model.values())
    assert all(path.startswith("ann/up/as-uploaded") for path in tree(to))
    assert "There is no journal" in capsys.readouterr().out


# -- running it again, and not for real


def test_a_second_run_changes_nothing(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.journal()
    assert run(world, to) == 0
    before = {path: (to / path).stat().st_ino for path in tree(to)}
    capsys.readouterr()
    assert run(world, to) == 0
    assert {path: (to / path).stat().st_ino for path in tree(to)} == before
    assert f"0 files, 0 bytes restored; {len(before)} were there already" in (
        capsys.readouterr().out
    )


def test_what_is_there_already_is_kept(world: World, to: Path) -> None:
    world.journal()
    (to / "bob").mkdir(parents=True)
    (to / "bob/notes.txt").write_bytes(b"mine")
    assert run(world, to) == 0
    right = world.model.pop("bob/notes.txt")
    mine = {"bob/notes.txt": b"mine", "bob/notes (2).txt": right}
    assert tree(to) == world.model | mine


def test_a_dry_run_lists_and_writes_nothing(
    world: World, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.journal()
    assert restore.main(["--dry-run", "--to", str(to), *world.urls()]) == 0
    said = capsys.readouterr().out
    assert not to.exists()
    for path, data in world.model.items():
        assert f"{len(data):>15}  {path}\n" in said
    assert f"{len(world.model)} files" in said


def test_a_dry_run_tells_what_can_not_come_back(world: World, to: Path) -> None:
    world.journal()
    for slot in (1, 2):
        world.member(slot).rename(world.folder / f"away{slot}")
    assert restore.main(["--dry-run", *world.urls()]) == 1


def test_a_failure_to_write_leaves_no_half_file(
    world: World, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.journal()
    fired = []

    def full(handle: int) -> None:
        fired.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plaintree.os, "fsync", full)
    assert run(world, to) == 2
    assert fired
    assert tree(to) == {}


# -- names that mean harm

HOSTILE = {
    "..": "_..",
    "../../../escape": ".._.._.._escape",
    "/etc/passwd": "_etc_passwd",
    "a\0b": "a_b",
    "line\nbreak": "line_break",
    ".": "_.",
    "": "_",
    "x" * 300 + ".txt": "x" * 251 + ".txt",
    "é" * 200: "é" * 127,
}


@pytest.mark.parametrize(("raw", "safe"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_a_hostile_name_is_made_safe_and_reported(
    world: World, to: Path, raw: str, safe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = world.blob(b"hostile")
    world.lines.append(blob_line(stored))
    world.entry("bad", 1, "ship", raw, stored.blob)
    world.journal()
    assert run(world, to) == 0
    assert tree(to) == world.model | {f"ann/Ship/{safe}": b"hostile"}
    assert f"Another name: {raw!r} is written as" in capsys.readouterr().out


def test_a_hostile_description_stays_inside(world: World, to: Path) -> None:
    world.journal()
    said = Description("../../x", "/../../../tmp", "../root", "", NOW)
    world.blob(b"x", described=said)
    world.blob(b"y", described=Description("y", "/", ".trash", "", NOW))
    assert run(world, to) == 0
    assert tree(to) == world.model | {
        "_.._root/_../_../_../tmp/.._.._x": b"x",
        "_.trash/y": b"y",
    }
    assert {path.name for path in world.folder.iterdir()} == {
        "out", "m0", "m1", "m2", "m3",
    }  # fmt: skip


def test_a_link_in_the_tree_is_not_followed(
    world: World, to: Path, tmp_path: Path
) -> None:
    world.journal()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    to.mkdir()
    (to / "bob").symlink_to(elsewhere)
    assert run(world, to) == 1
    assert tree(elsewhere) == {}


def test_a_path_may_be_longer_than_the_system_takes(world: World, to: Path) -> None:
    parent, name = "root1", "d" * 200
    for depth in range(30):
        world.entry(f"deep{depth}", 1, parent, name)
        parent = f"deep{depth}"
    stored = world.blob(b"deep")
    world.lines.append(blob_line(stored))
    world.entry("leaf", 1, parent, "leaf", stored.blob)
    world.journal()
    assert run(world, to) == 0


def test_entries_in_a_circle_come_back_somewhere(world: World, to: Path) -> None:
    world.entry("c1", 1, "c2", "one")
    world.entry("c2", 1, "c1", "two")
    stored = world.blob(b"lost")
    world.lines.append(blob_line(stored))
    world.entry("leaf", 1, "c1", "leaf", stored.blob)
    world.journal()
    assert run(world, to) == 0
    assert b"lost" in tree(to).values()


# -- asking for the wrong thing


def ask(*argv: str) -> Callable[[], int]:
    return lambda: restore.main(list(argv))


def test_it_says_what_is_wrong_with_a_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--to", str(tmp_path / "out"), "ftp://x")() == 2
    assert "is not the URL of a member" in capsys.readouterr().err
    assert ask("--to", str(tmp_path / "out"), f"file://{tmp_path}")() == 2
    assert "None of the places holds a member" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_asks_where_to(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ask("file:///srv/d0")()
    assert "--to DIR" in capsys.readouterr().err
