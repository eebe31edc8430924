"""Rows A1 to A6 and A13: what a password may be, and what a wrong one tells."""

import importlib.util
import threading
import time
import unicodedata
from random import Random

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from auth import passwords, services
from auth.errors import WeakPassword
from auth.models import User
from storage.db import db, transaction
from support.people import OTHER, PASSWORD, Person


@pytest.fixture
def real(monkeypatch):
    """The parameters of the real thing; other tests hash with the least work."""
    spec = importlib.util.spec_from_file_location("real", passwords.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    monkeypatch.setattr(passwords, "_hasher", fresh._hasher)
    monkeypatch.setattr(passwords, "_NOBODY", fresh._NOBODY)


@pytest.fixture
def counted(monkeypatch):
    """The hashes that were verified."""
    seen = []
    real = passwords._hasher

    class Counting:
        def verify(self, stored, password):
            seen.append(stored)
            return real.verify(stored, password)

        def hash(self, password):
            return real.hash(password)

        def check_needs_rehash(self, stored):
            return real.check_needs_rehash(stored)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    return seen


def test_a1_the_minimum_is_honoured(make):
    for minimum in (12, 15):
        person = Person(make(password_min_length=minimum))
        strong = "k7#mQ2vX9pLw4Td"[:minimum]
        short = person.register("ada", strong[:-1])
        assert short.status_code == 400
        assert f"at least {minimum} characters" in short.text
        assert not person.signed_in()
        assert person.register("ada", strong).status_code == 303
        assert person.signed_in()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "weak",
    [
        "passwordpassword",
        "qwertyuiopasdfg",
        "marlowemarlowe",
        "holdfastholdfast",
        "aaaaaaaaaaaaaaaaaaaa",
        "marlowe@example.org",
    ],
)
def test_a2_what_is_easy_to_guess_is_refused_with_a_reason(person, weak):
    refused = person.register("marlowe", weak, email="marlowe@example.org")
    assert refused.status_code == 400
    assert "too easy to guess. " in refused.text
    assert not person.signed_in()
    assert person.register("marlowe", PASSWORD).status_code == 303


@pytest.mark.parametrize(
    "password",
    [
        "lantern quarry mosaic drizzle kelp stone grip below anchor rope wind "[:64],
        "lantern quarry mosaic drizzle kelp stone grip below anchor rope wind " * 3,
        "  outer spaces are kept  ",
        "🐙🪨🌊🐚🦀🐳🐠🦑🐡🪸🌿⚓",
        "кремень водоросль причал",
        "quarrymosaicdrizzle",
    ],
    ids=["64", "207", "spaces", "emoji", "cyrillic", "lowercase"],
)
def test_a3_any_strong_password_is_taken_whole(person, password):
    assert person.register("ada", password).status_code == 303
    person.log_out()
    assert person.log_in("ada", password[:-1] + "¶").status_code == 400
    assert person.log_in("ada", password.strip() + "¶").status_code == 400
    assert person.log_in("ada", password).status_code == 303


def test_a3_up_to_1024_characters(person):
    long = (PASSWORD * 50)[:1024]
    assert person.register("ada", long + "x").status_code == 400
    assert person.register("ada", long).status_code == 303
    person.log_out()
    assert person.log_in("ada", long[:-1] + "¶").status_code == 400
    assert person.log_in("ada", long).status_code == 303


def test_a4_composition_does_not_matter(person):
    typed = "élan quarry mosaic drizzle"
    other = unicodedata.normalize("NFD", typed)
    assert other != typed
    assert (
        person.register("ada", unicodedata.normalize("NFC", typed)).status_code == 303
    )
    person.log_out()
    assert person.log_in("ada", other).status_code == 303


def test_a5_a_huge_password_is_refused_quickly(real, person, counted):
    person.register("ada")
    person.log_out()
    counted.clear()
    started = time.monotonic()
    assert person.log_in("ada", "x" * 100_000).status_code == 400
    assert time.monotonic() - started < 5
    assert counted == []
    assert person.log_in("ada").status_code == 303
    started = time.monotonic()
    assert person.register("eve", "x" * 100_000).status_code == 400
    assert person.change_password("x" * 100_000, OTHER).status_code == 400
    assert time.monotonic() - started < 5


def test_a5_a_form_over_its_limit_is_refused(person):
    token = person.token()
    body = {"username": "ada", "password": "x" * (2 << 20), "csrf_token": token}
    assert person.send("POST", "/auth/login", data=body).status_code == 413


def test_a6_wrong_password_and_unknown_user_look_the_same(real, person):
    person.register("ada")
    person.log_out()
    known = person.log_in("ada", OTHER)
    unknown = person.log_in("eve", OTHER)
    assert known.status_code == unknown.status_code == 400
    assert "do not match" in known.text
    assert len(known.text) == len(unknown.text)
    assert set(known.headers.keys()) == set(unknown.headers.keys())
    assert person.log_in("ada").status_code == 303


def test_a6_a_disabled_account_looks_the_same(app, person):
    person.register("ada")
    person.log_out()
    with app.app_context():
        services.disable("ada")
    right, wrong = person.log_in("ada"), person.log_in("eve", OTHER)
    assert right.status_code == wrong.status_code == 400
    assert len(right.text) == len(wrong.text)
    assert "do not match" in right.text


def test_a7_both_wrong_paths_verify_exactly_once(real, person, counted):
    person.register("ada")
    person.log_out()
    counted.clear()
    person.log_in("ada", OTHER)
    assert len(counted) == 1
    person.log_in("eve", OTHER)
    assert len(counted) == 2
    assert counted[0] != counted[1] == passwords._NOBODY
    assert not passwords.needs_rehash(passwords._NOBODY)


def test_a13_a_change_needs_the_current_password(person):
    person.register("ada")
    for current in ("", OTHER):
        refused = person.change_password(current, OTHER)
        assert refused.status_code == 400
        assert "urrent password" in refused.text
    without = person.post("/auth/password", password=OTHER, confirm=OTHER)
    assert without.status_code == 400
    twice = person.post(
        "/auth/password", current=PASSWORD, password=OTHER, confirm=PASSWORD
    )
    assert twice.status_code == 400
    person.log_out()
    assert person.log_in("ada", OTHER).status_code == 400
    assert person.log_in("ada").status_code == 303
    assert person.change_password(PASSWORD, OTHER).status_code == 303
    person.log_out()
    assert person.log_in("ada").status_code == 400
    assert person.log_in("ada", OTHER).status_code == 303


def test_a13_guesses_at_the_current_password_are_throttled(make):
    person = Person(make(login_failures_account=3))
    person.register("ada")
    for _ in range(3):
        assert person.change_password(OTHER, OTHER).status_code == 400
    throttled = person.change_password(PASSWORD, OTHER)
    assert throttled.status_code == 429
    assert int(throttled.headers["Retry-After"]) > 0


def test_a_weak_new_password_does_not_count_as_a_failure(make):
    person = Person(make(login_failures_account=3))
    person.register("ada")
    for _ in range(5):
        assert person.change_password(PASSWORD, "short").status_code == 400
    assert person.change_password(PASSWORD, OTHER).status_code == 303


def test_an_old_hash_is_made_anew_at_login(real, app, person):
    person.register("ada")
    person.log_out()
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with app.app_context(), transaction() as rows:
        rows.scalars(db.select(User)).one().password_hash = old
    assert person.log_in("ada").status_code == 303
    with app.app_context():
        fresh = db.session.scalars(db.select(User)).one().password_hash
    assert fresh.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    person.log_out()
    assert person.log_in("ada").status_code == 303


class Crowd:
    """Counts how many are in the midst of something slow at the same time."""

    def __init__(self):
        self.gate, self.running, self.seen = threading.Lock(), 0, []

    def work(self, result):
        with self.gate:
            self.running += 1
            self.seen.append(self.running)
        time.sleep(0.02)
        with self.gate:
            self.running -= 1
        return result

    def most(self, function, *arguments):
        """Call it from eight threads, each of which has to come here."""
        threads = [threading.Thread(target=function, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(self.seen) == 8
        return max(self.seen)


def test_at_most_two_hashes_at_once(monkeypatch):
    crowd = Crowd()

    class Slow:
        def hash(self, password):
            return crowd.work("x")

    monkeypatch.setattr(passwords, "_hasher", Slow())
    assert crowd.most(passwords.hash_password, "x") == 2


SIGNS = "4@8({[<3691!|0$5+7%2"
"""What zxcvbn may read as a letter, each in every way."""


@pytest.fixture
def substituted(monkeypatch):
    """The readings that zxcvbn looked up, and how long each text was."""
    from zxcvbn import matching

    seen = []
    real = matching.translate

    def translate(text, letters):
        seen.append(len(text))
        return real(text, letters)

    monkeypatch.setattr(matching, "translate", translate)
    return seen


def test_no_password_costs_more_than_a_few_readings(substituted):
    """Without a bound, one of 72 characters took seconds of a whole process."""
    draw = Random(7)
    texts = ["".join(draw.choices(SIGNS, k=draw.randint(16, 90))) for _ in range(3)]
    for text in (SIGNS * 4, *texts):
        substituted.clear()
        passwords.check_new(text, 12, ["marlowe"])
        # The work grows with the square; what is repeated is read once more by itself.
        work = sum(length * length for length in substituted)
        assert 0 < work <= 64 * 48 * 48 * 4 / 3


def test_any_mixture_of_signs_has_few_readings():
    from zxcvbn import matching

    draw = Random(8)
    for _ in range(60):
        text = "".join(draw.choices(SIGNS, k=draw.randint(1, 48)))
        told = passwords._readable(text)
        table = matching.relevant_l33t_subtable(told, matching.L33T_TABLE)
        assert len(matching.enumerate_l33t_subs(table)) <= 64
        assert len(set(told)) == len(set(text))
        assert [c for c in told if c.isdecimal()] == [c for c in text if c.isdecimal()]


@pytest.mark.parametrize(
    "weak",
    [
        "!@#$%^&*()",
        "!@#$%^&*()_+{}|",
        "9876543210",
        "987654321098",
        "1234567890!@#$%^&*()",
        "p@$$w0rd!",
        "p@$$w0rd!1234",
        "m@r10w3m@r10w3",
        "4@8({" * 9,
        "+@|$+@|$0123456789",
    ],
)
def test_signs_do_not_make_a_password_strong(weak):
    with pytest.raises(WeakPassword, match="too easy"):
        passwords.check_new(weak, 8, ["marlowe"])


def test_passwords_are_judged_one_at_a_time(monkeypatch):
    """The words about one user must not be looked up in another one's password."""
    crowd = Crowd()
    monkeypatch.setattr("zxcvbn.zxcvbn", lambda *_, **__: crowd.work({"score": 4}))
    assert crowd.most(passwords.check_new, PASSWORD, 12, []) == 1


def test_a_hash_that_is_none_is_a_wrong_password():
    assert not passwords.verify("", PASSWORD)
    assert not passwords.verify("*", PASSWORD)


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=1100), st.text(max_size=64))
def test_every_text_is_judged(password, name):
    try:
        passwords.check_new(password, 1, [name])
    except WeakPassword as refused:
        assert str(refused).endswith(".")
