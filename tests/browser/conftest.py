"""A real browser over a real server: Debian's Chromium, driven by Playwright.

`desk` is somebody at a wide screen with a new account. A test fails at its end when
the page wrote an error to the console, a refusal of the content policy included.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from support.desk import PASSWORD, WIDE, Desk
from support.site import Site

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


@pytest.fixture
def open_desk(browser: Browser, site: Site) -> Iterator[Open]:
    """Give a function that opens a browser window of its own, with its options."""
    contexts: list[BrowserContext] = []
    desks: list[Desk] = []

    def open_one(register: bool = True, **options: Any) -> Desk:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        desk = Desk(page, site.url, f"person-{os.getpid()}-{next(_numbers)}")
        page.on("console", desk.hear)
        page.on("pageerror", lambda error: desk.errors.append(str(error)))
        desks.append(desk)
        if register:
            desk.register()
        return desk

    yield open_one
    for context in contexts:
        context.close()
    assert [error for desk in desks for error in desk.errors] == []


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
