"""What only a folder can suffer: empty mount points, swapped disks, killed writers."""

import os
import subprocess
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from raid.assemble import format_member
from raid.errors import MemberFull, MemberMissing, MemberReadOnly
from raid.geometry import Level
from raid.keys import superblock_key
from storage.members import temporary
from storage.members.calls import SystemCalls
from storage.members.local import LocalMember
from storage.members.temporary import temporary_name
from storage.members.urls import parse_member_url
from support.arrays import map_of, superblock_of

KEY = "o/ab/abcdef00-0000-4000-8000-000000000000.m1"


def _formatted(path: Path, slot: int = 0) -> LocalMember:
    member = LocalMember(path)
    format_member(member, superblock_of(map_of(Level.RAID1, ["a", "b"]), slot))
    return member


def _tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def test_an_empty_mount_point_is_missing_and_never_written_to(tmp_path: Path) -> None:
    member = _formatted(tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    (tmp_path / "disk").mkdir()
    for call in (
        lambda: member.put(KEY, [b"x"]),
        lambda: member.put(superblock_key(1, 2), [b"x"], essential=True),
        lambda: member.read(KEY),
        lambda: member.delete(KEY),
        lambda: list(member.list("")),
        member.check,
        member.space,
    ):
        with pytest.raises(MemberMissing, match="missing"):
            call()
    assert _tree(tmp_path / "disk") == []


def test_a_folder_that_went_is_not_made_again(tmp_path: Path) -> None:
    member = _formatted(tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    with pytest.raises(MemberMissing):
        member.put(KEY, [b"x"])
    assert not (tmp_path / "disk").exists()
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    member.put(KEY, [b"x"])
    assert member.read(KEY) == b"x"


def test_another_members_disk_in_its_place_is_left_alone(tmp_path: Path) -> None:
    member, other = _formatted(tmp_path / "a"), _formatted(tmp_path / "b")
    member.put(KEY, [b"mine"])
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    before = _tree(tmp_path / "a")
    with pytest.raises(MemberMissing, match="another member"):
        member.put(KEY, [b"x"])
    with pytest.raises(MemberMissing):
        member.read(KEY)
    assert _tree(tmp_path / "a") == before
    with pytest.raises(MemberMissing):
        other.check()


def test_it_follows_its_superblock_when_the_old_one_is_dropped(tmp_path: Path) -> None:
    array_map = map_of(Level.RAID1, ["a", "b"])
    member = LocalMember(tmp_path / "disk")
    format_member(member, superblock_of(array_map, 0))
    member.check()
    newer = superblock_of(array_map, 0)
    member.put(superblock_key(1, 9), [newer.pack()], essential=True)
    member.delete(superblock_key(1, 1))
    member.put(KEY, [b"x"])


def test_a_superblock_with_a_flipped_bit_falls_back_to_the_one_before(
    tmp_path: Path,
) -> None:
    array_map = map_of(Level.RAID1, ["a", "b"])
    member = LocalMember(tmp_path / "disk")
    format_member(member, superblock_of(array_map, 0))
    block = bytearray(superblock_of(array_map, 0).pack())
    block[40] ^= 1
    (tmp_path / "disk" / superblock_key(1, 2)).write_bytes(block)
    again = LocalMember(tmp_path / "disk")
    again.admit(array_map.array, array_map.slots[0].member)
    again.check()
    (tmp_path / "disk" / superblock_key(1, 1)).unlink()
    with pytest.raises(MemberMissing, match="superblock"):
        LocalMember.check(_admitted(tmp_path / "disk", array_map.array))


def _admitted(path: Path, array: UUID) -> LocalMember:
    member = LocalMember(path)
    member.admit(array, uuid4())
    return member


def test_nothing_but_a_superblock_makes_a_member(tmp_path: Path) -> None:
    member = LocalMember(tmp_path / "disk")
    with pytest.raises(MemberMissing):
        member.put(KEY, [b"x"])
    assert not (tmp_path / "disk").exists()


def test_a_folder_with_other_files_is_not_formatted(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(MemberMissing, match="not blank"):
        _formatted(tmp_path / "disk")
    assert _tree(tmp_path / "disk") == ["holiday.jpg"]


def test_other_files_are_not_taken_for_temporary_ones(tmp_path: Path) -> None:
    """However old they are, and although the folder has a fitting name."""
    photo = tmp_path / "disk" / "tmp" / "holiday.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"x")
    os.utime(photo, (0, time.time() - 7200))
    with pytest.raises(MemberMissing, match="not empty"):
        _formatted(tmp_path / "disk")
    assert photo.read_bytes() == b"x"


def test_a_fresh_file_system_is_blank(tmp_path: Path) -> None:
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    _formatted(tmp_path / "disk").check()


def test_a_formatting_that_was_killed_is_done_again(tmp_path: Path) -> None:
    """Killed between its directories and the name of its superblock."""
    done = subprocess.Popen(["true"])
    done.wait()
    (tmp_path / "disk" / "tmp").mkdir(parents=True)
    half = temporary_name().replace(str(os.getpid()), str(done.pid), 1)
    before_a_restart = f"{os.getpid()}.4026531836-{'0' * 16}.{uuid4().hex}"
    for name in (half, before_a_restart):
        (tmp_path / "disk" / "tmp" / name).write_bytes(b"half")
    _formatted(tmp_path / "disk").check()
    assert os.listdir(tmp_path / "disk" / "tmp") == []


def test_it_clears_what_killed_writers_left(tmp_path: Path) -> None:
    member = _formatted(tmp_path / "disk")
    done = subprocess.Popen(["true"])
    done.wait()
    own = temporary_name()
    dead = own.replace(str(os.getpid()), str(done.pid), 1)
    old, elsewhere = (f"{pid}.1.{uuid4().hex}" for pid in (1, done.pid))
    folder = tmp_path / "disk" / "tmp"
    for name in (own, dead, old, elsewhere):
        (folder / name).write_bytes(b"half")
    os.utime(folder / old, (0, time.time() - 7200))
    again = LocalMember(tmp_path / "disk")
    assert member._admitted is not None
    again.admit(*member._admitted)
    assert sorted(os.listdir(folder)) == sorted([own, elsewhere])


def test_what_another_host_is_writing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process namespace has the same number on every machine."""
    member = _formatted(tmp_path / "disk")
    done = subprocess.Popen(["true"])
    done.wait()
    there = tmp_path / "boot_id"
    there.write_text("8a7fbe3c-02c6-4d1e-9d4c-6b0a3c6f5e11\n")
    with monkeypatch.context() as patch:
        patch.setattr(temporary, "_BOOT_ID", str(there), raising=False)
        theirs = temporary_name().replace(str(os.getpid()), str(done.pid), 1)
    before = f"{done.pid}.{os.stat('/proc/self/ns/pid').st_ino}.{uuid4().hex}"
    folder = tmp_path / "disk" / "tmp"
    for name in (theirs, before):
        (folder / name).write_bytes(b"half")
    again = LocalMember(tmp_path / "disk")
    assert member._admitted is not None
    again.admit(*member._admitted)
    assert sorted(os.listdir(folder)) == sorted([theirs, before])


def test_a_host_that_names_no_boot_is_told_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    monkeypatch.setattr(temporary, "_BOOT_ID", "/proc/no/such")
    for host in ("one", "two", "two"):
        monkeypatch.setattr(temporary, "node", lambda host=host: host)
        names.append(temporary_name().split(".")[1])
    assert names[0] != names[1] == names[2]


def test_a_read_only_mount_and_a_full_disk_show_in_the_check(tmp_path: Path) -> None:
    class Mounted(SystemCalls):
        flags = 0
        room = 1 << 40

        def statvfs(self, path: str) -> os.statvfs_result:
            found = list(super().statvfs(path))
            found[1], found[4], found[8] = 1, self.room, self.flags
            return os.statvfs_result(found)

    made = _formatted(tmp_path / "disk")
    assert made._admitted is not None
    calls = Mounted()
    member = LocalMember(tmp_path / "disk", calls)
    member.admit(*made._admitted)
    member.check()
    calls.flags = os.ST_RDONLY
    with pytest.raises(MemberReadOnly):
        member.check()
    calls.flags, calls.room = 0, (64 << 20) - 1
    with pytest.raises(MemberFull):
        member.check()
    with pytest.raises(MemberFull):
        member.put(KEY, [b"x"])
    member.put("t/ab/abcdef00-0000-4000-8000-000000000000", [b"x"], essential=True)


def test_a_replaced_object_moves_to_quarantine(tmp_path: Path) -> None:
    member = _formatted(tmp_path / "disk")
    member.put(KEY, [b"bad"])
    member.put(KEY, [b"good"], replace=True)
    (kept,) = (tmp_path / "disk" / "quarantine").iterdir()
    assert kept.read_bytes() == b"bad"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/d0", "/srv/d0"),
        ("file://localhost/srv/d0", "/srv/d0"),
        ("file:members/0", "/base/members/0"),
        ("file:///srv/a%20b", "/srv/a b"),
    ],
)
def test_it_finds_the_folder_of_a_url(url: str, path: str) -> None:
    assert parse_member_url(url, Path("/base")).path == Path(path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/srv/d0", "file:///"),
        ("ftp://x/y", "file:///"),
        ("file://srv/d0", "three slashes"),
        ("file:", "no folder"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
    ],
)
def test_it_explains_a_url_that_it_can_not_use(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_member_url(url, Path("/base"))
