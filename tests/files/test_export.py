"""`flask files export`: a plain tree, verified, with nothing overwritten."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select, update

from files import exporter
from files.exporter import Exporter
from files.models import Entry
from raid.errors import BlobDamaged
from storage import blobs
from storage.db import db, release, transaction
from storage.models import Blob
from support.drive import Drive

Run = Callable[..., Result]
TIME = 1_600_000_000_123_456_000
NAMES = [
    "a.txt",
    " outer ",
    "日本語",
    "odd \\ name.tar.gz",
    "-rf",
    "CON",
    "a" * 255,
    "é",
]


@pytest.fixture
def run(app: Flask, drive: Drive) -> Run:
    def call(*arguments: str, user: str = "alice") -> Result:
        return app.test_cli_runner().invoke(
            args=["files", "export", *arguments, "--user", user]
        )

    return call


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


def tree(top: Path) -> dict[str, tuple[bytes | None, int]]:
    """Return what a folder holds: names with bytes and times; folders have none."""
    return {
        str(path.relative_to(top)): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else (None, 0)
        for path in sorted(top.rglob("*"))
    }


def test_what_went_in_comes_out(
    run: Run, app: Flask, drive: Drive, tmp_path: Path, target: Path
) -> None:
    """Import and export give the same tree: odd names, bytes, times, empty folders."""
    source = tmp_path / "in"
    (source / "empty").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        folder = source / f"{number} {name[:40]}"
        folder.mkdir()
        for size in (0, 10 + number, 300_000):
            path = folder / (name if size == 0 else f"{size}")
            path.write_bytes(os.urandom(size))
            os.utime(path, ns=(TIME, TIME + number * 1000))
    arguments = ["files", "import", str(source), "--user", "alice"]
    assert app.test_cli_runner().invoke(args=arguments).exit_code == 0
    result = run("/", str(target))
    assert result.exit_code == 0, result.output
    assert f"{len(NAMES) * 3} files" in result.output
    assert f"{len(NAMES) + 1} new folders" in result.output
    assert tree(target) == tree(source)


@pytest.mark.sqlite
def test_one_folder_by_its_path(run: Run, drive: Drive, target: Path) -> None:
    """The path begins at the top; a file, or nothing, is no folder."""
    drive.file("c", b"C", folder=drive.folder("2024", drive.folder("Photos")))
    drive.file("top")
    assert run("/Photos/2024", str(target)).exit_code == 0
    assert [path.name for path in target.rglob("*")] == ["c"]
    for wrong in ("/Photos/2025", "/top", "/Photos/../top"):
        result = run(wrong, str(target / "other"))
        assert result.exit_code == 1
        assert "Error: " in result.output
        assert not (target / "other").exists()
    assert run("/", str(target), user="nobody").exit_code == 1


def test_it_can_be_repeated_and_never_overwrites(
    run: Run, drive: Drive, target: Path
) -> None:
    """The same is passed over, what differs stays, and --replace says otherwise."""
    drive.file("a", b"ours")
    drive.file("b", b"B")
    assert run("/", str(target)).exit_code == 0
    again = run("/", str(target))
    assert again.exit_code == 0
    assert "2 files were there already" in again.output
    (target / "a").write_bytes(b"mine")
    os.utime(target / "a", ns=(TIME, TIME))
    result = run("/", str(target))
    assert result.exit_code == 1
    assert "a: Something else has this name" in result.output
    assert (target / "a").read_bytes() == b"mine"
    assert run("/", str(target), "--replace").exit_code == 0
    assert (target / "a").read_bytes() == b"ours"


@pytest.mark.sqlite
def test_a_name_that_is_taken_meanwhile_stays(
    app: Flask, drive: Drive, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the rename."""
    drive.file("a", b"ours")
    real, fired = exporter.Place.publish, []

    def publish(self: Any, *arguments: Any, **named: Any) -> None:
        fired.append(1)
        (target / "a").write_bytes(b"mine")
        real(self, *arguments, **named)

    monkeypatch.setattr(exporter.Place, "publish", publish)
    with app.app_context():
        tally = Exporter(drive.user_id).run("/", target)
    assert fired
    assert len(tally.failed) == 1
    assert (target / "a").read_bytes() == b"mine"
    assert os.listdir(target) == ["a"]


@pytest.mark.sqlite
@pytest.mark.parametrize("option", [[], ["--replace"]])
def test_links_in_the_target_are_never_followed(
    run: Run, drive: Drive, tmp_path: Path, target: Path, option: list[str]
) -> None:
    """Neither one that stands for a folder nor one that stands for a file."""
    drive.file("inside", b"x", folder=drive.folder("folder"))
    drive.file("file", b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    target.mkdir()
    (target / "folder").symlink_to(outside)
    (target / "file").symlink_to(outside / "made")
    result = run("/", str(target), *option)
    assert result.exit_code == 1
    assert os.listdir(outside) == []
    assert (target / "folder").is_symlink()
    assert (target / "file").is_symlink() is not bool(option)


@pytest.mark.sqlite
def test_a_link_that_takes_the_place_of_a_folder_is_not_followed(
    run: Run,
    drive: Drive,
    tmp_path: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look and the opening."""
    drive.file("inside", b"x", folder=drive.folder("folder"))
    outside = tmp_path / "outside"
    outside.mkdir()
    real, fired = os.mkdir, []

    def mkdir(path: Any, *arguments: Any, **named: Any) -> None:
        real(path, *arguments, **named)
        if path == "folder":
            fired.append(path)
            (target / "folder").rmdir()
            (target / "folder").symlink_to(outside)

    monkeypatch.setattr(exporter.os, "mkdir", mkdir)
    result = run("/", str(target))
    assert fired
    assert result.exit_code == 1
    assert os.listdir(outside) == []


@pytest.mark.sqlite
def test_what_cannot_be_read_is_listed_and_the_rest_is_written(
    run: Run, app: Flask, drive: Drive, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a file, too: no part of it stays."""
    for name in ("a", "b", "c"):
        drive.file(name, name.encode() * 10)
    with app.app_context():
        bad = db.session.scalar(select(Entry.blob_id).where(Entry.name == "b"))
        release()
    real, fired = blobs.Reading.chunks, []

    def chunks(self: Any, *arguments: Any) -> Any:
        if self._ref.blob == bad:
            fired.append(1)
            yield b"bbb"
            raise BlobDamaged("It can't be rebuilt.")
        yield from real(self, *arguments)

    monkeypatch.setattr(blobs.Reading, "chunks", chunks)
    result = run("/", str(target))
    assert fired
    assert result.exit_code == 1
    assert "b: It can't be rebuilt." in result.output
    assert "1 could not be written" in result.output
    assert sorted(os.listdir(target)) == ["a", "c"]


@pytest.mark.sqlite
def test_bytes_that_differ_from_the_noted_digest_are_not_written(
    run: Run, app: Flask, drive: Drive, target: Path
) -> None:
    """Every unit is right, and yet it is another file."""
    drive.file("a", b"A")
    with app.app_context(), transaction() as session:
        session.execute(update(Blob).values(sha256=bytes(32)))
    result = run("/", str(target))
    assert result.exit_code == 1
    assert "SHA-256" in result.output
    assert os.listdir(target) == []


@pytest.mark.sqlite
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSPC])
def test_what_the_target_cannot_take(
    run: Run, drive: Drive, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A name is reported; without room there is no point in going on."""
    for name in ("a", "b:", "c"):
        drive.file(name, b"x")
    real, fired = exporter.Place.publish, []

    def publish(self: Any, temporary: str, name: str, **named: Any) -> None:
        if name == "b:":
            fired.append(name)
            raise OSError(code, os.strerror(code))
        real(self, temporary, name, **named)

    monkeypatch.setattr(exporter.Place, "publish", publish)
    result = run("/", str(target))
    assert fired
    assert result.exit_code == 1
    stops = code == errno.ENOSPC
    assert ("Stopped at" in result.output) is stops
    assert ("can't take this name" in result.output) is not stops
    assert sorted(os.listdir(target)) == (["a"] if stops else ["a", "c"])


@pytest.mark.sqlite
@pytest.mark.parametrize("option", [[], ["--replace"]])
def test_two_names_that_are_one_in_the_target_are_not_mixed_up(
    run: Run, drive: Drive, target: Path, monkeypatch: pytest.MonkeyPatch, option: Any
) -> None:
    """As on a file system that ignores case: the first stays, the other is told."""
    drive.file("A", b"first")
    drive.file("a", b"second")
    drive.file("in", b"x", folder=drive.folder("Dir"))
    drive.file("other", b"x", folder=drive.folder("dir"))
    real = {name: getattr(os, name) for name in ("stat", "mkdir", "open")}

    def folded(name: str) -> Any:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if named.get("dir_fd") is not None and isinstance(path, str):
                path = path.lower()
            return real[name](path, *arguments, **named)

        return call

    for name in real:
        monkeypatch.setattr(exporter.os, name, folded(name))
    publish = exporter.Place.publish
    monkeypatch.setattr(
        exporter.Place,
        "publish",
        lambda self, temporary, name, **named: publish(
            self, temporary, name.lower(), **named
        ),
    )
    result = run("/", str(target), *option)
    assert result.exit_code == 1
    assert result.output.count("takes this name for the same") == 2
    assert sorted(os.listdir(target)) == ["a", "dir"]
    assert len(os.listdir(target / "dir")) == 1


@pytest.mark.sqlite
def test_what_is_in_the_trash_stays_there(run: Run, drive: Drive, target: Path) -> None:
    """And what belongs to somebody else is not there at all."""
    gone = drive.file("gone", b"x")
    drive.file("kept", b"x")
    assert drive.post(f"/files/file/{gone}/delete").status_code < 400
    assert run("/", str(target)).exit_code == 0
    assert os.listdir(target) == ["kept"]


@pytest.mark.sqlite
def test_a_target_that_cannot_be_made(run: Run, drive: Drive, tmp_path: Path) -> None:
    """It says so and ends."""
    (tmp_path / "file").write_bytes(b"")
    result = run("/", str(tmp_path / "file" / "below"))
    assert result.exit_code == 1
    assert "Stopped at" in result.output
