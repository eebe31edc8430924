"""Everything by keys, and never while somebody is writing."""

import pytest
from playwright.sync_api import expect

from support.desk import Desk


@pytest.fixture
def keys(desk: Desk) -> Desk:
    """Three files, and the focus on the first."""
    desk.put(("a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"c"))
    desk.row("a.txt").locator("[data-open]").focus()
    return desk


def expect_focus(desk: Desk, name: str) -> None:
    """Wait until the row of this name has the focus: a dialog gives it back late."""
    script = """name => (
        document.activeElement.closest('tr')?.dataset.name ?? ''
    ) === name"""
    desk.page.wait_for_function(script, arg=name)


def test_arrows_move_and_space_selects(keys: Desk) -> None:
    press = keys.page.keyboard.press
    press("ArrowDown")
    expect_focus(keys, "b.txt")
    press("Space")
    expect(keys.row("b.txt").locator("input")).to_be_checked()
    press("End")
    expect_focus(keys, "c.txt")
    press("ArrowDown")
    expect_focus(keys, "c.txt")
    press("Shift+ArrowUp")
    expect(keys.page.locator("[data-count]")).to_have_text("2 selected")
    press("Home")
    expect_focus(keys, "a.txt")


def test_all_none_and_the_third_state(keys: Desk) -> None:
    press = keys.page.keyboard.press
    head = keys.page.locator("[data-pick-all]")
    press("Control+a")
    expect(keys.page.locator("[data-count]")).to_have_text("3 selected")
    expect(head).to_be_checked()
    keys.row("b.txt").locator("input").uncheck()
    assert head.evaluate("box => box.indeterminate") is True
    press("Escape")
    expect(keys.page.locator("tbody :checked")).to_have_count(0)
    expect(keys.page.locator(".selection-bar")).to_be_hidden()


def test_rename_delete_new_folder_and_up(keys: Desk) -> None:
    page, press = keys.page, keys.page.keyboard.press
    press("F2")
    expect(page.locator("#rename-name")).to_be_focused()
    press("Escape")
    expect_focus(keys, "a.txt")
    press("Delete")
    page.locator(".toast-line").wait_for()
    keys.expect_names(["b.txt", "c.txt"])
    expect_focus(keys, "b.txt")
    press("F7")
    expect(page.locator("#folder-name")).to_be_focused()
    page.keyboard.type("Box")
    press("Enter")
    keys.row("Box").wait_for()
    expect(keys.row("Box").locator("[data-open]")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Box")
    page.wait_for_load_state()  # the heading is there before the script is
    press("Alt+ArrowUp")
    expect(page.get_by_role("heading", level=1)).to_have_text("Files")


def test_help_opens_and_the_focus_returns(keys: Desk) -> None:
    keys.page.keyboard.press("?")
    expect(keys.page.locator("dialog[open]")).to_contain_text("Move to the trash")
    keys.page.keyboard.press("Escape")
    expect(keys.page.locator("dialog[open]")).to_have_count(0)
    expect_focus(keys, "a.txt")


def test_keys_stay_with_whoever_is_writing(keys: Desk) -> None:
    page = keys.page
    page.keyboard.press("F7")
    expect(page.locator("#folder-name")).to_be_focused()
    for key in ("a", "?", "Home", "Delete", "Control+a", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("tbody :checked")).to_have_count(0)
    keys.expect_names(["a.txt", "b.txt", "c.txt"])


def test_menus_by_keys(keys: Desk) -> None:
    page, press = keys.page, keys.page.keyboard.press
    keys.row("b.txt").locator("summary").focus()
    press("Enter")
    press("ArrowDown")
    assert "Download" in page.evaluate("document.activeElement.textContent")
    press("ArrowDown")
    assert "Rename" in page.evaluate("document.activeElement.textContent")
    press("Escape")
    expect(page.locator("details[open]")).to_have_count(0)
    expect_focus(keys, "b.txt")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_skip_link_comes_first(desk: Desk) -> None:
    desk.page.reload()
    desk.page.keyboard.press("Tab")
    expect(desk.page.locator(".skip")).to_be_focused()
    desk.page.keyboard.press("Enter")
    expect(desk.page.locator("main")).to_be_focused()


def test_click_ctrl_click_and_shift_click(keys: Desk) -> None:
    count = keys.page.locator("[data-count]")
    keys.row("a.txt").locator("td.changed").click()
    expect(count).to_have_text("1 selected")
    keys.row("c.txt").locator("td.changed").click(modifiers=["Control"])
    expect(count).to_have_text("2 selected")
    keys.row("a.txt").locator("td.changed").click()
    expect(count).to_have_text("1 selected")
    keys.row("c.txt").locator("td.changed").click(modifiers=["Shift"])
    expect(count).to_have_text("3 selected")
    assert keys.page.url.endswith("/files/")
