"""One client of boto3 for each bucket and process, however often a member is made."""

import gc
from typing import Any

import pytest

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
