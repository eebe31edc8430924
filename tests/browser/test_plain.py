"""The same work with JavaScript off."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.desk import Desk

DATA = os.urandom(120_000)


@pytest.fixture
def plain(open_desk: Callable[..., Desk]) -> Desk:
    """Somebody whose browser runs no scripts."""
    return open_desk(java_script_enabled=False)


def upload(desk: Desk, folder: Path, *files: tuple[str, bytes]) -> None:
    """Send files by the plain form."""
    paths = []
    for name, data in files:
        (folder / name).write_bytes(data)
        paths.append(folder / name)
    page = desk.page
    page.locator("summary", has_text="Upload").click()
    page.set_input_files("#upload-files", paths)
    page.locator("[data-upload-form] button").click()
    for name, _ in files:
        desk.row(name).wait_for()


def make_folder(desk: Desk, name: str) -> None:
    """Make a folder by the plain form."""
    desk.page.locator("summary", has_text="New folder").click()
    desk.page.fill("#folder-name", name)
    desk.page.get_by_role("button", name="Create folder").click()
    expect(desk.told()).to_contain_text(name)


def test_upload_fetch_rename(plain: Desk, tmp_path: Path) -> None:
    upload(plain, tmp_path, ("one.bin", DATA), ("two.bin", b"two"))
    assert plain.fetch("one.bin", tmp_path) == DATA
    upload(plain, tmp_path, ("one.bin", b"again"))
    plain.expect_names(["one (2).bin", "one.bin", "two.bin"])
    plain.act("two.bin", "Rename")
    plain.page.fill("#name", "three.bin")
    plain.page.get_by_role("button", name="Rename").click()
    expect(plain.told()).to_contain_text("three.bin")
    plain.go("/files/")
    assert "three.bin" in plain.names()


def test_folder_selection_move_delete_undo(plain: Desk, tmp_path: Path) -> None:
    page = plain.page
    upload(plain, tmp_path, ("a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"c"))
    make_folder(plain, "Box")
    plain.go("/files/")
    expect(page.locator(".selection-bar")).to_be_hidden()
    plain.row("a.txt").locator("input").check()
    plain.row("b.txt").locator("input").check()
    page.locator(".selection-bar").get_by_role("button", name="Move").click()
    page.locator(".folder-list a", has_text="Box").click()
    page.get_by_role("button", name="Move here").click()
    expect(plain.told()).to_contain_text("moved")
    plain.go("/files/")
    plain.expect_names(["Box", "c.txt"])
    plain.act("c.txt", "Delete")
    expect(page.locator(".notice")).to_contain_text("c.txt")
    page.get_by_role("button", name="Undo").click()
    expect(plain.told()).to_contain_text("is back")
    plain.go("/files/")
    plain.expect_names(["Box", "c.txt"])
    plain.enter("Box")
    plain.expect_names(["a.txt", "b.txt"])


def test_trash_restore_purge(plain: Desk, tmp_path: Path) -> None:
    page = plain.page
    upload(plain, tmp_path, ("keep.txt", b"keep"), ("lose.txt", b"lose"))
    plain.row("keep.txt").locator("input").check()
    plain.row("lose.txt").locator("input").check()
    page.locator(".selection-bar").get_by_role("button", name="Delete").click()
    expect(plain.told()).to_contain_text("2 entries")
    page.get_by_role("link", name="Trash").click()
    plain.row("keep.txt").locator("input").check()
    page.locator(".selection-bar").get_by_role("button", name="Restore").click()
    expect(plain.told()).to_contain_text("is back")
    plain.go("/files/trash")
    plain.expect_names(["lose.txt"])
    plain.act("lose.txt", "Delete for good")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".empty .big")).to_have_text("The trash is empty.")
    plain.go("/files/")
    plain.expect_names(["keep.txt"])


def test_nothing_that_needs_scripts_is_shown(plain: Desk, tmp_path: Path) -> None:
    upload(plain, tmp_path, ("a.txt", b"a"))
    shown = plain.page.locator(".js-only:visible, [data-tray]:visible, dialog:visible")
    expect(shown).to_have_count(0)


def test_password_and_sign_out(plain: Desk) -> None:
    page = plain.page
    plain.go("/auth/password")
    page.fill("#current", "wrong")
    page.fill("#password", "seven quiet stones under kelp")
    page.fill("#confirm", "seven quiet stones under kelp")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator(".invalid-feedback, .notice").first).to_be_visible()
    page.locator(".account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Holdfast")
