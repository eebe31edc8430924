"""The trash: into it, back out of it, and away for good."""

from datetime import timedelta
from random import Random

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from files import trash
from files.models import FILE, Entry
from storage.db import db, release, transaction, utcnow
from storage.models import Blob, BlobState
from support.clock import Clock
from support.drive import Drive, Statements, code, fill


def test_delete_and_restore_a_file(drive: Drive) -> None:
    folder = drive.folder("folder")
    file = drive.file("a", b"12", folder)
    answer = drive.post(f"/files/file/{file}/delete")
    assert answer.get_json() == {
        "id": file,
        "kind": "file",
        "name": "a",
        "folder": None,
    }
    assert drive.names(folder) == []
    assert [row["name"] for row in drive.trash()] == ["a"]
    assert drive.read(file).status_code == 404
    assert drive.post(f"/files/file/{file}/restore").get_json()["folder"] == folder
    assert drive.read(file).data == b"12"
    assert drive.trash() == []


def test_a_folder_goes_and_comes_with_everything_below(drive: Drive) -> None:
    outer = drive.folder("outer")
    inner = drive.folder("inner", outer)
    file = drive.file("a", b"12", inner)
    drive.post(f"/files/folder/{outer}/delete")
    for path in (f"/files/folder/{outer}", f"/files/folder/{inner}"):
        assert drive.get(path).status_code == 404
    assert drive.read(file).status_code == 404
    assert drive.put("b", b"", inner).status_code == 404
    # What lies inside is not in the trash by itself.
    assert drive.post(f"/files/file/{file}/restore").status_code == 404
    assert drive.post(f"/files/file/{file}/purge").status_code == 404
    drive.post(f"/files/folder/{outer}/restore")
    assert drive.read(file).data == b"12"


def test_doing_it_twice_is_harmless(drive: Drive) -> None:
    file = drive.file("a", b"12")
    for verb in ("delete", "delete", "restore", "restore"):
        assert drive.post(f"/files/file/{file}/{verb}").status_code == 200
    assert drive.names() == ["a"]


def test_restoring_keeps_both(drive: Drive) -> None:
    first = drive.file("a.txt", b"1")
    drive.post(f"/files/file/{first}/delete")
    drive.file("a.txt", b"2")
    answer = drive.form(f"/files/file/{first}/restore")
    assert answer.status_code == 303
    assert "a (2).txt" in drive.get(answer.location).text
    assert drive.names() == ["a (2).txt", "a.txt"]
    assert drive.read(first).data == b"1"


def test_restoring_to_the_top_when_the_old_place_is_gone(drive: Drive) -> None:
    for gone in ("trashed", "purged", "above"):
        outer = drive.folder(f"outer {gone}")
        inner = drive.folder("inner", outer)
        file = drive.file(gone, b"1", inner)
        drive.post(f"/files/file/{file}/delete")
        place = outer if gone == "above" else inner
        drive.post(f"/files/folder/{place}/delete")
        if gone == "purged":
            assert drive.post(f"/files/folder/{place}/purge").status_code == 200
        answer = drive.form(f"/files/file/{file}/restore")
        text = drive.get(answer.location).text
        assert "Its old folder is gone" in text
        assert gone in drive.names()


@pytest.mark.sqlite
def test_what_is_said_of_many_entries_fits_into_the_cookie(drive: Drive) -> None:
    """A page of the trash has a hundred of them, and a browser drops over 4 KiB."""
    random = Random(7)
    letters = [chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(200)]
    ids = [drive.folder("".join(random.choices(letters, k=80))) for _ in range(40)]
    for verb in ("delete", "restore"):
        answer = drive.form(f"/files/selection/{verb}", entry=ids)
        (cookie,) = answer.headers.getlist("Set-Cookie")
        assert len(cookie) < 4000
    assert "35 more are back" in drive.get(answer.location).text


def test_deleting_offers_to_undo_it(drive: Drive) -> None:
    file = drive.file("a")
    answer = drive.form(f"/files/file/{file}/delete")
    assert answer.location == f"/files/folder/{drive.root}"
    text = drive.get(answer.location).text
    assert "Undo" in text
    assert file in text


@pytest.mark.sqlite
def test_far_too_many_to_undo_are_found_in_the_trash(drive: Drive, app: Flask) -> None:
    """A cookie with all of them would be dropped, and nothing be said at all."""
    fill(app, drive.user_id, drive.root, (f"{number}" for number in range(101)))
    with app.app_context():
        ids = list(db.session.scalars(select(Entry.id).where(Entry.kind == FILE)))
    for count, offered in ((100, True), (1, True), (101, False)):
        answer = drive.form("/files/selection/delete", entry=ids[:count])
        assert len("".join(answer.headers.getlist("Set-Cookie"))) < 4000
        text = drive.get(answer.location).text
        assert "moved to the trash" in text
        assert ("Undo" in text) is offered
        drive.form("/files/selection/restore", entry=ids[:count])


def test_only_what_is_in_the_trash_can_be_purged(drive: Drive) -> None:
    file = drive.file("a", b"1")
    answer = drive.post(f"/files/file/{file}/purge")
    assert (answer.status_code, code(answer)) == (409, "conflict")
    assert drive.read(file).data == b"1"


def test_a_form_asks_before_it_purges(drive: Drive) -> None:
    file = drive.file("a", b"1")
    drive.post(f"/files/file/{file}/delete")
    answer = drive.form(f"/files/file/{file}/purge")
    assert answer.status_code == 200
    assert file in answer.text
    assert len(drive.trash()) == 1
    answer = drive.form("/files/selection/purge", entry=[file], confirm="yes")
    assert answer.status_code == 303
    assert drive.trash() == []


def states(app: Flask) -> dict[str, int]:
    with app.app_context():
        counted = select(Blob.state, func.count()).group_by(Blob.state)
        found = {str(row[0]): int(row[1]) for row in db.session.execute(counted)}
        release()
        return found


def test_a_purge_gives_room_back_and_lets_the_bytes_go(
    drive: Drive, app: Flask
) -> None:
    folder = drive.folder("folder")
    drive.file("a", b"1234", folder)
    drive.file("b", b"56", folder)
    keep = drive.file("keep", b"7")
    drive.post(f"/files/folder/{folder}/delete")
    assert states(app) == {BlobState.LIVE: 3}
    answer = drive.post(f"/files/folder/{folder}/purge")
    assert answer.get_json() == {"purged": 3}
    assert states(app) == {BlobState.LIVE: 1, BlobState.TOMBSTONED: 2}
    assert drive.post(f"/files/folder/{folder}/restore").status_code == 404
    assert drive.read(keep).data == b"7"


def test_emptying_the_trash_asks_first_and_takes_it_all(drive: Drive) -> None:
    for name in "abc":
        drive.post(f"/files/file/{drive.file(name)}/delete")
    keep = drive.file("keep")
    assert drive.form("/files/trash/purge").status_code == 200
    assert len(drive.trash()) == 3
    assert drive.form("/files/trash/purge", confirm="yes").status_code == 303
    assert drive.trash() == []
    assert drive.read(keep).status_code == 200


def test_a_selection_is_deleted_and_restored(drive: Drive) -> None:
    ids = [drive.file("a"), drive.folder("b")]
    answer = drive.post("/files/selection/delete", entry=ids)
    assert [one["id"] for one in answer.get_json()["entries"]] == ids
    assert drive.names() == []
    assert drive.post("/files/selection/restore", entry=ids).status_code == 200
    assert drive.names() == ["b", "a"]


def test_the_trash_comes_in_pages_the_last_one_first(drive: Drive, app: Flask) -> None:
    fill(app, drive.user_id, drive.root, (f"{n}" for n in range(230)))
    page = drive.page()
    order: list[str] = []
    while page.rows:
        ids = [row["id"] for row in page.rows]
        order += [row["name"] for row in page.rows]
        drive.post("/files/selection/delete", entry=ids)
        page = drive.page()
    seen = []
    page = drive.page("/files/trash")
    while True:
        seen += [row["name"] for row in page.rows]
        if page.next_url is None:
            break
        page = drive.page(page.next_url)
    assert sorted(seen) == sorted(order)
    assert len(seen) == 230


def test_a_page_of_the_trash_whose_rows_all_went_leads_to_the_first(
    drive: Drive, app: Flask
) -> None:
    fill(app, drive.user_id, drive.root, (f"{n}" for n in range(101)))
    for _ in range(2):
        ids = [row["id"] for row in drive.page().rows]
        drive.post("/files/selection/delete", entry=ids)
    last = drive.page("/files/trash").next_url
    assert last is not None
    rows = drive.page(last).rows
    drive.post("/files/selection/purge", entry=[row["id"] for row in rows])
    answer = drive.get(last)
    assert (answer.status_code, answer.location) == (302, "/files/trash")
    assert len(drive.trash()) == 100


def test_what_lay_too_long_is_purged(drive: Drive, app: Flask) -> None:
    old, young = drive.file("old", b"1"), drive.file("young", b"2")
    drive.post("/files/selection/delete", entry=[old, young])
    with app.app_context():
        assert trash.expire() == 0
        with transaction() as session:
            session.execute(
                update(Entry)
                .where(Entry.id == old)
                .values(trashed_at=utcnow() - timedelta(days=31))
            )
        assert trash.expire() == 1
        assert trash.expire() == 0
    assert [row["name"] for row in drive.trash()] == ["young"]


def test_purging_thousands_of_files_takes_a_handful_of_statements(
    drive: Drive, app: Flask
) -> None:
    folder = drive.folder("many")
    fill(app, drive.user_id, folder, (f"{n}" for n in range(5_000)))
    drive.post(f"/files/folder/{folder}/delete")
    with Statements(app) as statements:
        answer = drive.post(f"/files/folder/{folder}/purge")
    assert answer.get_json() == {"purged": 5_001}
    assert len(statements.seen) < 30
    assert states(app) == {BlobState.TOMBSTONED: 5_000}


@pytest.mark.sqlite
def test_a_clock_that_is_set_empties_no_trash(
    app: Flask, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day forward on the last day, or a day back when it was deleted."""
    wall = Clock(monkeypatch)
    first, second = drive.file("a"), drive.file("b")
    drive.post(f"/files/file/{first}/delete")
    wall.jump(days=-1)
    drive.post(f"/files/file/{second}/delete")
    wall.right()
    with app.app_context(), transaction() as session:
        for entry in session.scalars(
            select(Entry).where(Entry.trashed_at.is_not(None))
        ):
            entry.trashed_at -= timedelta(days=29, hours=12)
    wall.jump(days=1)
    with app.app_context():
        assert trash.expire() == 0
    wall.right()
    assert {row["id"] for row in drive.trash()} == {first, second}
    with app.app_context():
        assert trash.expire() == 0
