"""Members that are not what the database expects when a process starts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raid.errors import ArrayReadOnly
from storage import services
from storage.db import db, transaction
from storage.errors import CannotCreate
from storage.members.local import LocalMember
from storage.models import ArrayRow, MemberRow
from support.store import KIB, Store


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _missing(store: Store) -> None:
    store.lose(1)


def _blank(store: Store) -> None:
    store.lose(1)
    store.member(1).mkdir()


def _other_files(store: Store) -> None:
    _blank(store)
    (store.member(1) / "holiday.jpg").write_bytes(b"kelp")


def _cloned(store: Store) -> None:
    store.lose(1)
    shutil.copytree(store.member(0), store.member(1))


def _unreadable(store: Store) -> None:
    for path in store.member(1).glob("superblock.*"):
        data = bytearray(path.read_bytes())
        data[50] ^= 1
        path.write_bytes(data)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "trouble", [_missing, _blank, _other_files, _cloned, _unreadable]
)
def test_it_is_named_and_left_alone(
    store: Store, trouble: Callable[[Store], None]
) -> None:
    """The process starts, reads, writes, says so, and touches nothing there."""
    for size in (1000, 300 * KIB, 900 * KIB):
        store.put(size)
    trouble(store)
    before = _listing(store.member(1)) if store.member(1).exists() else None
    store.restart()
    found = store.status()
    assert found.state == "degraded"
    assert found.members[1].observed == "missing"
    assert found.members[1].problem
    store.check()
    store.put(300 * KIB)
    store.settle()
    store.check()
    after = _listing(store.member(1)) if store.member(1).exists() else None
    assert after == before


@pytest.mark.sqlite
def test_a_member_of_another_array(make_store: Callable[..., Store]) -> None:
    """Foreign: named, and never written to."""
    store = make_store()
    store.put(300 * KIB)
    store.lose(1)
    from raid.assemble import format_member
    from raid.geometry import Level
    from support.arrays import map_of, superblock_of

    other = map_of(Level.RAID5, ["file:x"] * 4)
    format_member(LocalMember(store.member(1)), superblock_of(other, 1))
    before = _listing(store.member(1))
    store.restart()
    assert store.status().members[1].observed == "missing"
    store.put(1000)
    store.check()
    store.settle()
    assert _listing(store.member(1)) == before


@pytest.mark.sqlite
def test_swapped_members_are_used_where_they_are(store: Store) -> None:
    """Known by identity: nothing is owed, everything is read."""
    store.put(300 * KIB)
    store.member(0).rename(store.folder / "x")
    store.member(1).rename(store.member(0))
    (store.folder / "x").rename(store.member(1))
    store.restart()
    assert store.status().state == "clean"
    store.put(300 * KIB)
    store.check()
    assert store.debts() == []


@pytest.mark.sqlite
def test_a_disk_that_comes_back_elsewhere_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the process runs, all places are looked at again now and then."""
    monkeypatch.setattr("storage.runtime.REASSEMBLE_SECONDS", 0.0)
    store.put(300 * KIB)
    store.status()
    store.member(0).rename(store.folder / "x")
    store.member(1).rename(store.member(0))
    (store.folder / "x").rename(store.member(1))
    store.status()
    assert store.status().state == "clean"
    store.check()


def _roll_back(store: Store, row: dict[str, object]) -> None:
    """Put the rows of the array back as they were, as a backup would."""
    with transaction() as session:
        session.get_one(ArrayRow, 1).event = row["event"]  # type: ignore[assignment]
        for member in session.query(MemberRow):
            member.state = "in_sync"
            member.superblock_event = row["event"]  # type: ignore[assignment]


def test_a_database_from_an_old_backup_is_readonly(store: Store) -> None:
    """The members know more: nothing is written, and a sentence says why."""
    store.put(1000)
    backup = {"event": store.array_row().event}
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    store.settle()
    assert store.array_row().event > backup["event"]
    _roll_back(store, backup)
    store.restart()
    found = store.status()
    assert found.state == "readonly"
    assert "old backup" in found.sentence
    assert "read-only" in store.banner()
    store.check()
    with pytest.raises(ArrayReadOnly):
        store.put(1000)
    objects = store.objects()
    store.settle()
    assert store.objects() == objects
    assert store.array_row().readonly


def test_members_that_are_behind_are_no_rollback(store: Store) -> None:
    """A member that was away has an older superblock; that is how it should be."""
    store.lose(1)
    store.put(1000)
    store.settle()
    store.bring_back(1)
    store.restart()
    assert store.status().state == "degraded"
    store.settle()
    assert store.status().state == "clean"


def test_only_empty_places_become_members(make_store: Callable[..., Store]) -> None:
    """A lost database must not format what holds files."""
    store = make_store()
    store.put(1000)
    listing = _listing(store.folder)
    with transaction() as session:
        session.query(db.metadata.tables["blobs"]).delete(synchronize_session=False)
        session.query(MemberRow).delete()
        session.query(ArrayRow).delete()
    store.restart()
    with pytest.raises(CannotCreate, match="flask array recover"):
        services.ensure_array()
    assert store.rows(ArrayRow) == []
    assert _listing(store.folder) == listing


@pytest.mark.parametrize("at", [1, 2, 4])
def test_killed_while_formatting_goes_on(
    make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The rows came first, so the next start knows what to finish."""

    class Killed(BaseException):
        pass

    store = make_store(members=False)
    real, left = services.format_member, [at]

    def format_member(*arguments):  # type: ignore[no-untyped-def]
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        real(*arguments)

    monkeypatch.setattr(services, "format_member", format_member)
    with pytest.raises(Killed):
        services.ensure_array()
    services.ensure_array()
    assert store.status().state == "clean"
    store.put(300 * KIB)
    store.check()


def test_a_place_that_cannot_be_formatted_undoes_the_others(
    make_store: Callable[..., Store],
) -> None:
    """No half array: the empty places are empty again, and there are no rows."""
    store = make_store(members=False)
    store.folder.joinpath("3").write_bytes(b"a file where a folder should be")
    with pytest.raises(CannotCreate):
        services.ensure_array()
    assert store.rows(ArrayRow) == store.rows(MemberRow) == []
    store.folder.joinpath("3").unlink()
    services.ensure_array()
    assert store.status().state == "clean"


def test_what_can_not_be_an_array(make_store: Callable[..., Store]) -> None:
    """Each refusal is a sentence."""
    store = make_store(members=False)
    for level, urls, said in (
        ("raid5", ["file:members/0", "file:members/1"], "at least 3"),
        ("raid6", [f"file:members/{i}" for i in range(3)], "at least 4"),
        ("raid10", [f"file:members/{i}" for i in range(3)], "at least 4"),
        ("raid0", ["file:members/0", "file:members/1"], "raid0 is refused"),
        ("raid7", ["file:members/0", "file:members/1"], "no level raid7"),
        ("raid1", ["file:members/0"], "at least 2"),
        ("raid1", ["file:members/0", "file:members/../members/0"], "twice|empty"),
        ("raid1", ["file:members/0", "s3://Bucket"], "names no bucket"),
        ("raid1", ["s3://bucket/p?owner=1", "file:members/0"], "12 digits"),
        ("raid1", ["s3://bucket/p/", "s3://bucket/p?weight=2"], "twice"),
    ):
        with pytest.raises(CannotCreate, match=said):
            services.create_array(level, urls)
    assert store.rows(ArrayRow) == []


def test_settings_that_differ_are_a_warning(
    make_store: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    """The array stays what it is."""
    store = make_store()
    store.put(1000)
    services.ensure_array()
    assert not caplog.records
    with transaction() as session:
        session.get_one(ArrayRow, 1).level = "raid5"
        session.query(MemberRow).filter_by(slot=3).one().url = "file:members/nine"
    store.member(3).rename(store.folder / "nine")
    services.ensure_array()
    assert "differ" in caplog.text
    store.restart()
    assert store.status().state == "clean"
    store.check()


def test_members_written_by_a_newer_release_are_only_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only for this process, said so, and nothing is touched."""
    from raid.superblock import Superblock

    store.put(300 * KIB)
    store.let_go(store.put(10).uuid)
    monkeypatch.setattr(Superblock, "newer", True)
    store.restart()
    found = store.status()
    assert (found.state, "newer release" in found.sentence) == ("readonly", True)
    with pytest.raises(ArrayReadOnly):
        store.put(10)
    objects = store.objects()
    store.settle()
    assert store.objects() == objects
    store.check()


def test_a_look_at_a_member_does_not_list_its_objects(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start takes as long with a million files as with none."""
    store.put(300 * KIB)
    asked: list[str] = []
    real = LocalMember.list

    def listing(self, prefix):  # type: ignore[no-untyped-def]
        asked.append(prefix)
        return real(self, prefix)

    monkeypatch.setattr(LocalMember, "list", listing)
    store.restart()
    store.status()
    assert set(asked) == {"superblock."}
