"""Every page: no violation that axe finds, light and dark; and what a phone needs."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from support.desk import PHONE, Desk
from support.soak import drawn

# What can be touched must be 44 pixels in both directions; a link within a sentence
# is as tall as its line, and a box counts with its label.
SMALL = """() => [...document.querySelectorAll("a, button, summary, input, select")]
  .filter((item) => item.checkVisibility({ visibilityProperty: true }))
  .filter((item) => item.type !== "hidden" && !item.closest("p, dd, .skip"))
  .filter((item) => !item.closest("details:not([open]) > :not(summary)"))
  .map((item) => (item.type === "checkbox" ? item.closest("label") : item))
  .map((item) => [item.outerHTML.slice(0, 90), item.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.width < 43.9 || box.height < 43.9))
  .map(([text, box]) => `${Math.round(box.width)}x${Math.round(box.height)} ${text}`)
"""
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
STRANGER = ["/auth/login", "/auth/register"]
LONG = "a long name without any place to break it " * 5 + ".txt"
RTL = "\u05de\u05e1\u05de\u05da \u05d7\u05e9\u05d5\u05d1.pdf"


def check(page: Page, where: str) -> None:
    """Run axe over what is shown."""
    results = Axe().run(page)
    assert results.violations_count == 0, f"{where}\n{results.generate_report()}"


def furnish(desk: Desk) -> list[str]:
    """Put something everywhere, and return the addresses of all the pages."""
    desk.put(("notes.txt", b"n"), (LONG, b"l"), (RTL, b"r"), ("old.txt", b"o"))
    desk.make_folder("Box")
    desk.act("old.txt", "Delete")
    desk.page.locator(".toast-line").wait_for()
    identity = desk.row("notes.txt").get_attribute("data-id")
    folder = desk.row("Box").get_attribute("data-id")
    return [
        "/files/",
        f"/files/folder/{folder}",
        f"/files/file/{identity}",
        f"/files/folder/{folder}/details",
        f"/files/choose?entry={identity}",
        "/files/trash",
        "/auth/password",
        "/files/file/nothing-is-here-at-all/download",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_on_every_page(open_desk: Callable[..., Desk], scheme: str) -> None:
    desk = open_desk(color_scheme=scheme)
    for path in furnish(desk):
        desk.go(path)
        check(desk.page, f"{scheme} {path}")
    desk.go("/files/trash")
    desk.page.get_by_role("button", name="Empty the trash").click()
    check(desk.page, f"{scheme} confirm")
    desk.page.get_by_role("button", name="Delete for good").click()
    check(desk.page, f"{scheme} empty trash")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_signed_out(open_desk: Callable[..., Desk], scheme: str) -> None:
    desk = open_desk(register=False, color_scheme=scheme)
    for path in STRANGER:
        desk.go(path)
        check(desk.page, f"{scheme} {path}")
        desk.page.fill("#username", "nobody at all")
        desk.page.evaluate("document.querySelector('main form').noValidate = true")
        desk.page.click("main button[type=submit]")
        check(desk.page, f"{scheme} {path} refused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_on_the_array(
    open_desk: Callable[..., Desk], administrator: str, scheme: str
) -> None:
    desk = open_desk(register=False, color_scheme=scheme)
    desk.sign_in(administrator)
    desk.go("/array/")
    assert "Clean." in desk.page.inner_text("h1")
    check(desk.page, f"{scheme} array")


@pytest.mark.parametrize("scheme", drawn(["light", "dark"], 1))
def test_axe_on_what_opens(open_desk: Callable[..., Desk], scheme: str) -> None:
    desk = open_desk(color_scheme=scheme)
    desk.put(("a.txt", b"a"), ("b.txt", b"b"))
    page, press = desk.page, desk.page.keyboard.press
    check(page, "tray")
    desk.row("a.txt").locator("summary").click()
    check(page, "row menu")
    press("Escape")
    page.click(".account")
    check(page, "account menu")
    press("Escape")
    desk.row("a.txt").locator("[data-open]").focus()
    for key, what in (("F2", "rename"), ("?", "keys")):
        press(key)
        page.locator("dialog[open]").wait_for()
        check(page, what)
        press("Escape")
    press("Control+a")
    check(page, "selection")
    page.click("[data-act=move-selection]")
    page.locator("dialog[open]").wait_for()
    check(page, "chooser")
    press("Escape")
    desk.pick(("a.txt", b"again"))
    page.locator("dialog[open]").wait_for()
    check(page, "conflict")
    press("Escape")
    press("Escape")
    desk.row("b.txt").locator("[data-open]").focus()
    press("Delete")
    page.locator(".toast-line").wait_for()
    page.wait_for_timeout(200)
    check(page, "toast")


def test_a_phone_has_room_for_thumbs(
    open_desk: Callable[..., Desk], administrator: str
) -> None:
    desk = open_desk(viewport=PHONE, has_touch=True)
    for path in furnish(desk):
        desk.go(path)
        assert not desk.page.evaluate(TOO_WIDE), path
        assert desk.page.evaluate(SMALL) == [], path
    desk.go("/files/")
    desk.row("notes.txt").locator("input").check()
    assert desk.page.evaluate(SMALL) == [], "selection"
    assert not desk.page.evaluate(TOO_WIDE)
    expect_hidden = desk.page.locator("td.size:visible, td.changed:visible")
    assert expect_hidden.count() == 0
    desk.row("notes.txt").locator("summary").click()
    assert desk.page.evaluate(SMALL) == [], "menu"
    guest = open_desk(register=False, viewport=PHONE, has_touch=True)
    for path in STRANGER:
        guest.go(path)
        assert not guest.page.evaluate(TOO_WIDE), path
        assert guest.page.evaluate(SMALL) == [], path
    guest.sign_in(administrator)
    guest.go("/array/")
    assert not guest.page.evaluate(TOO_WIDE)
    assert guest.page.evaluate(SMALL) == []


def test_every_page_has_one_heading_and_landmarks(desk: Desk) -> None:
    for path in furnish(desk):
        desk.go(path)
        assert desk.page.locator("h1").count() == 1, path
        assert desk.page.get_by_role("main").count() == 1, path
        assert desk.page.get_by_role("navigation", name="Main").count() == 1, path
        assert " · Holdfast" in desk.page.title(), path
