"""A real browser over a real server: Debian's Chromium, driven by Playwright.

`desk` is somebody at a wide screen with a new account. A test fails at its end when
the page wrote an error to the console, a refusal of the content policy included.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from support.desk import PASSWORD, WIDE, Desk
from support.site import Site

expect.set_options(timeout=15_000)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any],
) -> dict[str, Any]:
    """Use the system's Chromium; nothing is downloaded."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    own = {"executable_path": path, "args": ["--no-sandbox"]}
    return {**browser_type_launch_args, **own}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all browser tests; every test has an account of its own."""
    settings = {"DEFAULT_QUOTA_BYTES": "8000000"}
    with Site(tmp_path_factory.mktemp("browser"), settings) as site:
        yield site


Open = Callable[..., Desk]


@pytest.fixture(scope="session")
def common(browser: Browser) -> Iterator[BrowserContext]:
    """One window's settings that most tests share, so that assets stay cached."""
    context = browser.new_context(viewport=WIDE)
    yield context
    context.close()


@pytest.fixture
def open_desk(browser: Browser, common: BrowserContext, site: Site) -> Iterator[Open]:
    """Give a function that seats somebody, in a window with settings of its own."""
    contexts: list[BrowserContext] = []
    desks: list[Desk] = []

    def open_one(register: bool = True, **options: Any) -> Desk:
        context = common
        if options or desks:
            context = browser.new_context(**{"viewport": WIDE, **options})
            contexts.append(context)
        desk = Desk(context.new_page(), site.url, f"person-{next(_numbers)}")
        desks.append(desk)
        if register:
            sit_down(context, site, desk.name)
            desk.go("/files/")
        return desk

    yield open_one
    for desk in desks:
        desk.page.close()
    common.clear_cookies()
    for context in contexts:
        context.close()
    assert [error for desk in desks for error in desk.errors] == []


def sit_down(context: BrowserContext, site: Site, name: str) -> None:
    """Make an account, and give the browser its session."""
    client = site.client().register(name, PASSWORD)
    context.add_cookies(
        [
            {"name": key, "value": value, "url": site.url}
            for key, value in client.cookies.items()
        ]
    )


@pytest.fixture
def desk(open_desk: Open) -> Desk:
    """Somebody with a new account, in their empty first folder."""
    return open_desk()


@pytest.fixture(scope="session")
def administrator(site: Site) -> str:
    """The name of an account that may see the array."""
    arguments = ("user", "create", "keeper", "--admin", "--password-stdin")
    site.server.flask(*arguments, input=PASSWORD)
    return "keeper"
