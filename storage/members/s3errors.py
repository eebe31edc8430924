"""What a server or the way to it can answer, and which of our errors that is.

A vendor's text is never repeated: it may hold a key, a signature or a policy. Only the
code of the answer is, which is a word such as ``SlowDown``.
"""

import re

from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    MemberSlow,
)

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")

ABSENT = ("NoSuchKey",)
"""The one word for it: a 404 without it may come from whatever stands between."""
EXISTS = ("PreconditionFailed", "412")
BEYOND = ("InvalidRange", "416")
NO_VERB = (405, 501)
"""Statuses of a server that does not know a verb at all."""
NO_COPY = (400, *NO_VERB)
NO_CONDITIONS = ("NotImplemented", "InvalidArgument", "InvalidRequest", "501")


class Trouble(Exception):
    """A request came to nothing."""


class Answered(Trouble):
    """The server said no; ``code`` is its word and ``status`` the one of HTTP."""

    def __init__(self, code: str, status: int) -> None:
        self.code = code if _CODE.fullmatch(code) else str(status or "unknown")
        self.status = status
        super().__init__(f"{self.code} ({status})")


class Unanswered(Trouble):
    """No answer came, or none that is whole; ``kind`` is the error that it is.

    ``silent`` is a server that said nothing for as long as it may.
    """

    def __init__(
        self,
        kind: type[MemberError],
        says: str,
        *,
        transient: bool = True,
        silent: bool = False,
    ) -> None:
        super().__init__(says)
        self.silent = silent
        self.kind, self.says, self.transient = kind, says, transient


_TRANSIENT = {
    "BadDigest",
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_FULL = {
    "CapExceeded",
    "InsufficientStorage",
    "QuotaExceeded",
    "StorageCapExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
}
_READ_ONLY = {"MethodNotAllowed", "ReadOnly", "XMinioReadOnly"}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_UNKNOWN = {
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_ELSEWHERE = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidBucketName",
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
}
_UNSOUND = {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}


def is_transient(trouble: Trouble) -> bool:
    """Say whether the same request may succeed in a moment."""
    if isinstance(trouble, Unanswered):
        return trouble.transient
    if not isinstance(trouble, Answered):
        return False
    if trouble.code in _FULL:
        return False
    busy = trouble.status >= 500 and trouble.status not in (501, 505, 507)
    return busy or trouble.status in (408, 429) or trouble.code in _TRANSIENT


def is_denied(trouble: Trouble) -> bool:
    """Say whether the server refuses our credentials or what they may do."""
    return isinstance(trouble, Answered) and _kind(trouble)[0] is MemberDenied


def is_unknown(trouble: Trouble) -> bool:
    """Say whether our credentials themselves are refused, or there are none."""
    if isinstance(trouble, Unanswered):
        return trouble.kind is MemberDenied
    return isinstance(trouble, Answered) and trouble.code in _EXPIRED | _UNKNOWN


def is_forbidden(trouble: Trouble) -> bool:
    """Say whether the server knows us, and does not let us do this one thing.

    Credentials that have expired and a clock that is wrong are denied, too, and say
    nothing about what our role may do.
    """
    if not is_denied(trouble):
        return False
    assert isinstance(trouble, Answered)
    return trouble.code not in _CLOCK | _EXPIRED | _UNKNOWN


def translate(trouble: Trouble, label: str, doing: str) -> MemberError:
    """Return the engine's error; the caller keeps the cause."""
    if isinstance(trouble, Unanswered):
        return trouble.kind(label, f"Could not {doing}: {label} {trouble.says}.")
    assert isinstance(trouble, Answered)
    kind, says = _kind(trouble)
    return kind(label, f"Could not {doing}: {label} {says} ({trouble.code}).")


def _kind(answer: Answered) -> tuple[type[MemberError], str]:
    code, status = answer.code, answer.status
    for codes, kind, says in _BY_CODE:
        if code in codes:
            return kind, says
    if code.startswith("KMS."):
        return MemberDenied, (
            "can't use its KMS key; enable the key and allow our role kms:Decrypt and "
            "kms:GenerateDataKey"
        )
    if status == 507:
        return MemberFull, _NO_ROOM
    if status in (401, 403):
        return MemberDenied, "denies access; give our role what the bucket needs"
    if status == 404:
        return MemberMissing, "is not where its URL says; look at its endpoint"
    if is_transient(answer):
        return MemberSlow, "is overloaded or has trouble of its own; it is tried again"
    return MemberFailing, "gave an answer that was not expected; look at its log"


_NO_ROOM = "is full or over its quota; make room there or raise the quota"
_BY_CODE: tuple[tuple[set[str], type[MemberError], str], ...] = (
    ({"NoSuchBucket"}, MemberMissing, "does not exist: there is no such bucket"),
    (_FULL, MemberFull, _NO_ROOM),
    (_READ_ONLY, MemberReadOnly, "is read-only; allow s3:PutObject there"),
    (
        _CLOCK,
        MemberDenied,
        "refuses the time of this machine; set its clock by NTP",
    ),
    (_EXPIRED, MemberDenied, "says that our credentials have expired; renew them"),
    (_UNKNOWN, MemberDenied, "does not accept our credentials; look at the profile"),
    (
        _ELSEWHERE,
        MemberMissing,
        "is not where its URL says; look at the region and the endpoint",
    ),
    (
        {"InvalidObjectState"},
        MemberFailing,
        "has moved the object to an archive; end the bucket's rule that does it",
    ),
    (_UNSOUND, MemberFailing, "got other bytes than were sent; look at the network"),
)
