"""Passwords: hashed with Argon2id, compared after NFKC, refused when easy to guess."""

import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from auth.errors import WeakPassword

LONGEST = 1024
GOOD_SCORE = 3
# zxcvbn takes time that grows with the square of the length, and with the number of
# ways to read "4" as "a" and the like: hundreds for a password of all such signs.
_SCORED = 48
_READINGS = 64
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
# The hash of a password that nobody has: unknown users cost the same work as known.
_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$mCO6AOaZtaFc0osV2WZUFA"
    "$UtXoX8nM8nfX/XNzK4SyyA+KPuBZmb405TxHCa8jp88"
)


# Each hash takes 19 MiB and a core: a flood of logins must queue, not eat the machine.
# Two threads of their own, because the allocator keeps what a thread has freed: with
# thirty that hash in turn, 250 MiB stayed.
_workers = ThreadPoolExecutor(2, "password")
# zxcvbn holds the interpreter, and keeps the words about a user where the next caller
# would find them: one at a time.
_scorer = ThreadPoolExecutor(1, "strength")


def _after_fork() -> None:
    global _workers, _scorer  # their threads are not in this process
    _workers = ThreadPoolExecutor(2, "password")
    _scorer = ThreadPoolExecutor(1, "strength")


os.register_at_fork(after_in_child=_after_fork)


def normalize(password: str) -> str:
    """Return the one form in which a password is hashed, whatever keyboard typed it."""
    return unicodedata.normalize("NFKC", password)


def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password."""
    return _workers.submit(_hasher.hash, normalize(password).encode()).result()


def verify(stored: str | None, password: str) -> bool:
    """Tell whether the password is right, with exactly one verification.

    Without a stored hash the same work is done and the answer is no. A password longer
    than any that can be set is wrong without work.
    """
    if len(password) > LONGEST:
        return False
    job = _workers.submit(_matches, stored or _NOBODY, normalize(password))
    matches = job.result()
    return matches and stored is not None


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password.encode())
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(stored: str) -> bool:
    """Tell whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def check_new(password: str, minimum: int, about: list[str]) -> None:
    """Refuse a new password that is too short, too long or too easy to guess.

    `about` holds words that an attacker would try first: the user's name and address.
    """
    if len(password) > LONGEST:
        raise WeakPassword(f"A password has at most {LONGEST:,} characters.")
    secret = normalize(password)
    if len(secret) < minimum:
        raise WeakPassword(
            f"A password has at least {minimum} characters. "
            "Several unrelated words make a good one."
        )
    _check_strength(secret, about)


def _check_strength(secret: str, about: list[str]) -> None:
    words = [word for word in about if word]
    result = _scorer.submit(_score, secret, [*words, "holdfast"]).result()
    if result["score"] >= GOOD_SCORE:
        return
    feedback = result["feedback"]
    advice = [feedback["warning"], *feedback["suggestions"]]
    reasons = [str(text).rstrip(".") + "." for text in advice if text]
    raise WeakPassword(" ".join(["This password is too easy to guess.", *reasons]))


def _score(secret: str, words: list[str]) -> dict[str, Any]:
    # Imported here: its dictionaries are megabytes that most processes never need.
    from zxcvbn import zxcvbn

    result: dict[str, Any] = zxcvbn(_readable(secret[:_SCORED]), user_inputs=words)
    return result


def _readable(text: str) -> str:
    """Write signs so that they stand for no letter, where there are too many kinds.

    No word is written with so many. Digits stay, because they can be dates and rows
    of keys. Each kind becomes one of its own, far from the others: what repeats still
    does, and no new sequence comes up.
    """
    from zxcvbn.matching import L33T_TABLE

    known = {sign for signs in L33T_TABLE.values() for sign in signs}
    signs = [sign for sign in dict.fromkeys(text) if sign in known]
    kept: list[str] = []
    neutral = {}
    for sign in sorted(signs, key=lambda sign: not sign.isdecimal()):
        if _readings([*kept, sign]) > _READINGS:
            neutral[ord(sign)] = 0xE000 + 8 * ord(sign)  # of Unicode's private area
        else:
            kept.append(sign)
    return text.translate(neutral)


def _readings(signs: list[str]) -> int:
    from zxcvbn.matching import (
        L33T_TABLE,
        enumerate_l33t_subs,
        relevant_l33t_subtable,
    )

    return len(enumerate_l33t_subs(relevant_l33t_subtable(signs, L33T_TABLE)))
