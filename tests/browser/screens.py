"""Take the pictures of the README from the real pages, with pleasant sample data.

Run it from the top of the repository: `python tests/browser/screens.py [FOLDER]`. The
members stand in FOLDER, which must be new and goes again; its path is in the pictures.
Before they are committed, a palette (pngquant) makes them half as large.
"""

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.desk import PASSWORD, PHONE, Desk  # noqa: E402
from support.site import Site, until  # noqa: E402

TARGET = ROOT / "docs" / "images"
LARGEST = 140_000
WIDE = {"width": 1120, "height": 700}
PROJECT = "Harbour project"
FOLDERS = ["Brand", "Contracts 2026", "Photos"]
FILES = {
    "2026 budget.xlsx": 48_213,
    "Harbour film, first cut.mp4": 64_135_520,
    "Interview with the harbour master.md": 18_112,
    "Kelp forest.jpg": 2_412_321,
    "Notes.txt": 912,
    "Site plan.pdf": 1_204_991,
}
DAYS = [1, 12, 0.1, 0.02, 3, 40, 0.3, 0.05, 200]
SENDING = {"Harbour film, final cut.mp4": 9_000_000, "Soundtrack.flac": 700_000}


def furnish(site: Site) -> str:
    """Give Marianne, who keeps the array, a project; return its folder's id."""
    arguments = ("user", "create", "marianne", "--admin", "--password-stdin")
    site.server.flask(*arguments, input=PASSWORD)
    client = site.client().login("marianne", PASSWORD)
    project = client.folder(client.root(), PROJECT)
    for name in FOLDERS:
        client.folder(project, name)
    for name, size in FILES.items():
        client.put(project, name, os.urandom(size)).expect(201)
    grow_old(site)
    return project


def grow_old(site: Site) -> None:
    """Spread the times of change, so that the pictures look lived in."""
    path = next(site.data.glob("*.sqlite*"), None) or next(site.data.glob("*.db"))
    with sqlite3.connect(path, timeout=20) as database:
        for name, days in zip([*FOLDERS, *FILES], DAYS, strict=True):
            moment = datetime.now(UTC) - timedelta(days=days)
            stamp = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
            sql = "UPDATE entries SET changed_at = ? WHERE name = ?"
            database.execute(sql, (stamp, name))
    database.close()


def sit_down(browser: Browser, site: Site, **options: Any) -> Desk:
    """Open a window in which Marianne is signed in."""
    known = {"viewport": WIDE, "locale": "en-GB", "reduced_motion": "reduce"}
    page = browser.new_context(**{**known, **options}).new_page()
    desk = Desk(page, site.url, "marianne")
    desk.sign_in("marianne")
    return desk


def shoot(desk: Desk, name: str, height: int = 0) -> None:
    """Write one picture, and refuse a heavy one; `height` shows more of the page."""
    TARGET.mkdir(parents=True, exist_ok=True)
    path = TARGET / f"{name}.png"
    known = desk.page.viewport_size or WIDE
    if height:
        desk.page.set_viewport_size({**known, "height": height})
    desk.page.screenshot(path=path)
    desk.page.set_viewport_size(known)
    size = path.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{path.name} has {size} bytes; {LARGEST} are allowed.")
    print(f"{path.relative_to(ROOT)}  {size:,} bytes")


def upload(desk: Desk) -> None:
    """Send files slowly enough to be seen."""
    session = desk.page.context.new_cdp_session(desk.page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    limits["uploadThroughput"] = 1_400_000
    session.send("Network.emulateNetworkConditions", limits)
    desk.pick(("Cover letter.odt", bytes(31_400)))
    desk.page.locator("[data-tray] h2", has_text="uploaded").wait_for()
    desk.pick(*((name, os.urandom(size)) for name, size in SENDING.items()))
    total = desk.page.locator("[data-tray] [data-field=total]")
    expect(total).to_contain_text("left")
    desk.page.wait_for_timeout(1500)


def rewrite(site: Site, sql: str, *values: Any) -> None:
    """Change rows, for what would take long to come about."""
    with sqlite3.connect(next(site.data.glob("*.db")), timeout=20) as database:
        database.execute(sql, values)
    database.close()


def lose_a_member(site: Site, slot: int, state: str) -> None:
    """Take one member away, as a dead disk would."""
    member = site.members[slot]
    member.rename(member.with_name(f"{member.name} gone"))
    until(lambda: site.status()["state"] == state, what=state)


def look_after(site: Site, desk: Desk) -> None:
    """Let a scrub and a drill be done, and let that be a while ago."""
    desk.go("/array/")
    for button in ("Scrub now", "Prove it now"):
        desk.page.get_by_role("button", name=button).click()
    done = (
        "SELECT count(*) FROM jobs WHERE state = 'done' AND kind IN ('scrub','drill')"
    )
    until(lambda: site.query(done)[0][0] == 2, seconds=120, what="upkeep")
    for kind, days in (("scrub", 9), ("drill", 2)):
        stamp = (datetime.now(UTC) - timedelta(days=days)).isoformat(" ")[:26]
        sql = "UPDATE jobs SET finished_at = ? WHERE kind = ? AND state = 'done'"
        rewrite(site, sql, stamp, kind)


def replace_a_member(site: Site, desk: Desk) -> None:
    """Replace a dead member, and hold the rebuild where it can be seen."""
    worker = site.server.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    try:
        form = desk.page.locator("details.danger", has_text="Replace a member")
        form.locator("summary").click()
        form.locator("input[name=member]").fill("Member 2")
        form.locator("input[name=url]").fill((site.data.parent / "d4").as_uri())
        form.locator("button.btn-danger").click()
        sql = "UPDATE jobs SET state = 'running', total_bytes = ?, done_bytes = ?, "
        sql += "seconds = ? WHERE kind = 'rebuild'"
        rewrite(site, sql, 1_480_000_000_000, 921_000_000_000, 19_800.0)
        desk.go("/array/")
        expect(desk.page.locator(".job")).to_contain_text("62 %")
        shoot(desk, "array-rebuilding-light", 1000)
    finally:
        rewrite(site, "UPDATE jobs SET state = 'queued' WHERE kind = 'rebuild'")
        os.kill(worker, signal.SIGCONT)
    until(lambda: site.status()["state"] == "clean", seconds=120, what="clean")


def take_all(browser: Browser, site: Site) -> None:
    """Take every picture in turn."""
    project = furnish(site)
    light = sit_down(browser, site)
    light.go(f"/files/folder/{project}")
    shoot(light, "folder-light")
    look_after(site, light)
    light.go("/array/")
    shoot(light, "array-light", 1000)
    phone = sit_down(browser, site, viewport=PHONE, has_touch=True)
    phone.go(f"/files/folder/{project}")
    shoot(phone, "phone-light")
    lose_a_member(site, 2, "degraded")
    light.go("/array/")
    light.page.locator("h1", has_text="Degraded").wait_for()
    shoot(light, "array-degraded-light")
    dark = sit_down(browser, site, color_scheme="dark")
    dark.go(f"/files/folder/{project}")
    upload(dark)
    shoot(dark, "uploads-dark")
    light.go("/array/")
    replace_a_member(site, light)
    lose_a_member(site, 0, "degraded")
    lose_a_member(site, 1, "failed")
    dark.go("/array/")
    dark.page.locator("h1", has_text="Failed").wait_for()
    shoot(dark, "array-failed-dark", 1000)


def main() -> None:
    """Start a site and a browser, take the pictures, and put everything away."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(tempfile.mkdtemp()) / "disks"
    folder.mkdir()
    try:
        with sync_playwright() as playwright, Site(folder) as site:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            take_all(browser, site)
            browser.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
