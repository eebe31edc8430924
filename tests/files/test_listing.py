"""Pages of a folder: every order, to the last row, at a cost that does not grow."""

import re
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from files import listing, queries, services
from files.listing import PAGE, Order
from files.models import FILE, FOLDER, Entry
from files.names import sort_key
from storage.db import db, release, transaction, utcnow
from support.drive import Drive, fill

COUNT = 250


@pytest.fixture
def folder(drive: Drive, app: Flask) -> str:
    """A folder with folders and files whose sizes and times are often equal."""
    made = drive.folder("many")
    fill(app, drive.user_id, made, (f"file {n}.txt" for n in range(COUNT)))
    with app.app_context(), transaction() as session:
        session.execute(
            Entry.__table__.insert(),
            [
                {
                    "owner_id": drive.user_id,
                    "parent_id": made,
                    "kind": FOLDER,
                    "name": f"Folder {n}",
                    "sort_key": sort_key(f"Folder {n}"),
                }
                for n in range(COUNT)
            ],
        )
        session.get_one(Entry, made).folders += COUNT
        start = utcnow()
        for n in range(5):
            third = Entry.name.like(f"%{n}%")
            changed = {"changed_at": start - timedelta(microseconds=n)}
            session.execute(
                update(Entry).where(Entry.parent_id == made, third).values(changed)
            )
    return made


KEYS: dict[str, Callable[[Any], Any]] = {
    "name": lambda row: sort_key(row.name),
    "size": lambda row: (row.size or 0, sort_key(row.name)),
    "date": lambda row: (row.changed_at, sort_key(row.name)),
}


ORDERS = [(s, d) for s in ("name", "size", "date") for d in ("asc", "desc")]


def test_pages_in_every_order_show_every_row_once(
    drive: Drive, app: Flask, folder: str
) -> None:
    for sort, direction in ORDERS:
        every_row_once(drive, app, folder, sort, direction)


def every_row_once(
    drive: Drive, app: Flask, folder: str, sort: str, direction: str
) -> None:
    rows = []
    url = f"/files/folder/{folder}?sort={sort}&direction={direction}"
    with app.test_request_context():
        order = Order(sort, direction)
        while True:
            page = queries.folder_page(drive.user_id, folder, order)
            rows += page.rows
            assert len(page.rows) <= PAGE
            if page.next_url is None:
                break
            after = page.next_url.partition("after=")[2]
            order = Order(sort, direction, after)
    reverse = direction == "desc"
    for kind, part in (("folder", rows[:COUNT]), ("file", rows[COUNT:])):
        assert len(part) == COUNT
        assert {row.kind for row in part} == {kind}
        assert part == sorted(part, key=KEYS[sort], reverse=reverse)
    assert len({row.id for row in rows}) == 2 * COUNT
    assert drive.get(url).status_code == 200


def test_the_pager_of_the_page_leads_to_the_end(drive: Drive, folder: str) -> None:
    names = drive.names(folder)
    assert len(names) == 2 * COUNT
    assert names[0] == "Folder 0"
    assert names[-1] == f"file {COUNT - 1}.txt"


def test_a_row_that_goes_meanwhile_does_not_break_the_pager(
    drive: Drive, app: Flask
) -> None:
    fill(app, drive.user_id, drive.root, (f"{n:03}" for n in range(PAGE + 5)))
    page = drive.page()
    last = page.rows[-1]
    drive.post(f"/files/file/{last['id']}/delete")
    assert page.next_url is not None
    assert drive.page(page.next_url).rows[0]["name"] == "100"


def test_a_page_whose_rows_all_went_leads_to_the_first(
    drive: Drive, app: Flask
) -> None:
    fill(app, drive.user_id, drive.root, (f"{n:03}" for n in range(PAGE + 2)))
    address = f"/files/folder/{drive.root}?sort=size&direction=desc"
    last = drive.page(address).next_url
    assert last is not None
    ids = [row["id"] for row in drive.page(last).rows]
    assert len(ids) == 2
    answer = drive.form("/files/selection/delete", entry=ids, next=last)
    assert (answer.status_code, answer.location) == (303, last)
    answer = drive.get(last)
    assert (answer.status_code, answer.location) == (302, address)
    page = drive.page(address)
    assert len(page.rows) == PAGE
    assert "moved to the trash" in page.text


def test_a_page_of_the_chooser_whose_folders_went_leads_to_the_first(
    drive: Drive, app: Flask
) -> None:
    file, owner = drive.file("a"), drive.user_id
    with app.app_context(), transaction() as session:
        made = [
            services.add_folder(session, owner, drive.root, f"{n:03}").id
            for n in range(PAGE + 1)
        ]
    first = f"/files/choose?entry={file}&at={drive.root}"
    last = drive.page(first).next_url
    assert last is not None
    assert "100" in drive.page(last).text
    drive.post("/files/selection/delete", entry=made[PAGE:])
    answer = drive.get(last)
    assert (answer.status_code, answer.location) == (302, first)


def test_no_link_makes_a_browser_keep_whatever_the_answer_is(drive: Drive) -> None:
    """Without a session it would be the sign-in page, under the name of the file."""
    file = drive.file("a.txt")
    for path in ("/files/", f"/files/file/{file}"):
        text = drive.get(path).text
        (link,) = re.findall(rf"<a [^>]*/files/file/{file}/download[^>]*>", text)
        assert re.search(r"\sdownload\b", link) is None
        assert " data-download" in link


def test_a_broken_link_to_more_rows_is_a_400(drive: Drive) -> None:
    for query in (
        "sort=owner",
        "direction=up",
        "after=x",
        "after=W10",
        "after=WzEsMiwzXQ",
        "after=eyJhIjoxfQ",
        "sort=size&after=WzEsbnVsbCwiYSJd",
        "sort=size&after=WzEsMWU1MDAsImEiXQ",
        "sort=date&after=WzEsIjIwMjYiLCJhIl0",
        "sort=date&after=WzEsIjAwMDEtMDEtMDFUMDA6MDA6MDArMTQ6MDAiLCJhIl0",
        "sort=size&after=WzEsdHJ1ZSwiYSJd",
        "after=WzAsbnVsbCwiXHVkODAwIl0",
        "after=W0luZmluaXR5LG51bGwsImEiXQ",
        "after=" + "a" * 3000,
    ):
        assert drive.get(f"/files/folder/{drive.root}?{query}").status_code == 400
        assert drive.get(f"/files/trash?{query}").status_code in (200, 400)


def test_every_page_comes_straight_out_of_an_index(app: Flask, folder: str) -> None:
    for sort, direction in ORDERS:
        straight_out_of_an_index(app, folder, sort, direction)


def straight_out_of_an_index(
    app: Flask, folder: str, sort: str, direction: str
) -> None:
    with app.app_context():
        order = Order(sort, direction)
        found, cursor = listing.records(db.session, folder, order)
        after = Order(sort, direction, cursor).start()[1]
        assert after is not None
        query = select(Entry.id).where(Entry.parent_id == folder)
        query = order.apply(query, FILE, after).limit(PAGE)
        sql = query.compile(db.engine, compile_kwargs={"literal_binds": False})
        release()
        plan = _plan(str(sql), sql.params)
    assert f"ix_entries_by_{sort}" in plan, plan
    assert "sort" not in plan.replace("sort_key", "").lower().replace("b-tree", ""), (
        plan
    )
    assert found


def _plan(sql: str, params: Any) -> str:
    """Return how the database would run the query when the table is large."""
    with db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            prefix = "EXPLAIN QUERY PLAN "
        else:
            connection.execute(text("ANALYZE entries"))
            # A folder of a few hundred rows would be read as a whole.
            connection.execute(text("SET enable_seqscan = off"))
            connection.execute(text("SET enable_bitmapscan = off"))
            prefix = "EXPLAIN "
        driver = _for_driver(connection.dialect.name, params)
        rows = connection.exec_driver_sql(prefix + sql, driver).all()
        return "\n".join(" ".join(map(str, row)) for row in rows)


def _for_driver(dialect: str, params: dict[str, Any]) -> Any:
    values = {
        key: value.replace(tzinfo=None)
        if dialect == "sqlite" and hasattr(value, "tzinfo")
        else value
        for key, value in params.items()
    }
    return values if dialect != "sqlite" else tuple(values.values())


def test_a_page_costs_the_same_in_any_folder(
    drive: Drive, app: Flask, database_kind: str
) -> None:
    small, large = drive.folder("small"), drive.folder("large")
    fill(app, drive.user_id, small, (f"{n}" for n in range(PAGE)))
    count = 20_000 if database_kind == "sqlite" else 5_000
    fill(app, drive.user_id, large, (f"{n}" for n in range(count)))

    def cost(folder: str) -> float:
        times = []
        with app.test_request_context():
            for _ in range(15):
                began = time.perf_counter()
                page = queries.folder_page(drive.user_id, folder, Order())
                times.append(time.perf_counter() - began)
                release()
            assert len(page.rows) == PAGE
        return statistics.median(times)

    cost(small)
    ratio = cost(large) / cost(small)
    # Reading all the rows would take very much longer; the bound is generous.
    assert ratio < 3, ratio
    assert drive.get(f"/files/folder/{large}").status_code == 200
    page = drive.page(f"/files/folder/{large}")
    assert f"{count:,}" in page.text or str(count) in page.text
