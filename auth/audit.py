"""What bears on who may do what goes into the log; never a secret.

During a request it becomes part of the request's own line, which has the time, the
address, the user and the outcome as a status: one line for one denial. Commands write
a line of their own.
"""

import logging

from flask import has_request_context

from storage import logs

_log = logging.getLogger("holdfast.auth")


def note(
    event: str, outcome: str, *, account: str | None = None, why: str = ""
) -> None:
    """Log an event such as `login` with its outcome such as `ok` or `failed`.

    `account` is the name of an account that exists. What a stranger typed as a name is
    not logged: it may well be their password.
    """
    fields = {"event": event, "outcome": outcome, "account": account, "why": why}
    said = {key: value for key, value in fields.items() if value}
    if has_request_context():
        logs.note(**said)
    else:
        _log.info("%s %s", event, outcome, extra={"fields": said})
