"""The array page in a browser: a bad morning, with and without scripts.

The site is one of its own, because it is taken apart. The worker is stopped while a
step of the story must not be over before it was looked at.
"""

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from support.desk import PASSWORD, PHONE, WIDE, Desk
from support.site import Site, until

WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
Seat = Callable[..., Desk]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a few files and an administrator."""
    with Site(tmp_path_factory.mktemp("array"), {"PACE": "100"}) as site:
        arguments = ("user", "create", "keeper", "--admin", "--password-stdin")
        site.server.flask(*arguments, input=PASSWORD)
        keeper = site.client().login("keeper", PASSWORD)
        for number in range(3):
            data = os.urandom(400_000)
            keeper.put(keeper.root(), f"{number}.bin", data).expect(201)
        yield site


@pytest.fixture
def seat(browser: Browser, site: Site) -> Iterator[Seat]:
    """Give a function that opens the array page for the administrator."""
    desks: list[Desk] = []

    def sit(**options: object) -> Desk:
        known = {"viewport": WIDE, "reduced_motion": "reduce"}
        context = browser.new_context(**{**known, **options})  # type: ignore[arg-type]
        desk = Desk(context.new_page(), site.url, "keeper")
        desk.sign_in("keeper")
        desk.go("/array/")
        desks.append(desk)
        return desk

    yield sit
    for desk in desks:
        desk.page.context.close()
    assert [error for desk in desks for error in desk.errors] == []


@contextmanager
def worker_stopped(site: Site) -> Iterator[None]:
    """Let the worker stand still, and not inside a transaction that locks us out."""
    pid = site.server.worker_pid()

    def stop() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if is_free(site):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until(stop, what="the worker holds no lock")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_free(site: Site) -> bool:
    """Tell whether somebody can write now."""
    path = next(site.data.glob("*.db"))
    with closing(sqlite3.connect(path, timeout=0.2)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        database.rollback()
        return True


def write(site: Site, sql: str) -> None:
    """Change a row as a worker elsewhere would."""
    with sqlite3.connect(next(site.data.glob("*.db")), timeout=20) as database:
        database.execute(sql)
    database.close()


def check(page: Page, where: str) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, f"{where}\n{results.generate_report()}"


def tile(page: Page, name: str) -> Locator:
    heading = page.get_by_role("heading", name=name, exact=True)
    return page.locator(".tile", has=heading)


def danger(page: Page, title: str, **typed: str) -> None:
    """Open a dangerous action, type, and do it."""
    form = page.locator("details.danger", has_text=title)
    if form.get_attribute("open") is None:
        form.locator("summary").click()
    for field, text in typed.items():
        form.locator(f"input[name={field}]").fill(text)
    form.locator("button.btn-danger").click()


def test_a_bad_morning(seat: Seat, site: Site) -> None:
    """Fail, replace, watch, pause, resume, and read what happened."""
    desk = seat()
    page = desk.page
    with worker_stopped(site):
        danger(page, "Fail a member", member="Member 7")
        beside = page.locator("#fail-member-problem")
        expect(beside).to_contain_text("No member has this name")
        check(page, "refused")
        danger(page, "Fail a member", member="Member 2")
        expect(desk.told().first).to_contain_text("Member 2 is faulty")
        expect(tile(page, "Member 2")).to_contain_text("Faulty")
        expect(tile(page, "Member 0")).to_contain_text("3 lost")
        check(page, "faulty")
        danger(page, "Fail a member", member="Member 0")
        expect(page.locator("form", has=page.locator("#fail-force"))).to_contain_text(
            "3 files can't be read, and nothing new can be stored"
        )
        expect(page.get_by_label("Fail it all the same")).not_to_be_checked()
        check(page, "needed")
        url = (site.data.parent / "new").as_uri()
        danger(page, "Replace a member", member="Member 2", url=url)
        expect(desk.told().first).to_contain_text("Member 2 is being replaced")
        job = page.locator(".job")
        expect(job).to_contain_text("Rebuild of member 2")
        expect(tile(page, "Member 2")).to_contain_text("Rebuilding")
        job.get_by_role("button", name="Pause").click()
        expect(job).to_contain_text("Paused")
        check(page, "paused")
        job.get_by_role("button", name="Resume").click()
        expect(job).to_contain_text("Queued")
        page.evaluate("window.kept = true")
        write(site, "UPDATE jobs SET total_bytes = 400, done_bytes = 100, seconds = 2")
        expect(job).to_contain_text("25 %, 100 B of 400 B, 50 B a second")
        assert page.evaluate("window.kept"), "it was renewed in place"
        write(site, "UPDATE jobs SET total_bytes = 0, done_bytes = 0, seconds = 0")
    expect(job).to_have_count(0, timeout=30_000)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clean.")
    expect(tile(page, "Member 2")).to_contain_text("In sync")
    events = page.locator(".event")
    expect(events.filter(has_text="The rebuild is done.")).to_have_count(1)
    assert page.evaluate("window.kept")
    page.get_by_role("link", name="Report").first.click()
    expect(page.locator("h1")).to_have_text("Rebuild of member 2")
    expect(page.locator(".facts")).to_contain_text("Done")
    check(page, "report")


def test_a_member_that_serves_is_replaced_by_plan(seat: Seat, site: Site) -> None:
    """The old one stays in its slot until the new one holds all; then it is retired."""
    desk = seat()
    page = desk.page
    place = site.data.parent / "planned"
    with worker_stopped(site):
        old = tile(page, "Member 1").locator("p.code").inner_text()
        url = place.as_uri()
        danger(page, "Replace a member", member="Member 1", url=url)
        expect(desk.told().first).to_contain_text("Member 1 is being replaced")
        job = page.locator(".job")
        expect(job).to_contain_text("Replace of member 1")
        expect(tile(page, "Member 1")).to_contain_text("In sync")
        new = tile(page, "New member 1")
        expect(new).to_contain_text("Rebuilding")
        expect(new).to_contain_text(str(place))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Clean.")
        check(page, "replacing")
        write(site, "UPDATE jobs SET total_bytes = 400, done_bytes = 300, seconds = 2")
        expect(job).to_contain_text("75 %, 300 B of 400 B, 150 B a second")
        write(site, "UPDATE jobs SET total_bytes = 0, done_bytes = 0, seconds = 0")
    expect(job).to_have_count(0, timeout=30_000)
    expect(new).to_have_count(0)
    expect(tile(page, "Member 1")).to_contain_text("In sync")
    expect(tile(page, "Member 1")).to_contain_text(str(place))
    expect(page.locator(".tile", has_text=old)).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Clean.")
    members = site.status()["members"]
    assert [one["state"] for one in members if one["slot"] == 1] == ["in_sync"]
    assert all(one["owed"] == 0 for one in members)
    page.get_by_role("link", name="Report").first.click()
    expect(page.locator("h1")).to_have_text("Replace of member 1")
    expect(page.locator(".facts")).to_contain_text("Done")
    keeper = site.client().login("keeper", PASSWORD)
    assert all(keeper.download(row["id"]).status == 200 for row in keeper.rows())


def test_what_somebody_uses_is_left_alone(seat: Seat, site: Site) -> None:
    desk = seat()
    page = desk.page
    pace, spare = page.locator("#pace-percent"), page.locator("#spare-url")
    page.locator("[data-pace] input[type=range]").fill("73")
    expect(pace).to_have_value("73")
    pace.fill("12")
    expect(page.locator("[data-pace] input[type=range]")).to_have_value("12")
    spare.fill("file:///half/typed")
    scrub = page.get_by_role("button", name="Scrub now")
    scrub.focus()
    write(
        site,
        "INSERT INTO events (word, at, fields) VALUES ('array_writable',"
        " '2030-01-01 00:00:00', '{}')",
    )
    expect(page.locator(".event").first).to_contain_text("takes writes again")
    expect(scrub).to_be_focused()
    expect(spare).to_have_value("file:///half/typed")
    expect(pace).to_have_value("12")


TOKENS = """
() => {
  const token = document.querySelector("meta[name=csrf-token]").content;
  const fields = [...document.querySelectorAll("input[name=csrf_token]")];
  return [token, fields.length > 0 && fields.every(({ value }) => value === token)];
}
"""


def test_its_forms_go_on_after_signing_in_in_another_tab(
    seat: Seat, site: Site
) -> None:
    desk = seat()
    old, _ = desk.page.evaluate(TOKENS)
    desk.sign_in_elsewhere(site)

    def is_renewed() -> bool:
        new, everywhere = desk.page.evaluate(TOKENS)
        return bool(new != old and everywhere)

    until(is_renewed, 30, 0.3)


def test_a_page_that_is_not_renewed_says_so(seat: Seat) -> None:
    desk = seat()
    page = desk.page
    notice = page.locator("[data-stale]")
    expect(notice).to_be_hidden()
    page.evaluate("window.kept = true")
    cookies = page.context.cookies()
    page.context.clear_cookies()
    expect(notice).to_contain_text(re.compile(r"Not renewed since \d?\d:\d\d"))
    expect(page.locator("[data-live]")).to_contain_text("Not renewed since")
    check(page, "stale")
    page.context.add_cookies(cookies)
    expect(notice).to_be_hidden()
    asked: list[str] = []

    def away(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    page.route("**/array/live", away)
    expect(notice).to_be_visible(timeout=30_000)
    assert len(asked) == 3
    page.unroute_all()
    expect(notice).to_be_hidden()
    assert page.evaluate("window.kept")
    desk.errors.clear()


def test_everything_works_without_scripts(seat: Seat, site: Site) -> None:
    desk = seat(java_script_enabled=False, color_scheme="dark")
    page = desk.page
    expect(page.locator(".js-only:visible")).to_have_count(0)
    page.fill("#pace-percent", "55")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(desk.told().first).to_contain_text("Jobs work 55 % of the time now.")
    expect(page.locator("#pace-percent")).to_have_value("55")
    page.fill("#spare-url", (site.data.parent / "spare").as_uri())
    page.get_by_role("button", name="Add").click()
    expect(desk.told().first).to_contain_text("The spare is ready.")
    expect(tile(page, "Spare")).to_be_visible()
    danger(page, "Retire a member", member="spare")
    expect(tile(page, "Spare")).to_have_count(0)
    danger(page, "Set the array read-only")
    expect(page.locator("h1")).to_contain_text("Read-only.")
    danger(page, "Let the array take writes again")
    expect(page.locator("h1")).not_to_contain_text("Read-only.")
    page.get_by_role("button", name="Prove it now").click()
    expect(desk.told().first).to_contain_text("Drill is queued")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everybody_and_every_screen(
    seat: Seat, site: Site, scheme: str
) -> None:
    desk = seat(viewport=PHONE, has_touch=True, color_scheme=scheme)
    with worker_stopped(site):
        desk.page.get_by_role("button", name="Scrub now").click()
        for summary in desk.page.locator("details:not([open]) > summary").all():
            if summary.is_visible() and summary.locator("xpath=ancestor::main").count():
                summary.click()
        check(desk.page, f"{scheme} array with everything open")
        assert not desk.page.evaluate(WIDER)
        for path in ("/array/events", "/array/jobs/1"):
            desk.go(path)
            check(desk.page, f"{scheme} {path}")
            assert not desk.page.evaluate(WIDER), path
