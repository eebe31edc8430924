"""One instance behind Nginx, or three, for each module of tests that asks for them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.instance import Instance
from support.nginx import needs_nginx
from support.stack import Stack, needs_haproxy


@pytest.fixture(scope="session")
def _nginx() -> None:
    needs_nginx()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest, _nginx: None) -> Iterator[Instance]:
    """An instance with the module's SETTINGS, which believes no proxy."""
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    settings = getattr(request.module, "SETTINGS", {})
    try:
        with Instance(folder / "i", settings) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, _nginx: None) -> Iterator[Stack]:
    """Three instances and all they share, with the module's SETTINGS."""
    needs_haproxy()
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    settings = getattr(request.module, "SETTINGS", {})
    try:
        with Stack(folder, settings=settings) as all_of_it:
            yield all_of_it
    finally:
        shutil.rmtree(folder, ignore_errors=True)
