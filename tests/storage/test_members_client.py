"""One client of boto3 for each bucket and process, however often a member is made.

It is made anew when its credentials are refused: they may have been renewed.
"""

import gc
from typing import Any

import pytest

from raid.errors import MemberDenied
from storage.members import s3calls
from storage.members.s3url import parse_bucket_url
from storage.members.urls import parse_member_url
from support.buckets import S3Server

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The buckets that a client was made for."""
    buckets: list[object] = []
    real = s3calls.make_client

    def make_client(bucket: Any, *arguments: Any) -> Any:
        buckets.append(bucket)
        return real(bucket, *arguments)

    monkeypatch.setattr(s3calls, "make_client", make_client)
    return buckets


def used(url: str, tmp_path: Any) -> Any:
    """Return a member after a request."""
    member = parse_member_url(url, tmp_path)
    assert list(member.list("o/")) == []
    return member


def test_a_member_that_is_made_anew_uses_the_client_that_is_there(
    moto: S3Server, made: list[object], tmp_path: Any
) -> None:
    """A member that is away is made anew every few seconds, and a client costs MiB."""
    url = f"s3://{moto.bucket()}/p?endpoint={moto.endpoint}"
    before = used(url, tmp_path)
    after = used(url, tmp_path)
    assert made == [before.bucket] == [after.bucket]
    other = used(url.replace("/p?", "/q?"), tmp_path)
    assert made == [before.bucket, other.bucket]


def test_a_client_that_no_member_uses_is_let_go(
    moto: S3Server, made: list[object], tmp_path: Any
) -> None:
    url = f"s3://{moto.bucket()}/p?endpoint={moto.endpoint}"
    used(url, tmp_path)
    gc.collect()
    assert parse_bucket_url(url) not in s3calls._shared
    used(url, tmp_path)
    assert len(made) == 2


@pytest.mark.parametrize("wrong", [None, "wrong"])
def test_renewed_credentials_are_used_by_a_member_that_is_there(
    rclone: S3Server,
    made: list[object],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str | None,
) -> None:
    monkeypatch.setattr("storage.members.s3client._sessions", {})
    with monkeypatch.context() as before:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if wrong is None:
                before.delenv(name)
            else:
                before.setenv(name, wrong)
        member = parse_member_url(rclone.url(), tmp_path)
        for _ in range(2):
            with pytest.raises(MemberDenied):
                list(member.list("o/"))
    assert len(made) == 1, "a client costs MiB: not one for each refusal"
    monkeypatch.setattr(s3calls, "RENEW_SECONDS", 0.0)
    with pytest.raises(MemberDenied):
        list(member.list("o/"))
    assert list(member.list("o/")) == []
    assert len(made) == 2
