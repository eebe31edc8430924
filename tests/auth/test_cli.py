"""The commands for accounts: clear answers, the same rules, and an end to sessions."""

import pytest
from flask import Flask

from auth.models import LoginFailure, LoginSession, User
from storage.db import db
from support.people import OTHER, PASSWORD, Person


def _run(app: Flask, *words: str, typed: str | bytes = ""):
    return app.test_cli_runner().invoke(args=["user", *words], input=typed)


def _users(app: Flask) -> list[User]:
    with app.app_context():
        return list(db.session.scalars(db.select(User)))


def test_create_from_standard_input(app, person):
    done = _run(app, "create", "ada", "--password-stdin", typed=PASSWORD + "\n")
    assert (done.exit_code, done.output) == (0, "User ada was created.\n")
    assert person.log_in("ada").status_code == 303
    assert person.get("/admin").status_code == 404


def test_create_an_administrator_by_prompt(app, person):
    typed = f"{PASSWORD}\n{PASSWORD}\n"
    done = _run(app, "create", "boss", "--admin", typed=typed)
    assert done.exit_code == 0
    assert "Administrator boss was created." in done.output
    assert PASSWORD not in done.output
    person.log_in("boss")
    assert person.get("/admin").status_code == 200


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("ada", "short", "at least 12"),
        ("ada", "passwordpassword", "too easy to guess"),
        ("ada", "", "at least 12"),
        ("ada", "x" * 9000, "at most 1,024"),
        ("a b", PASSWORD, "A user name has"),
        ("", PASSWORD, "A user name has"),
    ],
)
def test_the_same_rules_hold(app, name, password, said):
    done = _run(app, "create", name, "--password-stdin", typed=password)
    assert done.exit_code == 1
    assert said in done.output
    assert _users(app) == []


def test_bytes_that_are_no_text_are_refused(app):
    done = _run(app, "create", "ada", "--password-stdin", typed=b"\xff\xfe" * 20)
    assert done.exit_code == 1
    assert "UTF-8" in done.output
    assert _users(app) == []


def test_a_taken_name_is_refused(app, person):
    person.register("Ada")
    done = _run(app, "create", "ada", "--password-stdin", typed=OTHER)
    assert done.exit_code == 1
    assert "taken" in done.output
    assert person.log_in("ada").status_code == 303


def test_passwd_sets_the_password_and_ends_sessions(app, person):
    person.register("ada")
    done = _run(app, "passwd", "ADA", "--password-stdin", typed=OTHER)
    assert done.exit_code == 0
    assert not person.signed_in()
    assert person.log_in("ada").status_code == 400
    assert person.log_in("ada", OTHER).status_code == 303


def test_disable_ends_sessions_at_once(app, person):
    person.register("ada")
    assert person.signed_in()
    done = _run(app, "disable", "ada")
    assert done.exit_code == 0
    assert "ada is disabled" in done.output
    assert not person.signed_in()
    assert person.log_in("ada").status_code == 400
    assert _run(app, "disable", "ada").exit_code == 0


@pytest.mark.parametrize("words", [("passwd", "eve"), ("disable", "eve")])
def test_a_missing_account_is_named(app, words):
    done = _run(app, *words, typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 1
    assert "There is no user 'eve'." in done.output
    assert "Password" not in done.output


def test_a_wrong_command_line_is_explained(app):
    done = _run(app, "create")
    assert done.exit_code == 2
    assert "Missing argument" in done.output


def test_commands_work_while_somebody_is_signed_in(app):
    person = Person(app)
    person.register("ada")
    assert _run(app, "create", "eve", "--password-stdin", typed=OTHER).exit_code == 0
    assert person.signed_in()
    assert Person(app).log_in("eve", OTHER).status_code == 303


def test_a_database_without_tables_is_explained(app):
    with app.app_context():
        LoginFailure.__table__.drop(db.engine)
        LoginSession.__table__.drop(db.engine)
        User.__table__.drop(db.engine)
    done = _run(app, "create", "ada", "--password-stdin", typed=PASSWORD)
    assert done.exit_code == 1
    assert done.output.startswith("Error: The database is")
    assert "Traceback" not in done.output


def test_a_newer_database_is_left_alone(app):
    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32))"
        )
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('future')")
    try:
        done = _run(app, "create", "ada", "--password-stdin", typed=PASSWORD)
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE alembic_version")
    assert done.exit_code == 1
    assert "a newer one has been here" in done.output
    assert _users(app) == []
