"""A working day in the browser: upload, fetch, rename, move, delete, undo, purge."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

from support.desk import PASSWORD, Desk
from support.site import Site

KELP = os.urandom(300_000)


def test_register_and_arrive(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(register=False)
    desk.register()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("Files")
    assert desk.name in desk.page.inner_text(".account")


def test_an_empty_folder_says_what_to_do(desk: Desk) -> None:
    page = desk.page
    expect(page.get_by_text("Nothing is in here yet.")).to_be_visible()
    expect(page.locator("summary", has_text="Upload")).to_be_visible()
    expect(page.locator("summary", has_text="New folder")).to_be_visible()


def test_upload_by_picker_and_fetch(desk: Desk, tmp_path: Path) -> None:
    desk.put(("kelp.bin", KELP), ("empty.txt", b""))
    desk.expect_names(["empty.txt", "kelp.bin"])
    assert desk.row("kelp.bin").get_attribute("data-size") == "300000"
    assert desk.fetch("kelp.bin", tmp_path) == KELP
    assert "2 files" in desk.page.inner_text(".summary")
    expect(desk.page.locator("[data-live]")).to_have_text("2 files uploaded")


def test_the_picker_opens_from_the_button(desk: Desk) -> None:
    with desk.page.expect_file_chooser() as chooser:
        desk.page.click("[data-pick-files]")
    assert chooser.value.is_multiple()


def test_rename_keeps_the_focus(desk: Desk) -> None:
    desk.put(("draft.txt", b"one"))
    desk.act("draft.txt", "Rename")
    page = desk.page
    expect(page.locator("#rename-name")).to_be_focused()
    page.keyboard.type("final")
    page.keyboard.press("Enter")
    desk.row("final.txt").wait_for()
    expect(desk.row("final.txt").locator("[data-open]")).to_be_focused()


def test_forms_go_on_after_signing_in_in_another_tab(desk: Desk, site: Site) -> None:
    desk.put(("draft.txt", b"one"))
    desk.sign_in_elsewhere(site)
    desk.make_folder("Box")
    desk.act("draft.txt", "Rename")
    desk.page.fill("#rename-name", "final.txt")
    desk.page.keyboard.press("Enter")
    desk.row("final.txt").wait_for()


def test_a_refused_name_is_explained_in_the_dialog(desk: Desk) -> None:
    desk.put(("a.txt", b"a"), ("b.txt", b"b"))
    desk.act("a.txt", "Rename")
    desk.page.fill("#rename-name", "b.txt")
    desk.page.keyboard.press("Enter")
    problem = desk.page.locator("#rename-problem")
    expect(problem).to_be_visible()
    assert "b.txt" in problem.inner_text()
    assert desk.page.locator("#rename-name").get_attribute("aria-invalid") == "true"
    desk.page.keyboard.press("Escape")
    desk.expect_names(["a.txt", "b.txt"])


def test_what_became_of_a_lost_answer_is_not_made_up(desk: Desk) -> None:
    page = desk.page
    desk.put(("a.txt", b"a"))
    problem = page.locator("#rename-problem")

    def lose(route: Route) -> None:
        assert route.fetch().status == 200
        route.abort()

    def refuse(route: Route) -> None:
        route.fulfill(status=status, content_type="text/html", body="<h1>No</h1>")

    page.route("**/rename", lose)
    desk.act("a.txt", "Rename")
    page.fill("#rename-name", "b.txt")
    page.keyboard.press("Enter")
    expect(problem).to_contain_text("it is not known whether this was done")
    for status, said in ((502, "It is not known"), (413, "Nothing was changed")):
        page.unroute_all()
        page.route("**/rename", refuse)
        page.keyboard.press("Enter")
        expect(problem).to_contain_text(f"with an error ({status}). {said}")
    page.reload()
    desk.expect_names(["b.txt"])
    desk.errors.clear()


def test_move_a_selection_and_take_it_back(desk: Desk) -> None:
    desk.put(("a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"c"))
    desk.make_folder("Box")
    page = desk.page
    desk.row("a.txt").locator("input").check()
    desk.row("c.txt").locator("input").click(modifiers=["Shift"])
    expect(page.locator("[data-count]")).to_have_text("3 selected")
    page.click("[data-act=move-selection]")
    page.locator("dialog[open] .folder-list a", has_text="Box").click()
    expect(page.locator("dialog[open] [aria-current]")).to_have_text("Box")
    page.click("dialog[open] button[type=submit]")
    toast = page.locator(".toast-line", has_text="Moved 3 items to Box.")
    toast.wait_for()
    desk.expect_names(["Box"])
    toast.get_by_role("button", name="Undo").click()
    desk.row("c.txt").wait_for()
    desk.expect_names(["Box", "a.txt", "b.txt", "c.txt"])


def test_a_move_without_a_session_says_so(desk: Desk) -> None:
    page = desk.page
    desk.make_folder("Box")
    desk.make_folder("Shelf")
    cookies = page.context.cookies()
    page.context.clear_cookies()
    desk.act("Box", "Move")
    said = "You are not signed in any more. Sign in, then try again."
    expect(page.locator(".toast-line")).to_have_text(said)
    page.context.add_cookies(cookies)
    desk.act("Box", "Move")
    chooser = page.locator("dialog[open]")
    page.context.clear_cookies()
    chooser.get_by_role("link", name="Shelf").click()
    expect(chooser.locator("[data-problem]")).to_have_text(said)


def test_drag_rows_onto_a_folder_and_a_breadcrumb(desk: Desk) -> None:
    desk.put(("a.txt", b"a"))
    desk.make_folder("Box")
    page = desk.page
    desk.row("a.txt").locator("td.changed").drag_to(desk.row("Box"))
    page.locator(".toast-line", has_text="Moved “a.txt” to Box.").wait_for()
    desk.expect_names(["Box"])
    desk.enter("Box")
    desk.row("a.txt").locator("td.changed").drag_to(page.locator(".crumbs a").first)
    page.locator(".toast-line", has_text="to Files.").wait_for()
    desk.expect_names([])


def test_delete_and_undo(desk: Desk) -> None:
    desk.put(("a.txt", b"a"), ("b.txt", b"b"))
    desk.act("a.txt", "Delete")
    toast = desk.page.locator(".toast-line", has_text="“a.txt” is in the trash.")
    toast.wait_for()
    desk.expect_names(["b.txt"])
    toast.get_by_role("button", name="Undo").click()
    desk.row("a.txt").wait_for()
    expect(desk.row("a.txt").locator("[data-open]")).to_be_focused()


def test_restore_and_purge_from_the_trash(desk: Desk) -> None:
    page = desk.page
    desk.put(("keep.txt", b"keep"), ("lose.txt", b"lose"))
    desk.row("keep.txt").locator("input").check()
    desk.row("lose.txt").locator("input").check()
    page.click("[data-act=delete-selection]")
    page.locator(".toast-line", has_text="2 items are in the trash.").wait_for()
    page.get_by_role("link", name="Trash").click()
    desk.act("keep.txt", "Restore")
    expect(desk.row("keep.txt")).to_have_count(0)
    desk.act("lose.txt", "Delete for good")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        re.compile("for good"), use_inner_text=True
    )
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".empty .big")).to_have_text("The trash is empty.")
    desk.go("/files/")
    desk.expect_names(["keep.txt"])


def test_empty_the_whole_trash(desk: Desk) -> None:
    page = desk.page
    desk.put(("a.txt", b"a"))
    desk.act("a.txt", "Delete")
    page.locator(".toast-line").wait_for()
    desk.go("/files/trash")
    page.get_by_role("button", name="Empty the trash").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".empty .big")).to_have_text("The trash is empty.")


def test_the_last_page_may_become_empty(desk: Desk, site: Site) -> None:
    page = desk.page
    client = site.client().login(desk.name, PASSWORD)
    for number in range(101):
        client.put(client.root(), f"{number:03}.txt", b"").expect(201)
    desk.go("/files/")
    page.get_by_role("link", name="Next page").click()
    desk.expect_names(["100.txt"])
    desk.act("100.txt", "Delete")
    expect(page.locator("[data-rows] tbody tr")).to_have_count(100)
    assert desk.names()[0] == "000.txt"
    page.locator(".toast-line").get_by_role("button", name="Undo").click()
    desk.expect_names(["100.txt"])


def test_sorting_is_announced(desk: Desk) -> None:
    desk.put(("small 10.txt", b"1"), ("big 9.txt", b"22222"), ("small 9.txt", b"3"))
    desk.make_folder("Zoo")
    desk.expect_names(["Zoo", "big 9.txt", "small 9.txt", "small 10.txt"])
    head = desk.page.locator("th.size")
    desk.page.get_by_role("link", name="Size").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    desk.expect_names(["Zoo", "small 9.txt", "small 10.txt", "big 9.txt"])
    desk.page.get_by_role("link", name="Size").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert desk.names()[:2] == ["Zoo", "big 9.txt"]


def test_details_show_the_receipt(desk: Desk) -> None:
    desk.put(("plan.txt", b"abc"))
    desk.act("plan.txt", "Details")
    expect(desk.page.get_by_role("heading", level=1)).to_have_text("plan.txt")
    text = desk.page.inner_text("main")
    assert "3 bytes" in text
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in text
