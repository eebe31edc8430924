"""Somebody in front of a browser: what they do on the pages, one line each."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from support.site import Site

PASSWORD = "kelp holds on to seven stones"
WIDE = {"width": 1200, "height": 800}
PHONE = {"width": 375, "height": 740}
# Chromium reports every refused request as an error; the tests that provoke one
# look at what the page makes of it.
REFUSED = re.compile(
    r"Failed to load resource: the server responded with a status of 4"
)


@dataclass
class Desk:
    """Somebody in front of a browser."""

    page: Page
    url: str
    name: str
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(15_000)
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def go(self, path: str) -> None:
        """Open a page of the site."""
        self.page.goto(self.url + path)

    def register(self) -> None:
        """Make an account by the page, which signs in."""
        self.go("/auth/register")
        self.page.fill("#username", self.name)
        self.page.fill("#password", PASSWORD)
        self.page.fill("#confirm", PASSWORD)
        self.page.click("main button[type=submit]")
        self.page.wait_for_url("**/files/")

    def sign_in(self, name: str) -> None:
        """Sign in to an account that exists."""
        self.go("/auth/login")
        self.page.fill("#username", name)
        self.page.fill("#password", PASSWORD)
        self.page.click("main button[type=submit]")
        self.page.wait_for_url("**/files/")

    def sign_in_elsewhere(self, site: Site) -> None:
        """Begin another session, as in another tab of this browser."""
        client = site.client().login(self.name, PASSWORD)
        self.page.context.add_cookies(
            [
                {"name": name, "value": value, "url": self.url}
                for name, value in client.cookies.items()
            ]
        )

    def pick(self, *files: tuple[str, bytes]) -> None:
        """Choose files with the picker."""
        chosen = [
            {"name": name, "mimeType": "application/octet-stream", "buffer": data}
            for name, data in files
        ]
        self.page.set_input_files("#upload-files", chosen)

    def put(self, *files: tuple[str, bytes]) -> None:
        """Choose files, and wait until they are in the listing."""
        self.pick(*files)
        for name, _ in files:
            self.row(name).wait_for()
        self.page.locator("[data-tray] h2", has_text="uploaded").wait_for()

    def row(self, name: str) -> Locator:
        """The row of that name."""
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return self.page.locator(f'tr[data-name="{quoted}"]')

    def names(self) -> list[str]:
        """Every name that the table shows, from the top."""
        rows = self.page.locator("[data-rows] tbody tr")
        return [row.get_attribute("data-name") or "" for row in rows.all()]

    def expect_names(self, names: list[str]) -> None:
        """Wait until the table shows exactly these, from the top."""
        rows = self.page.locator("[data-rows] tbody tr")
        expect(rows).to_have_count(len(names))
        for row, name in zip(rows.all(), names, strict=True):
            expect(row).to_have_attribute("data-name", name)

    def make_folder(self, name: str) -> None:
        """Make a folder from the page's menu."""
        self.page.click("[data-new-folder] summary")
        self.page.fill("#folder-name", name)
        self.page.keyboard.press("Enter")
        self.row(name).wait_for()

    def enter(self, name: str) -> None:
        """Open a folder, and wait for it."""
        self.row(name).locator("[data-open]").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    def told(self) -> Locator:
        """The notice that a form leaves on the next page."""
        self.page.locator(".notice").first.wait_for()
        return self.page.locator(".notice")

    def act(self, name: str, label: str) -> None:
        """Choose an action from a row's menu."""
        self.row(name).locator("summary").click()
        self.row(name).locator(".menu-item", has_text=label).click()

    def fetch(self, name: str, folder: Path) -> bytes:
        """Download by the row's menu."""
        with self.page.expect_download() as download:
            self.act(name, "Download")
        target = folder / "fetched"
        download.value.save_as(target)
        assert download.value.suggested_filename == name
        return target.read_bytes()

    def hear(self, message: ConsoleMessage) -> None:
        """Keep what the console reports as an error."""
        if message.type == "error" and not REFUSED.match(message.text):
            self.errors.append(message.text)
