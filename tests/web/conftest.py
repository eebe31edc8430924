"""One real server for each module of tests that asks for `site`."""

from collections.abc import Iterator

import pytest

from support.site import Site


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server with the module's SETTINGS over four members of its own."""
    settings = getattr(request.module, "SETTINGS", {})
    with Site(tmp_path_factory.mktemp("site"), settings) as site:
        yield site
