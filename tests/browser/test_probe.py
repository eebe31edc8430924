"""Trying a place in a browser: the buttons, the findings and the policy to copy."""

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from support.between import Answer, Between, between
from support.buckets import CREDENTIALS
from support.desk import PASSWORD, PHONE, WIDE, Desk
from support.site import Site

WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
Seat = Callable[..., Desk]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with an administrator that has the keys of a test server."""
    folder = tmp_path_factory.mktemp("probe")
    with Site(folder, environment=dict(CREDENTIALS)) as site:
        arguments = ("user", "create", "keeper", "--admin", "--password-stdin")
        site.server.flask(*arguments, input=PASSWORD)
        yield site


@pytest.fixture
def way() -> Iterator[Between]:
    """A server that answers what a test tells it, with nothing behind it."""
    with between("http://127.0.0.1:9") as made:
        yield made


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


def check(page: Page, where: str) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, f"{where}\n{results.generate_report()}"


def press_beside(page: Page, field: str) -> None:
    """Press the button that tries what was typed into a field."""
    form = page.locator("form", has=page.locator(field))
    form.get_by_role("button", name="Try it").click()


def test_a_place_is_tried_before_it_is_used(
    seat: Seat, site: Site, way: Between
) -> None:
    """From the spare's own field; what is missing is named, and can be copied."""
    spoilt = way.spoil(".*", Answer(403, "AccessDenied"))
    desk = seat(permissions=["clipboard-read", "clipboard-write"])
    page = desk.page
    page.fill("#spare-url", f"s3://team-files/a?endpoint={way.endpoint}")
    press_beside(page, "#spare-url")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("do not work there.")
    expect(page.locator(".checks")).to_contain_text(
        "Missing: s3:PutObject on arn:aws:s3:::team-files/a/*"
    )
    assert spoilt
    check(page, "denied")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".toast-line")).to_contain_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("pre").inner_text()
    before = len(spoilt)
    page.get_by_role("button", name="Try it again").click()
    page.wait_for_load_state()
    expect(heading).to_contain_text("do not work there.")
    assert len(spoilt) > before
    page.get_by_role("link", name="Back to the array").click()
    page.get_by_role("button", name="Try member 2").click()
    expect(heading).to_contain_text("All that a member needs works there.")
    expect(page.locator(".checks")).to_contain_text("It is a member of the array")
    assert {one["state"] for one in site.status()["members"]} == {"in_sync"}


def test_the_new_member_of_a_replacement_is_tried_without_naming_the_old(
    seat: Seat, site: Site
) -> None:
    page = seat().page
    page.locator("details.danger", has_text="Replace a member").click()
    page.fill("#replace-url", (site.data.parent / "new").as_uri())
    press_beside(page, "#replace-url")
    expect(page.locator(".checks")).to_contain_text("8 MiB are durable")
    assert not (site.data.parent / "new").exists()


def test_an_impatient_click_asks_once(seat: Seat, site: Site) -> None:
    page = seat().page
    page.fill("#probe-url", (site.data.parent / "new").as_uri())
    button = page.locator("form", has=page.locator("#probe-url")).locator("button")
    pressed = button.evaluate(
        """(button) => {
          const stopped = [];
          const note = (event) => stopped.push(event.defaultPrevented);
          document.addEventListener("submit", note);
          for (let times = 0; times < 3; times += 1) button.click();
          return [button.textContent.trim(), ...stopped];
        }"""
    )
    assert pressed == ["Trying", False, True, True]
    expect(page.locator(".checks")).to_contain_text("8 MiB are durable")
    page.go_back()
    expect(button).to_have_text("Try it")


def test_it_needs_no_script(seat: Seat, site: Site) -> None:
    page = seat(java_script_enabled=False).page
    page.fill("#probe-url", "nonsense")
    page.locator("form", has=page.locator("#probe-url")).locator("button").click()
    expect(page.locator("#probe-url-problem")).to_contain_text("is not the URL")
    expect(page.locator("#probe-url")).to_have_value("nonsense")
    page.fill("#widen-url", (site.data.parent / "new").as_uri())
    press_beside(page, "#widen-url")
    expect(page.locator(".checks")).to_contain_text("8 MiB are durable")
    expect(page.locator(".js-only:visible")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_findings_are_for_every_screen(
    seat: Seat, way: Between, scheme: str
) -> None:
    way.spoil(".*", Answer(403, "AccessDenied"))
    page = seat(viewport=PHONE, has_touch=True, color_scheme=scheme).page
    check(page, f"{scheme} array")
    assert not page.evaluate(WIDER)
    page.fill("#probe-url", f"s3://team-files/a?endpoint={way.endpoint}")
    press_beside(page, "#probe-url")
    expect(page.locator(".checks")).to_contain_text("Missing: ")
    check(page, f"{scheme} findings")
    assert not page.evaluate(WIDER)
