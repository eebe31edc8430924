"""Rows A9 and A10: guessing is slow, whoever guesses from wherever, at once or not."""

import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func

from auth import services, throttle
from auth.errors import Throttled
from auth.models import LoginFailure
from storage.db import db, transaction
from support.clock import Clock
from support.people import OTHER, PASSWORD, Person


def _failures(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(db.select(func.count(LoginFailure.id)))


def _age(app: Flask, age: timedelta) -> None:
    with app.app_context(), transaction() as rows:
        for failure in rows.scalars(db.select(LoginFailure)):
            failure.at -= age


@pytest.fixture
def ada(app: Flask) -> None:
    with app.app_context():
        services.create_user("ada", PASSWORD)


def test_a9_twenty_wrong_logins_from_many_addresses_are_throttled(app, ada):
    answers = []
    for number in range(20):
        guesser = Person(app, address=f"192.0.2.{number}")
        forged = {"X-Forwarded-For": f"198.51.100.{number}"}
        fields = {"username": "Ada", "password": OTHER, "csrf_token": guesser.token()}
        answer = guesser.send("POST", "/auth/login", data=fields, headers=forged)
        answers.append(answer.status_code)
    assert answers == [400] * 10 + [429] * 10
    home = Person(app, address="203.0.113.9")
    waiting = home.log_in("ada")
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["Retry-After"]) <= 900
    assert "Wait 15 minutes" in waiting.text
    _age(app, timedelta(minutes=15))
    assert home.log_in("ada").status_code == 303


def test_a9_other_accounts_are_not_touched(app, ada, person):
    for _ in range(11):
        person.log_in("ada", OTHER)
    assert person.log_in("ada").status_code == 429
    assert person.register("eve").status_code == 303


def test_a9_a_forged_address_does_not_help(app, ada):
    """Nobody is trusted here, so what X-Forwarded-For says has no effect."""
    person = Person(app)
    for number in range(10):
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        fields = {"username": f"x{number}", "password": OTHER}
        fields["csrf_token"] = person.token()
        person.send("POST", "/auth/login", data=fields, headers=headers)
    with app.app_context():
        keys = db.session.scalars(
            db.select(LoginFailure.key).where(LoginFailure.scope == "address")
        ).all()
    assert len(keys) == 10
    assert len(set(keys)) == 1


def test_only_failures_count(make):
    person = Person(make(login_failures_account=3))
    person.register("ada")
    for _ in range(6):
        person.log_out()
        assert person.log_in("ada").status_code == 303
    assert _failures(person.app) == 0
    for _ in range(2):
        assert person.log_in("ada", OTHER).status_code == 400
    assert person.log_in("ada").status_code == 303
    assert _failures(person.app) == 4
    assert person.log_in("ada", OTHER).status_code == 400
    assert person.log_in("ada").status_code == 429


def test_a_refused_attempt_does_not_make_the_wait_longer(make):
    app = make(login_failures_account=2)
    person = Person(app)
    for _ in range(2):
        person.log_in("ada", OTHER)
    for _ in range(5):
        assert person.log_in("ada", OTHER).status_code == 429
    assert _failures(app) == 4
    _age(app, timedelta(minutes=14, seconds=30))
    last = person.log_in("ada", OTHER)
    assert last.status_code == 429
    assert int(last.headers["Retry-After"]) <= 30
    assert "Wait 1 minute," in last.text
    _age(app, timedelta(seconds=30))
    assert person.log_in("ada", OTHER).status_code == 400


def test_a10_spraying_from_one_address_is_throttled(make):
    app = make(login_failures_address=5)
    person = Person(app, address="192.0.2.7")
    answers = [person.log_in(f"user{n}", OTHER).status_code for n in range(8)]
    assert answers == [400] * 5 + [429] * 3
    elsewhere = Person(app, address="192.0.2.8")
    assert elsewhere.log_in("user1", OTHER).status_code == 400


def test_a10_one_ipv6_network_is_one_address(make):
    app = make(login_failures_address=4)
    answers = []
    for number in range(6):
        person = Person(app, address=f"2001:db8:1:2:{number}::{number:x}")
        answers.append(person.log_in(f"user{number}", OTHER).status_code)
    assert answers == [400] * 4 + [429] * 2
    neighbour = Person(app, address="2001:db8:1:3::1")
    assert neighbour.log_in("user1", OTHER).status_code == 400


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address, counted):
    assert throttle.network(address) == counted


def test_parallel_guesses_cannot_pass_the_limit(make):
    app = make(login_failures_account=5)
    let_in, refused, gate = [], [], threading.Barrier(16)

    def guess() -> None:
        with app.app_context():
            gate.wait()
            try:
                let_in.append(throttle.reserve("ada", "192.0.2.1"))
            except Throttled:
                refused.append(1)

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(let_in), len(refused)) == (5, 11)
    with app.app_context():
        throttle.forgive(let_in[0])
        throttle.reserve("ada", "192.0.2.1")
        with pytest.raises(Throttled):
            throttle.reserve("ada", "192.0.2.1")


def test_what_was_typed_as_a_name_is_not_kept(app, person):
    person.log_in(PASSWORD, OTHER)
    with app.app_context():
        keys = db.session.scalars(db.select(LoginFailure.key)).all()
    assert len(keys) == 2
    assert all(len(key) == 64 for key in keys)


def test_old_failures_are_removed(app, person):
    person.log_in("ada", OTHER)
    with app.app_context():
        assert services.remove_old() == 0
    _age(app, timedelta(minutes=16))
    with app.app_context():
        assert services.remove_old() == 2
    assert _failures(app) == 0


def test_behind_a_trusted_proxy_the_true_address_is_counted(make):
    app = make(trusted_proxies=("127.0.0.1",), login_failures_address=3)

    def guess(name: str, forwarded: str) -> int:
        person = Person(app)
        fields = {"username": name, "password": OTHER, "csrf_token": person.token()}
        headers = {"X-Forwarded-For": forwarded}
        answer = person.send("POST", "/auth/login", data=fields, headers=headers)
        return answer.status_code

    answers = [guess(f"u{n}", f"198.51.100.{n}, 192.0.2.7") for n in range(5)]
    assert answers == [400] * 3 + [429] * 2
    assert guess("u1", "192.0.2.7, 192.0.2.8") == 400


@pytest.mark.sqlite
def test_a_clock_that_was_ahead_keeps_nobody_out_for_a_day(app, ada, monkeypatch):
    """Failures that were counted in the future end with it."""
    wall, home = Clock(monkeypatch), Person(app)
    wall.jump(days=1)
    for _ in range(11):
        home.log_in("ada", OTHER)
    assert home.log_in("ada").status_code == 429
    wall.right()
    assert home.log_in("ada").status_code == 303
    assert _failures(app) > 0
    with app.app_context():
        services.remove_old()
    assert _failures(app) == 0
