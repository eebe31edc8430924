"""Guessing passwords is slow: failures are counted per account and per address.

The counters are rows, so that every process and every instance sees the same ones. An
attempt is written down as a failure *before* the password is looked at, and taken back
when it was right: guesses made at the same time can't all slip under the limit.
"""

import hashlib
import ipaddress
from datetime import datetime, timedelta
from math import ceil

from flask import current_app
from sqlalchemy import delete, select

from auth.errors import Throttled
from auth.models import LoginFailure
from auth.rows import Rows, change
from storage.db import take_turn, transaction, utcnow

WINDOW = timedelta(minutes=15)
SKEW = timedelta(minutes=1)


def reserve(account: str, address: str) -> list[int]:
    """Count an attempt as failed in advance, or refuse it; return the rows' ids.

    A refused attempt is not counted: whoever waits as long as they are told gets in,
    however often they tried meanwhile.
    """
    settings = current_app.config["HOLDFAST"]
    wanted = (
        ("account", _key(account), settings.login_failures_account),
        ("address", _key(network(address)), settings.login_failures_address),
    )
    with transaction() as rows:
        for scope, key, limit in wanted:
            take_turn(rows, scope + key)
            _refuse_over(rows, scope, key, limit)
        now = utcnow()
        failures = [LoginFailure(scope=s, key=k, at=now) for s, k, _ in wanted]
        rows.add_all(failures)
        rows.flush()
        return [failure.id for failure in failures]


def _refuse_over(rows: Rows, scope: str, key: str, limit: int) -> None:
    """Refuse while `limit` failures lie in the window; the oldest of them decides."""
    now = utcnow()
    deciding = rows.scalar(
        select(LoginFailure.at)
        .where(
            LoginFailure.scope == scope,
            LoginFailure.key == key,
            LoginFailure.at > now - WINDOW,
            # Nobody is kept out until a clock that was ahead is reached.
            LoginFailure.at <= now + SKEW,
        )
        .order_by(LoginFailure.at.desc())
        .offset(limit - 1)
        .limit(1)
    )
    if deciding is not None:
        raise Throttled(max(1, ceil((deciding + WINDOW - now).total_seconds())))


def forgive(attempt: list[int]) -> None:
    """Take back the rows of an attempt that turned out right."""
    with transaction() as rows:
        rows.execute(delete(LoginFailure).where(LoginFailure.id.in_(attempt)))


def remove_old(now: datetime) -> int:
    """Delete failures that no longer count; return how many there were."""
    with transaction() as rows:
        odd = (LoginFailure.at < now - WINDOW) | (LoginFailure.at > now + WINDOW)
        return change(rows, delete(LoginFailure).where(odd))


def network(address: str) -> str:
    """Return what counts as one address: IPv6 by its /64, which one person owns."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
