"""U17: what several people (or tabs) do to one tree at the same moment."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from files import quota, tree
from storage import maps
from storage.db import db, transaction
from support.drive import Drive
from support.site import until


def at_once(
    app: Flask, drive: Drive, calls: list[tuple[str, dict[str, Any]]]
) -> list[int]:
    """POST all of these at the same moment, each from a connection of its own."""
    statuses = [0] * len(calls)
    start = threading.Barrier(len(calls))

    def post(number: int, path: str, fields: dict[str, Any]) -> None:
        browser = app.test_client()
        browser.set_cookie("holdfast", drive.person.cookie())
        start.wait()
        answer = browser.post(
            path,
            data=fields,
            headers={"X-CSRFToken": drive._token, "Accept": "application/json"},
        )
        statuses[number] = answer.status_code

    threads = [
        threading.Thread(target=post, args=(number, *call))
        for number, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_two_renames_to_one_name(drive: Drive, app: Flask) -> None:
    for n in range(4):
        ids = [drive.file(f"{n}-{m}") for m in range(4)]
        fields = {"name": f"{n}-wanted"}
        calls = [(f"/files/file/{one}/rename", fields) for one in ids]
        assert sorted(at_once(app, drive, calls)) == [200, 409, 409, 409]


def test_two_folders_of_one_name(drive: Drive, app: Flask) -> None:
    for n in range(4):
        fields = {"name": f"{n}"}
        calls = [(f"/files/folder/{drive.root}/folders", fields)] * 4
        assert sorted(at_once(app, drive, calls)) == [201, 409, 409, 409]


def test_two_folders_into_each_other(drive: Drive, app: Flask) -> None:
    for n in range(4):
        one, two = drive.folder(f"{n}a"), drive.folder(f"{n}b")
        calls = [
            (f"/files/folder/{one}/move", {"folder": two}),
            (f"/files/folder/{two}/move", {"folder": one}),
        ]
        assert sorted(at_once(app, drive, calls)) == [200, 409]


def test_deleting_and_moving_into_it(drive: Drive, app: Flask) -> None:
    for n in range(4):
        target, file = drive.folder(f"{n}"), drive.file(f"{n}.txt", b"x")
        calls = [
            (f"/files/file/{file}/move", {"folder": target}),
            (f"/files/folder/{target}/delete", {}),
        ]
        moved, deleted = at_once(app, drive, calls)
        assert deleted == 200
        assert moved in (200, 404)
        if moved == 404:
            assert drive.read(file).data == b"x"


def test_purging_and_restoring(drive: Drive, app: Flask) -> None:
    for n in range(4):
        folder = drive.folder(f"{n}")
        file = drive.file("a", b"x", folder)
        drive.post(f"/files/folder/{folder}/delete")
        calls = [
            (f"/files/folder/{folder}/purge", {}),
            (f"/files/folder/{folder}/restore", {}),
        ]
        purged, restored = at_once(app, drive, calls)
        assert (purged, restored) in ((200, 404), (409, 200))
        assert drive.read(file).status_code == (200 if restored == 200 else 404)


def test_purging_twice_gives_the_room_back_once(drive: Drive, app: Flask) -> None:
    file = drive.file("a", b"x" * 100)
    drive.post(f"/files/file/{file}/delete")
    calls = [(f"/files/file/{file}/purge", {})] * 4 + [("/files/trash/purge", {})] * 2
    statuses = at_once(app, drive, calls)
    assert set(statuses) <= {200, 404}
    # The fixture checks the room against what is stored.


def test_the_first_visits_make_one_top_folder(
    app: Flask, make_user: Callable[..., Any]
) -> None:
    person = make_user("carol")
    roots = []
    start = threading.Barrier(5)

    def visit() -> None:
        browser = app.test_client()
        browser.set_cookie("holdfast", person.cookie())
        start.wait()
        roots.append(browser.get("/files/").text.partition("data-folder-id=")[2][:30])

    threads = [threading.Thread(target=visit) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(roots)) == 1


WAITING = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def _change_tree(session: tree.AnySession, owner_id: int) -> None:
    user = tree.lock_owner(session, owner_id)
    quota.charge(session, user, 1)
    quota.charge(session, user, -1)


def _change_map(session: tree.AnySession, _: int) -> None:
    maps.lock(session).touch()


@pytest.mark.postgresql
@pytest.mark.parametrize("change", [_change_tree, _change_map])
def test_nobody_is_overtaken_by_who_came_later(
    drive: Drive, app: Flask, change: Callable[[tree.AnySession, int], None]
) -> None:
    """However often the row that all of them wait for is changed meanwhile."""
    many, order = 30, list[int]()

    def change_twice(number: int) -> None:
        for _ in range(2):
            with app.app_context(), transaction() as session:
                change(session, drive.user_id)
                order.append(number)

    threads = [threading.Thread(target=change_twice, args=(n,)) for n in range(many)]
    with app.app_context(), transaction() as session:
        change(session, drive.user_id)
        with db.engine.connect() as link:
            other = link.execution_options(isolation_level="AUTOCOMMIT")
            for number, thread in enumerate(threads):
                thread.start()
                until(lambda n=number: other.scalar(WAITING) == n + 1, 30, 0.01)
    for thread in threads:
        thread.join()
    assert order[:many] == list(range(many))
