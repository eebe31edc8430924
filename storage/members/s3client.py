"""The client of boto3 that a member uses, and boto3's errors as ours.

Everything that is boto3's is here. It is imported at the first request, because it
doubles the memory of a process.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raid.errors import MemberDenied, MemberError, MemberMissing, MemberSlow
from storage.members.s3errors import Answered, Unanswered
from storage.members.s3url import Bucket

CONNECT_TIMEOUT = 3.0
_ANY_REGION = "us-east-1"

_sessions: dict[tuple[int, str], Any] = {}
_making = threading.Lock()


def _after_fork() -> None:
    global _making  # whoever held it is not in this process
    _making = threading.Lock()
    _sessions.clear()


os.register_at_fork(after_in_child=_after_fork)


class Client:
    """Call boto3, and turn what it raises into a `Trouble`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Make one request; ``operation`` is the name of boto3's method."""
        with self.translated():
            answer: dict[str, Any] = getattr(self._inner, operation)(**parameters)
            return answer

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what boto3 and its HTTP raise into a `Trouble`, with its cause."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            raise _answered(error) from error
        except (
            BotoCoreError,
            ResponseParserError,
            HTTPError,
            OSError,
            ValueError,
        ) as error:
            raise _unanswered(error) from error


def make_client(
    bucket: Bucket, connections: int, timeout: Callable[[], float]
) -> Client:
    """Make the client of a bucket; raises `Unanswered` when it can't be.

    ``timeout`` is asked before each request how long to wait for its answer, in
    seconds.
    """
    from botocore.exceptions import BotoCoreError

    try:
        with _making:
            session = _session(bucket.profile)
            inner = session.client(
                "s3",
                region_name=bucket.region or (_ANY_REGION if bucket.endpoint else None),
                endpoint_url=bucket.endpoint or None,
                config=_config(bucket, connections),
            )
    except (BotoCoreError, ValueError) as error:
        raise _unanswered(error) from error
    _adjust(inner.meta.events, timeout)
    return Client(inner)


def forget(profile: str) -> None:
    """Read the credentials of a profile again for the next client."""
    with _making:
        _sessions.pop((os.getpid(), profile), None)


def _session(profile: str) -> Any:
    import boto3

    for name in ("boto3", "botocore", "urllib3"):
        # At a lower level they write signatures and key ids into the log.
        logging.getLogger(name).setLevel(logging.WARNING)
    key = (os.getpid(), profile)
    if key not in _sessions:
        _sessions[key] = boto3.Session(profile_name=profile or None)
    return _sessions[key]


def _config(bucket: Bucket, connections: int) -> Any:
    from botocore.config import Config

    style = bucket.addressing or ("auto" if bucket.on_amazon else "path")
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=connections,
        tcp_keepalive=True,
        # A PUT brings its own; some servers send that of the whole with a range.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # The URL of the member says where it is, and nothing else does.
        ignore_configured_endpoint_urls=True,
        # A PUT brings a checksum that is signed, so its body need not be hashed again.
        s3={"addressing_style": style, "payload_signing_enabled": False},
    )


def _adjust(events: Any, timeout: Callable[[], float]) -> None:
    from botocore.handlers import add_expect_header

    # To wait for leave to send costs every PUT one round trip more.
    events.unregister("before-call.s3", add_expect_header)

    def hurry(request: Any, **_: Any) -> None:
        request.context["read_timeout"] = timeout()

    events.register("before-send.s3", hurry)


def _answered(error: Any) -> Answered:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Answered(str(said.get("Code", "")), int(status))


def _unanswered(error: BaseException) -> Unanswered:
    names = {kind.__name__ for kind in type(error).__mro__}
    for name, kind, says, transient in _BY_NAME:
        if name in names:
            silent = name in _SILENT
            return Unanswered(kind, says, transient=transient, silent=silent)
    return Unanswered(MemberSlow, "was cut off while it answered; it is tried again")


_SILENT = ("ConnectTimeoutError", "ReadTimeoutError")
_CREDENTIALS = "has no credentials that work; look at its profile and our role"
_BY_NAME: tuple[tuple[str, type[MemberError], str, bool], ...] = (
    (
        "SSLError",
        MemberMissing,
        "has a certificate that is not trusted; look at its endpoint",
        False,
    ),
    (
        "ProxyConnectionError",
        MemberMissing,
        "is behind a proxy that can't be reached",
        True,
    ),
    ("ConnectTimeoutError", MemberSlow, "did not take a connection in time", True),
    ("ReadTimeoutError", MemberSlow, "did not answer in time", True),
    (
        "EndpointConnectionError",
        MemberMissing,
        "can't be reached; look at the network and its endpoint",
        True,
    ),
    ("ProfileNotFound", MemberDenied, "names a profile that there is not", False),
    ("NoCredentialsError", MemberDenied, _CREDENTIALS, False),
    ("PartialCredentialsError", MemberDenied, _CREDENTIALS, False),
    ("CredentialRetrievalError", MemberDenied, _CREDENTIALS, True),
    ("MetadataRetrievalError", MemberDenied, _CREDENTIALS, True),
    ("NoAuthTokenError", MemberDenied, _CREDENTIALS, False),
    ("TokenRetrievalError", MemberDenied, _CREDENTIALS, True),
    ("SSOError", MemberDenied, _CREDENTIALS, False),
    ("LoginError", MemberDenied, _CREDENTIALS, False),
    ("ConfigParseError", MemberDenied, _CREDENTIALS, False),
    ("InvalidRegionError", MemberMissing, "has a region that there is not", False),
    ("ParamValidationError", MemberMissing, "is not where its URL says", False),
    ("EndpointProviderError", MemberMissing, "is not where its URL says", False),
    ("ResponseParserError", MemberSlow, "gave an answer that is not S3's", True),
)
