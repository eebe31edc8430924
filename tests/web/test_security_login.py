"""Logging in as an attacker tries it, with real headers: A6, A9, A10, A16, A5."""

import time

import pytest

from support.client import PASSWORD, Answer
from support.site import Site

LIMIT = 6
SETTINGS = {"LOGIN_FAILURES_ACCOUNT": str(LIMIT), "LOGIN_FAILURES_ADDRESS": "60"}


def _shape(answer: Answer) -> tuple[int, int, list[str]]:
    """What an observer can compare: status, length without tokens, header names."""
    page = answer.page
    text = answer.text
    for token in {page.token, *(form.fields.get("csrf_token") for form in page.forms)}:
        text = text.replace(token or "\x00", "")
    for name in ("X-Request-ID",):
        text = text.replace(answer.headers.get(name, "\x00"), "")
    return answer.status, len(text), sorted(answer.headers.keys())


def test_a_wrong_password_and_an_unknown_name_look_the_same(site: Site) -> None:
    """A6: status, length and headers tell nothing."""
    site.client().register("amalia")
    site.client().login("amalia")
    shapes = []
    for name in ("amalia", "nobody"):
        answer = site.client().try_login(name, "wrong-but-long-enough-77")
        shapes.append(_shape(answer.expect(400)))
        assert "amalia" not in answer.text.replace('value="amalia"', "")
    (status, length, headers), (status2, length2, headers2) = shapes
    assert (status, headers) == (status2, headers2)
    assert length == length2


@pytest.mark.parametrize(
    ("name", "password"),
    [("admin", "admin"), ("root", "root"), ("admin", "password"), ("holdfast", "")],
)
def test_a_fresh_install_has_no_default_account(
    site: Site, name: str, password: str
) -> None:
    """A16: the first account is the one that somebody makes."""
    answer = site.client().try_login(name, password)
    assert answer.status in {400, 429}
    assert "Set-Cookie" not in answer.headers or not answer.location


def test_an_enormous_password_costs_nothing(site: Site) -> None:
    """A5: 100 KB of password is refused before any hashing."""
    site.client().register("heavy")
    begun = time.monotonic()
    answer = site.client().try_login("heavy", "x" * 100_000)
    assert 400 <= answer.status < 500
    assert time.monotonic() - begun < 3
    site.client().login("heavy")


def test_rotating_forwarded_addresses_does_not_help(site: Site) -> None:
    """A9: failures count on the account, wherever they seem to come from."""
    site.client().register("victim")
    site.client().login("victim")
    answers = []
    for number in range(LIMIT + 4):
        forged = f"203.0.113.{number}"
        answers.append(
            site.client()
            .try_login("victim", f"wrong-guess-number-{number}", X_Forwarded_For=forged)
            .status
        )
    assert answers[:LIMIT] == [400] * LIMIT
    assert set(answers[LIMIT:]) == {429}


def test_the_throttle_says_when_to_come_back(site: Site) -> None:
    """A9: the right password waits too, and is told how long."""
    answer = site.client().try_login("victim", PASSWORD)
    answer.expect(429)
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60


def test_an_unknown_name_is_throttled_like_a_known_one(site: Site) -> None:
    """A6, A9: being throttled does not tell that an account exists either."""
    statuses = [
        site.client().try_login("phantom", f"wrong-guess-{number}").status
        for number in range(LIMIT + 2)
    ]
    assert statuses == [400] * LIMIT + [429] * 2


def test_spraying_from_one_address_is_throttled(site: Site) -> None:
    """A10: one wrong password against many accounts stops at the address."""
    statuses = [
        site.client().try_login(f"somebody-{number}", "the-same-guess-22").status
        for number in range(65)
    ]
    assert statuses[-1] == 429
