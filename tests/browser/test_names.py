"""Names that try to be markup or templates stay what they are: text."""

import pytest
from playwright.sync_api import expect

from support.desk import Desk
from support.soak import drawn

NAMES = [
    "<script>alert(1)<",
    "{{7*7}}.txt",
    "' onerror='alert(1)",
    '"><img src=x onerror=alert(1)>.txt',
    "=cmd().csv",
    "\u05de\u05e1\u05de\u05da \u05d7\u05e9\u05d5\u05d1.pdf",
    "a b #?%41&;.txt",
]


@pytest.mark.parametrize("name", drawn(NAMES, 3))
def test_a_name_is_only_text(desk: Desk, name: str) -> None:
    page = desk.page
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    desk.put((name, b"hello"))
    desk.expect_names([name])
    assert desk.row(name).locator("[data-open] bdi").inner_text() == name
    desk.row(name).locator("[data-open]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.input_value("#name") == name
    page.get_by_role("link", name="Move").click()
    expect(page.locator("h1")).to_contain_text(name)
    desk.go("/files/")
    desk.act(name, "Delete")
    page.locator(".toast-line", has_text=name).wait_for()
    desk.go("/files/trash")
    desk.expect_names([name])
    desk.act(name, "Delete for good")
    expect(page.locator(".doomed")).to_have_text(name)
    assert "49" not in page.inner_text("main")
    assert alerts == []
    assert page.locator("main script, main img").count() == 0


def test_a_folder_that_is_called_like_markup(desk: Desk) -> None:
    name = "<script>alert(1)<"
    desk.make_folder(name)
    desk.row(name).locator("[data-open]").click()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text(name)
    assert desk.page.title() == f"{name} · Holdfast"
    desk.put(("inside.txt", b"x"))
    expect(desk.page.locator("[data-live]")).to_contain_text("uploaded")
