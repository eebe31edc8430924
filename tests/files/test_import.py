"""`flask files import`: whole trees, odd names included."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from files import importer
from files.importer import Importer
from support.drive import Drive
from support.people import PASSWORD

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask, drive: Drive) -> Run:
    def call(source: Path, *options: str, user: str = "alice") -> Result:
        arguments = ["files", "import", str(source), "--user", user, *options]
        return app.test_cli_runner().invoke(args=arguments)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "folder" / "日本語").mkdir(parents=True)
    (source / "empty folder").mkdir()
    (source / "a.txt").write_bytes(b"A")
    (source / "empty").write_bytes(b"")
    (source / "folder" / "b.bin").write_bytes(b"B" * 400_000)
    (source / "folder" / "日本語" / " odd \\ name.tar.gz").write_bytes(b"C")
    os.utime(source / "a.txt", ns=(0, 1_600_000_000_123_456_789))
    return source


def ids(drive: Drive, folder: str = "") -> dict[str, str]:
    page = drive.page(f"/files/folder/{folder or drive.root}")
    return {row["name"]: row["id"] for row in page.rows}


def test_a_tree_goes_in_as_it_is(run: Run, drive: Drive, tree: Path) -> None:
    result = run(tree)
    assert result.exit_code == 0, result.output
    assert "4 files" in result.output
    top = ids(drive)
    assert set(top) == {"folder", "empty folder", "a.txt", "empty"}
    inner = ids(drive, top["folder"])
    assert drive.read(inner["b.bin"]).data == b"B" * 400_000
    deep = ids(drive, inner["日本語"])
    assert drive.read(deep[" odd \\ name.tar.gz"]).data == b"C"
    assert drive.names(top["empty folder"]) == []


@pytest.mark.sqlite
def test_a_file_keeps_its_time(run: Run, drive: Drive, tree: Path) -> None:
    run(tree)
    text = drive.get(f"/files/file/{ids(drive)['a.txt']}").text
    moment = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert moment.strftime("%Y-%m-%dT%H:%M:%S") in text


def test_it_can_be_repeated(run: Run, drive: Drive, tree: Path) -> None:
    run(tree)
    (tree / "new").write_bytes(b"N")
    result = run(tree)
    assert result.exit_code == 0
    assert "1 files" in result.output
    assert "4 files were there already" in result.output
    assert "new" in drive.names()


def test_what_differs_is_reported_and_kept(run: Run, drive: Drive, tree: Path) -> None:
    run(tree)
    (tree / "a.txt").write_bytes(b"changed")
    result = run(tree)
    assert result.exit_code == 1
    assert "a.txt: There is already a file" in result.output
    assert drive.read(ids(drive)["a.txt"]).data == b"A"
    result = run(tree, "--replace")
    assert result.exit_code == 0
    assert drive.read(ids(drive)["a.txt"]).data == b"changed"


@pytest.mark.sqlite
def test_into_a_folder_that_is_made(run: Run, drive: Drive, tree: Path) -> None:
    assert run(tree, "--into", "deep/er").exit_code == 0
    assert drive.names() == ["deep"]
    inner = ids(drive, ids(drive)["deep"])["er"]
    assert "a.txt" in drive.names(inner)
    assert run(tree, "--into", "deep/er").exit_code == 0
    assert run(tree, "--into", "deep/../x").exit_code == 1


@pytest.mark.sqlite
def test_names_that_cannot_be_kept_are_reported_and_the_rest_goes_in(
    run: Run, drive: Drive, tree: Path
) -> None:
    for name in (b"bad\nname", b"not \xff text", "a\u202eb".encode()):
        (tree / os.fsdecode(name)).write_bytes(b"x")
    (tree / os.fsdecode(b"bad\x01folder")).mkdir()
    (tree / os.fsdecode(b"bad\x01folder") / "inside").write_bytes(b"x")
    result = run(tree)
    assert result.exit_code == 1
    assert "4 could not be brought in" in result.output
    assert "control characters" in result.output
    assert "bytes that are not text" in result.output
    assert "direction of text" in result.output
    assert "\u202e" not in result.output
    assert set(ids(drive)) == {"folder", "empty folder", "a.txt", "empty"}


@pytest.mark.sqlite
def test_two_spellings_of_one_name_are_not_merged(
    run: Run, drive: Drive, tree: Path
) -> None:
    for name in ("\u00e9", "e\u0301"):
        (tree / name).write_bytes(b"same size")
        os.utime(tree / name, ns=(0, 0))
    result = run(tree)
    assert result.exit_code == 1
    assert "composed" in result.output


@pytest.mark.sqlite
def test_links_and_special_files_are_left_out(
    run: Run, drive: Drive, tree: Path
) -> None:
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "folder link").symlink_to("/etc")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as special:
        special.bind(str(tree / "socket"))
        result = run(tree)
    assert result.exit_code == 0
    assert "4 left out" in result.output
    assert "it is a link" in result.output
    assert set(ids(drive)) == {"folder", "empty folder", "a.txt", "empty"}


@pytest.mark.sqlite
def test_a_folder_where_a_file_is(run: Run, drive: Drive, tree: Path) -> None:
    drive.file("folder")
    drive.folder("a.txt")
    result = run(tree)
    assert result.exit_code == 1
    assert "2 could not be brought in" in result.output


@pytest.mark.sqlite
def test_nobody_is_told_clearly(run: Run, tree: Path) -> None:
    result = run(tree, user="nobody")
    assert result.exit_code == 1
    assert "no user" in result.output
    assert run(tree / "missing").exit_code == 2


@pytest.mark.sqlite
def test_the_quota_stops_it(make_app: Callable[..., Flask], tree: Path) -> None:
    from auth.services import create_user

    app = make_app(DEFAULT_QUOTA_BYTES="1000")
    with app.app_context():
        create_user("alice", PASSWORD)
    result = app.test_cli_runner().invoke(
        args=["files", "import", str(tree), "--user", "alice"]
    )
    assert result.exit_code == 1
    assert "Stopped at" in result.output
    assert "you have" in result.output


@pytest.mark.sqlite
@pytest.mark.parametrize("change", [b"longer than before", b""])
def test_a_file_that_changes_under_the_reader_is_reported(
    app: Flask,
    drive: Drive,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: bytes,
) -> None:
    opened = importer._opened

    @contextmanager
    def changing(path: Path) -> Iterator[Any]:
        with opened(path) as (stream, facts):
            if path.name == "a.txt":
                path.write_bytes(change)
            yield stream, facts

    monkeypatch.setattr(importer, "_opened", changing)
    with app.app_context():
        tally = Importer(drive.user_id).run(tree)
    assert len(tally.failed) == 1
    assert "changed while it was read" in tally.failed[0]
    assert "a.txt" not in drive.names()
