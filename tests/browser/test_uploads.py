"""Uploads with scripts: by drop, with progress, cancelled, refused, in conflict."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import CDPSession, Download, Locator, Route, expect

from files.names import numbered
from support.desk import WIDE, Desk

DROP = """([selector, name, text, drop]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const target = document.querySelector(selector);
  for (const type of ["dragenter", "dragover", ...(drop ? ["drop"] : [])]) {
    const options = { dataTransfer: data, bubbles: true, cancelable: true };
    target.dispatchEvent(new DragEvent(type, options));
  }
}"""


def slow_down(desk: Desk, per_second: int) -> CDPSession:
    """Let the browser send only so many bytes a second."""
    session = desk.page.context.new_cdp_session(desk.page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send(
        "Network.emulateNetworkConditions",
        {**conditions, "uploadThroughput": per_second},
    )
    return session


def line(desk: Desk, name: str) -> Locator:
    """The line of an upload in the tray."""
    return desk.page.locator(".upload").filter(has_text=name)


def test_drop_anywhere_says_where_it_goes(desk: Desk) -> None:
    page = desk.page
    page.evaluate(DROP, ["main", "note.txt", "dropped", False])
    expect(page.locator("[data-drop-hint]")).to_contain_text("Drop to upload to Files")
    page.evaluate(DROP, ["main", "note.txt", "dropped", True])
    desk.row("note.txt").wait_for()
    expect(page.locator("[data-drop-hint]")).to_be_hidden()


def test_drop_onto_a_folder(desk: Desk) -> None:
    page = desk.page
    desk.make_folder("Box")
    page.evaluate(DROP, ["tr[data-name=Box]", "note.txt", "dropped", False])
    expect(page.locator("[data-drop-hint]")).to_contain_text("Box")
    page.evaluate(DROP, ["tr[data-name=Box]", "note.txt", "dropped", True])
    page.locator("[data-tray] h2", has_text="1 file uploaded").wait_for()
    desk.expect_names(["Box"])
    desk.enter("Box")
    desk.expect_names(["note.txt"])


def test_progress_is_shown_and_cancel_keeps_nothing(desk: Desk) -> None:
    page = desk.page
    slow_down(desk, 300_000)
    desk.pick(("slow.bin", os.urandom(1_500_000)))
    upload = line(desk, "slow.bin")
    note = upload.locator(".upload-note")
    expect(note).to_have_text(re.compile(r"[1-9]\d* % · .+ of 1.5 MB"))
    bar = upload.get_by_role("progressbar")
    assert 0 < float(bar.evaluate("bar => bar.value")) < 1
    total = page.locator("[data-tray] [data-field=total]")
    expect(total).to_have_text(re.compile(r"of 1.5 MB · .+/s · .+ left"))
    expect(page.locator("[data-tray] h2")).to_have_text("Uploading 1 file")
    upload.get_by_role("button", name="Cancel: slow.bin").click()
    expect(note).to_have_text("Cancelled. Nothing was kept.")
    page.reload()
    desk.expect_names([])


def test_leaving_while_sending_is_asked_about(desk: Desk) -> None:
    page = desk.page
    slow_down(desk, 200_000)
    desk.pick(("slow.bin", os.urandom(900_000)))
    expect(line(desk, "slow.bin")).to_have_attribute("data-state", "sending")
    # Browsers ask only where the page was used.
    page.click("h1")
    with page.expect_event("dialog") as asked:
        page.evaluate("setTimeout(() => location.assign('/files/trash'))")
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    expect(line(desk, "slow.bin")).to_have_attribute("data-state", "done")
    desk.go("/files/trash")


def test_a_download_while_sending_is_not_asked_about(desk: Desk) -> None:
    page = desk.page
    desk.put(("a.txt", b"a"))
    slow_down(desk, 200_000)
    desk.pick(("slow.bin", os.urandom(900_000)))
    expect(line(desk, "slow.bin")).to_have_attribute("data-state", "sending")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    kept: list[str] = []

    def keep(download: Download) -> None:
        kept.append(download.suggested_filename)

    page.on("download", keep)
    page.context.on("page", lambda tab: tab.on("download", keep))
    desk.act("a.txt", "Download")
    expect(line(desk, "slow.bin")).to_have_attribute("data-state", "done")
    assert asked == []
    assert kept == ["a.txt"]


def test_without_a_session_a_download_is_the_sign_in_page(desk: Desk) -> None:
    page = desk.page
    desk.put(("a.txt", b"a"))
    page.context.clear_cookies()
    desk.act("a.txt", "Download")
    expect(page).to_have_url(re.compile(r"/auth/login[?]next=/files/file/"))
    expect(page.get_by_label("User name")).to_be_visible()


def test_a_taken_name_keeps_both_replaces_or_skips(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    desk.put(("plan.txt", b"first"))
    desk.pick(("plan.txt", b"second"))
    page.locator("dialog[open]").get_by_role("button", name="Keep both").click()
    desk.row("plan (2).txt").wait_for()
    assert desk.fetch("plan (2).txt", tmp_path) == b"second"
    desk.pick(("plan.txt", b"third"))
    page.locator("dialog[open]").get_by_role("button", name="Replace").click()
    page.locator("[data-tray] h2", has_text="3 files uploaded").wait_for()
    assert desk.fetch("plan.txt", tmp_path) == b"third"
    desk.pick(("plan.txt", b"fourth"))
    page.locator("dialog[open]").get_by_role("button", name="Skip").click()
    expect(line(desk, "Skipped: the name is taken.")).to_have_count(1)
    assert desk.fetch("plan.txt", tmp_path) == b"third"


def test_a_copy_is_numbered_as_the_server_does_it(desk: Desk) -> None:
    names = ["a.tar.gz", "b", ".profile"]
    desk.put(*((name, b"1") for name in names))
    desk.pick(*((name, b"2") for name in names))
    dialog = desk.page.locator("dialog[open]")
    dialog.get_by_label("Do the same for all others").check()
    dialog.get_by_role("button", name="Keep both").click()
    for name in names:
        desk.row(numbered(name, 2)).wait_for()


def test_one_answer_for_all_conflicts(desk: Desk) -> None:
    page = desk.page
    names = ["a.txt", "b.txt", "c.txt"]
    desk.put(*((name, b"1") for name in names))
    desk.pick(*((name, b"2") for name in names))
    page.locator("dialog[open]").get_by_label("Do the same for all others").check()
    page.locator("dialog[open]").get_by_role("button", name="Keep both").click()
    for name in ("a (2).txt", "b (2).txt", "c (2).txt"):
        desk.row(name).wait_for()
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_over_quota_is_refused_before_the_bytes_move(desk: Desk) -> None:
    sent: list[str] = []
    desk.page.on("request", lambda request: sent.append(request.method))
    desk.pick(("huge.bin", bytes(9_000_000)))
    note = line(desk, "huge.bin").locator(".upload-note")
    expect(note).to_have_text(re.compile(r"needs 9(\.0)? MB"))
    assert "PUT" not in sent
    expect(desk.page.locator("[data-live]")).to_have_text("1 file failed")


def test_a_session_that_ended_and_a_retry(desk: Desk) -> None:
    page = desk.page
    cookies = page.context.cookies()
    page.context.clear_cookies()
    desk.pick(("late.txt", b"late"))
    upload = line(desk, "late.txt")
    expect(upload).to_have_attribute("data-state", "failed")
    expect(upload.locator(".upload-note")).to_have_text(re.compile("[Ss]ign"))
    page.context.add_cookies(cookies)
    upload.get_by_role("button", name="Try again").click()
    desk.row("late.txt").wait_for()


def test_a_session_that_ends_lets_the_others_wait(desk: Desk) -> None:
    page = desk.page
    cookies = page.context.cookies()
    page.context.clear_cookies()
    names = [f"{number}.txt" for number in range(5)]
    desk.pick(*((name, b"late") for name in names))
    pause = page.locator("[data-tray-pause]")
    expect(pause).to_contain_text("You are not signed in any more.")
    link = pause.get_by_role("link", name="Sign in")
    expect(link).to_have_attribute("target", "_blank")
    expect(page.locator(".upload[data-state=waiting]")).to_have_count(2)
    page.context.add_cookies(cookies)
    pause.get_by_role("button", name="Try again").click()
    desk.expect_names(names)
    expect(pause).to_be_hidden()


def is_away(desk: Desk, times: int) -> list[str]:
    """Answer so many uploads with 503; give those that were."""
    refused: list[str] = []

    def handle(route: Route) -> None:
        if route.request.method != "PUT" or len(refused) == times:
            return route.fallback()
        refused.append(route.request.url)
        said = {"code": "database_unavailable", "message": "The database is away."}
        return route.fulfill(
            status=503, headers={"Retry-After": "20"}, json={"error": said}
        )

    desk.page.route("**/files/folder/*/*", handle)
    return refused


def test_all_wait_for_a_server_that_is_away(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(viewport=WIDE)  # a clock of its own
    page = desk.page
    page.clock.install()
    refused = is_away(desk, 6)
    desk.pick(*((f"{number}.txt", b"x") for number in range(5)))
    pause = page.locator("[data-tray-pause]")
    expect(pause).to_contain_text("goes on by itself within 20 s")
    expect(page.locator("[data-live]")).to_contain_text("by itself within 20 s")
    expect(page.locator(".upload[data-state=waiting]")).to_have_count(5)
    assert len(refused) == 3
    line(desk, "4.txt").get_by_role("button", name="Cancel: 4.txt").click()
    page.clock.fast_forward(20_000)
    expect(pause).to_contain_text("within 40 s")
    expect(page.locator(".upload[data-state=waiting]")).to_have_count(4)
    page.clock.fast_forward(40_000)
    expect(page.locator("[data-tray] h2")).to_have_text("4 files uploaded, 1 cancelled")
    expect(pause).to_be_hidden()
    assert sorted(refused) == sorted(refused[:3] * 2)
    desk.errors.clear()


def give_up(desk: Desk, title: str) -> None:
    """Let every pause pass, until the tray says this."""
    head = desk.page.locator("[data-tray] h2")
    for _ in range(200):
        if head.inner_text() == title:
            return
        desk.page.clock.fast_forward(60_000)
        desk.page.wait_for_timeout(50)
    expect(head).to_have_text(title)


def test_a_broken_connection_says_so(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(viewport=WIDE)
    page = desk.page
    page.clock.install()
    sent: list[str] = []
    page.on("requestfailed", lambda request: sent.append(request.method))
    page.route("**/files/folder/*/cut.txt", lambda route: route.abort())
    desk.pick(("cut.txt", b"cut"))
    expect(page.locator("[data-tray-pause]")).to_contain_text("The connection broke.")
    give_up(desk, "1 file failed")
    assert sent == ["PUT"] * 4
    upload = line(desk, "cut.txt")
    note = upload.locator(".upload-note")
    expect(note).to_have_text(
        re.compile(r"connection broke at \d+ %. It is not known whether .+ not stored")
    )
    page.unroute("**/files/folder/*/cut.txt")
    upload.get_by_role("button", name="Try again").click()
    desk.row("cut.txt").wait_for()
    assert any("ERR_FAILED" in error for error in desk.errors)
    desk.errors.clear()


def choose_on_disk(desk: Desk, path: Path) -> None:
    """Choose a file that stays where it is; Playwright itself hands over copies."""
    session = desk.page.context.new_cdp_session(desk.page)
    script = {"expression": "document.querySelector('#upload-files')"}
    found = session.send("Runtime.evaluate", script)["result"]["objectId"]
    files = {"files": [str(path)], "objectId": found}
    session.send("DOM.setFileInputFiles", files)


def test_a_file_that_is_gone_holds_nobody_up(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    cookies = page.context.cookies()
    page.context.clear_cookies()
    (tmp_path / "log.txt").write_text("a line")
    choose_on_disk(desk, tmp_path / "log.txt")
    again = page.locator("[data-tray-go-on]")
    again.wait_for()
    (tmp_path / "log.txt").unlink()
    page.context.add_cookies(cookies)
    again.click()
    upload = line(desk, "log.txt")
    expect(upload.locator(".upload-note")).to_contain_text("Choose it again.")
    expect(again).to_be_hidden()
    desk.errors.clear()


def lose_answers(desk: Desk, name: str) -> list[str]:
    """Let PUTs of that name arrive, and their answers not; give what they asked for."""
    lost: list[str] = []

    def handle(route: Route) -> None:
        answer = route.fetch()
        assert answer.status == 201
        lost.append(route.request.url)
        route.abort()

    desk.page.route(re.compile(rf"/files/folder/[^/]+/{name}"), handle)
    return lost


def test_what_has_arrived_is_not_sent_twice(desk: Desk) -> None:
    lost = lose_answers(desk, "big.bin")
    desk.pick(("big.bin", bytes(1_100_000)))
    desk.page.get_by_role("button", name="Try again").click()
    expect(line(desk, "big.bin")).to_have_attribute("data-state", "done")
    desk.expect_names(["big.bin"])
    assert len(lost) == 1
    desk.errors.clear()


def test_a_replacement_whose_answer_was_lost_is_tried_again(desk: Desk) -> None:
    desk.put(("plan.txt", b"first"))
    lost = lose_answers(desk, "plan.txt[?]replace=1")
    desk.pick(("plan.txt", b"second"))
    desk.page.locator("dialog[open]").get_by_role("button", name="Replace").click()
    again = desk.page.get_by_role("button", name="Try again")
    again.wait_for()
    desk.page.unroute_all()
    again.click()
    desk.page.locator("[data-tray] h2", has_text="2 files uploaded").wait_for()
    desk.expect_names(["plan.txt"])
    assert len(lost) == 1
    desk.errors.clear()


def test_all_that_failed_is_tried_again_at_once(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk(viewport=WIDE)
    page = desk.page
    page.clock.install()
    page.route(re.compile(r"/cut\d\.txt"), lambda route: route.abort())
    desk.pick(("cut1.txt", b"1"), ("good.txt", b"2"), ("cut2.txt", b"3"))
    title = page.locator("[data-tray] h2")
    give_up(desk, "1 file uploaded, 2 failed")
    assert "cut1.txt" in page.locator(".upload").first.inner_text()
    page.unroute_all()
    page.get_by_role("button", name="Try all again").click()
    expect(title).to_have_text("3 files uploaded")
    for name in ("cut1.txt", "cut2.txt", "good.txt"):
        desk.row(name).wait_for()
    desk.errors.clear()


def test_a_refresh_does_not_close_a_menu(desk: Desk) -> None:
    desk.put(("a.txt", b"a"))
    slow_down(desk, 100_000)
    desk.pick(("b.txt", os.urandom(60_000)))
    desk.row("a.txt").locator("summary").click()
    expect(line(desk, "b.txt")).to_have_attribute("data-state", "done")
    menu = desk.row("a.txt").locator("details")
    assert menu.get_attribute("open") is not None
    desk.page.keyboard.press("Escape")
    desk.row("b.txt").wait_for()


def test_the_listing_refreshes_without_losing_the_place(desk: Desk) -> None:
    page = desk.page
    desk.put(("a.txt", b"a"), ("b.txt", b"b"))
    desk.row("b.txt").locator("input").check()
    desk.row("b.txt").locator("[data-open]").focus()
    desk.put(("c.txt", b"c"))
    expect(desk.row("b.txt").locator("[data-open]")).to_be_focused()
    expect(desk.row("b.txt").locator("input")).to_be_checked()
    expect(page.locator("[data-count]")).to_have_text("1 selected")
