"""One secret key for all instances of a database."""

from collections.abc import Callable

import pytest
from flask import Flask

from auth import keymark
from auth.errors import AnotherKey
from auth.models import KeyMark
from storage.db import db
from support.database import SECRET_KEY

OTHER = "another-key-of-forty-characters-0123456789"


def with_key(app: Flask, key: str) -> None:
    settings = app.config["HOLDFAST"]
    object.__setattr__(settings, "secret_key", key)


def test_another_key_is_refused_until_it_is_accepted(
    make_app: Callable[..., Flask], database_url: str | None
) -> None:
    app = make_app()
    several = database_url is not None
    with app.app_context():
        keymark.check()
        keymark.check()
        with_key(app, OTHER)
        if not several:
            keymark.check()  # a SQLite file has one instance
            return
        with pytest.raises(AnotherKey, match="flask key accept"):
            keymark.check()
    said = app.test_cli_runner().invoke(args=["key", "accept"])
    assert said.exit_code == 0, said.output
    with app.app_context():
        keymark.check()
        with_key(app, SECRET_KEY)
        with pytest.raises(AnotherKey):
            keymark.check()


def test_the_mark_tells_nothing_of_the_key(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    assert app.test_cli_runner().invoke(args=["key", "accept"]).exit_code == 0
    with app.app_context():
        row = db.session.get_one(KeyMark, 1)
        assert row.mark == keymark.mark(SECRET_KEY)
        assert SECRET_KEY not in row.mark
        assert len(row.mark) == 64
