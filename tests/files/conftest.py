"""The files of alice and bob."""

from collections.abc import Iterator

import pytest
from flask import Flask

from support.drive import Drive, check_books
from support.people import Person


@pytest.fixture
def drive(alice: Person, app: Flask) -> Iterator[Drive]:
    """Alice's files; when the test is over, every counter must be right."""
    yield Drive(alice)
    check_books(app)


@pytest.fixture
def other(bob: Person) -> Drive:
    """Bob's files."""
    return Drive(bob)
