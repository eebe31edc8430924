"""A bucket that is gone, denied, slow, full, a stranger's or lying: each is named."""

import logging
import multiprocessing
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from raid.assemble import Problem, format_member, inspect
from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    MemberSlow,
    ObjectExists,
    ObjectKept,
    ObjectMissing,
)
from raid.geometry import Level
from raid.health import Health
from raid.keys import QUARANTINE
from raid.superblock import Superblock
from storage.members import s3, s3calls
from storage.members.s3 import BELIEVED, FRESH, S3Member
from storage.members.s3body import Body, checksum
from storage.members.s3calls import TRIES, Budget, Calls
from storage.members.s3errors import Answered
from storage.members.s3url import parse_bucket_url
from storage.members.urls import parse_member_url
from support.arrays import array_over, get_blob, map_of, put_blob, superblock_of
from support.between import Answer, Between, between
from support.buckets import KEY, KEY_ID, S3Server

BLOB = "o/ab/abcdef00-0000-4000-8000-000000000000"
OBJECT = f"{BLOB}.m1"
OWNER = "111122223333"

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture
def way(moto: S3Server) -> Iterator[Between]:
    """What stands between the member and moto."""
    with between(moto.endpoint) as made:
        yield made


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Place:
    """A member in a bucket behind something that can spoil answers."""

    def __init__(
        self, way: Between, server: S3Server, more: str = "", *, name: str = ""
    ) -> None:
        self.clock = Clock()
        self.server, self.way, self.name = server, way, name or server.bucket()
        self.url = f"s3://{self.name}/p/q?endpoint={way.endpoint}{more}"
        self.member = self.again()
        self.block = superblock_of(map_of(Level.RAID1, ["a", "b"]), 0)
        format_member(self.member, self.block)
        way.log.clear()

    def again(self) -> S3Member:
        """Return the member as another process would make it."""
        bucket = parse_bucket_url(self.url)
        calls = Calls(bucket, clock=self.clock, sleep=self.clock.sleep)
        return S3Member(bucket, calls=calls, clock=self.clock)

    def empty(self) -> None:
        """Delete every object of the bucket, behind the member's back."""
        client = self.server.client
        for found in client.list_objects_v2(Bucket=self.name).get("Contents", ()):
            client.delete_object(Bucket=self.name, Key=found["Key"])


@pytest.fixture
def place(way: Between, moto: S3Server) -> Place:
    """A formatted member."""
    return Place(way, moto)


# -- what a server answers ---------------------------------------------------------


def answer(status: int, code: str) -> Answer:
    return Answer(status, code)


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        (answer(403, "AccessDenied"), MemberDenied, "denies access"),
        (answer(403, "AllAccessDisabled"), MemberDenied, "denies access"),
        (answer(401, "Unauthorized"), MemberDenied, "denies access"),
        (answer(403, "InvalidAccessKeyId"), MemberDenied, "profile"),
        (answer(403, "SignatureDoesNotMatch"), MemberDenied, "profile"),
        (answer(400, "ExpiredToken"), MemberDenied, "expired"),
        (answer(403, "RequestTimeTooSkewed"), MemberDenied, "clock"),
        (answer(400, "KMS.DisabledException"), MemberDenied, "KMS key"),
        (answer(404, "NoSuchBucket"), MemberMissing, "no such bucket"),
        (answer(400, "AuthorizationHeaderMalformed"), MemberMissing, "region"),
        (answer(404, ""), MemberMissing, "URL"),
        (answer(503, "SlowDown"), MemberSlow, "overloaded"),
        (answer(500, "InternalError"), MemberSlow, "overloaded"),
        (answer(502, ""), MemberSlow, "overloaded"),
        (answer(429, "TooManyRequests"), MemberSlow, "overloaded"),
        (answer(400, "RequestTimeout"), MemberSlow, "overloaded"),
        (answer(403, "InvalidObjectState"), MemberFailing, "archive"),
        (answer(418, "Teapot"), MemberFailing, "not expected"),
        (Answer(200, body=b"x" * 9, headers={"Content-Range": "bytes 5-13/14"}),
         MemberFailing, "another range"),
        (Answer(206, body=b"wrong"), MemberFailing, "another range"),
        (Answer(misdeed="reset"), MemberSlow, "cut off"),
        (Answer(misdeed="cut"), MemberSlow, "cut"),
    ],
    ids=lambda value: getattr(value, "code", None) or None,
)  # fmt: skip
def test_a_read_that_fails_says_why(
    place: Place, said: Answer, kind: type[MemberError], says: str
) -> None:
    place.member.put(OBJECT, [b"abcdefgh"])
    fired = place.way.spoil("GET object", said)
    with pytest.raises(MemberError, match=says) as caught:
        place.member.read(OBJECT, 0, 8)
    assert type(caught.value) is kind and fired
    _is_discreet(str(caught.value))


def _is_discreet(sentence: str) -> None:
    for secret in (KEY, KEY_ID, "SECRET-TEXT", "Signature="):
        assert secret not in sentence


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        (answer(507, "InsufficientStorage"), MemberFull, "quota"),
        (answer(403, "QuotaExceeded"), MemberFull, "quota"),
        (answer(405, "MethodNotAllowed"), MemberReadOnly, "read-only"),
        (answer(403, "AccessDenied"), MemberReadOnly, "s3:PutObject"),
        (answer(404, "NoSuchBucket"), MemberMissing, "no such bucket"),
        (answer(503, "SlowDown"), MemberSlow, "overloaded"),
        (answer(400, "BadDigest"), MemberFailing, "other bytes"),
        (answer(400, "EntityTooLarge"), MemberFailing, "not expected"),
        (Answer(misdeed="reset"), MemberSlow, "cut off"),
    ],
    ids=lambda value: getattr(value, "code", None) or None,
)
def test_a_write_that_fails_says_why_and_leaves_nothing(
    place: Place, said: Answer, kind: type[MemberError], says: str
) -> None:
    fired = place.way.spoil("PUT object", said, path=OBJECT)
    with pytest.raises(MemberError, match=says) as caught:
        place.member.put(OBJECT, [b"abc"])
    assert type(caught.value) is kind and fired
    _is_discreet(str(caught.value))
    place.way.rules.clear()
    with pytest.raises(ObjectMissing):
        place.member.info(OBJECT)


def test_who_can_neither_read_nor_write_is_denied(place: Place) -> None:
    place.way.spoil(".*", answer(403, "AccessDenied"))
    for call in (
        place.member.check,
        lambda: place.member.put(OBJECT, [b"abc"]),
        lambda: place.member.delete(OBJECT),
        lambda: place.member.set_aside(OBJECT),
        lambda: place.member.read(OBJECT),
        lambda: place.member.info(OBJECT),
        lambda: list(place.member.list("o/")),
    ):
        place.clock.now += FRESH
        with pytest.raises(MemberDenied):
            call()
    assert inspect(place.member).problem is Problem.AWAY


def test_a_bucket_that_keeps_everything_takes_all_else(place: Place) -> None:
    place.member.put(OBJECT, [b"abc"])
    place.way.spoil("DELETE object", answer(403, "AccessDenied"))
    health = Health(place.clock)
    for remove in (place.member.delete, place.member.set_aside):
        with pytest.raises(ObjectKept, match="s3:DeleteObject") as caught:
            remove(OBJECT)
        health.note(0, caught.value)
    assert health.observed(0) is None
    assert place.member.read(OBJECT) == b"abc"
    place.member.put(f"{BLOB}.m2", [b"more"])


def versioned(way: Between, moto: S3Server, **how: bool) -> Place:
    """A formatted member in a bucket that keeps what is deleted."""
    return Place(way, moto, name=moto.keeping_bucket(**how))


@pytest.mark.parametrize("locked", [False, True])
def test_versions_tell_what_a_bucket_keeps(
    way: Between, moto: S3Server, locked: bool
) -> None:
    """Not the answer to a deletion: moto answers no marker for what is not there."""
    place = versioned(way, moto, locked=locked)
    place.member.put(OBJECT, [b"abc"])
    assert not place.member.keeps(BLOB)
    for _ in range(2):
        place.member.delete(OBJECT)
        assert place.again().keeps(BLOB)
        with pytest.raises(ObjectMissing):
            place.member.read(OBJECT)
    assert not place.member.keeps("o/ab/abcdef00-0000-4000-8000-000000000001")


def test_many_markers_hide_no_version(
    way: Between, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version may stand on the last page of many."""
    place = versioned(way, moto)
    place.member.put(f"{BLOB}.m9", [b"abc"])
    for number in range(9):
        place.server.client.delete_object(
            Bucket=place.name, Key=f"p/q/{BLOB}.m{number}"
        )
    place.member.delete(f"{BLOB}.m9")
    real, asked = Calls.ask, []

    def few(self: Calls, operation: str, **parameters: Any) -> dict[str, Any]:
        if operation == "list_object_versions":
            parameters["MaxKeys"] = 2
            asked.append(operation)
        return real(self, operation, **parameters)

    monkeypatch.setattr(Calls, "ask", few)
    assert place.member.keeps(BLOB)
    assert asked


@pytest.mark.parametrize("keeps", [True, False])
def test_who_may_not_list_versions_tries_it(
    way: Between, moto: S3Server, keeps: bool
) -> None:
    """With an object of its own, once: nothing needs to be in sight of the blob."""
    place = versioned(way, moto) if keeps else Place(way, moto)
    denied = way.spoil("LIST", answer(403, "AccessDenied"), path="versions")
    member = place.again()
    member.admit(place.block.array, place.block.member)
    assert member.keeps(BLOB) is keeps
    assert denied
    way.counts()
    assert member.keeps(BLOB) is keeps
    assert "PUT object" not in way.counts()


def test_who_may_neither_list_versions_nor_delete_keeps(place: Place) -> None:
    place.way.spoil("LIST", answer(403, "AccessDenied"), path="versions")
    denied = place.way.spoil("DELETE object", answer(403, "AccessDenied"))
    assert place.member.keeps(BLOB)
    assert denied


def test_credentials_that_expired_tell_nothing_of_versions(place: Place) -> None:
    place.way.spoil(".*", answer(400, "ExpiredToken"))
    place.clock.now += FRESH
    with pytest.raises(MemberDenied, match="expired"):
        place.member.keeps(BLOB)


def test_where_nothing_may_be_deleted_nothing_is_copied(place: Place) -> None:
    """Or each sweep would leave one copy more in quarantine."""
    place.member.put(OBJECT, [b"abc"])
    place.way.spoil("DELETE object", answer(403, "AccessDenied"))
    for _ in range(2):
        with pytest.raises(ObjectKept):
            place.member.set_aside(OBJECT)
    assert place.way.counts()["COPY object"] == 0
    assert list(place.member.list(QUARANTINE)) == []


@pytest.mark.parametrize("code", ["NotImplemented", "InvalidRequest"])
def test_a_server_that_copies_nothing_is_helped(place: Place, code: str) -> None:
    place.member.put(OBJECT, [b"bad"])
    status = 501 if code == "NotImplemented" else 400
    refused = place.way.spoil("COPY object", answer(status, code))
    place.member.put(OBJECT, [b"good"], replace=True)
    assert refused
    assert place.member.read(OBJECT) == b"good"
    (aside,) = place.member.list(QUARANTINE)
    assert place.member.read(aside.key) == b"bad"


def test_object_lock_takes_both_checksums(moto: S3Server) -> None:
    """It insists on being told which one comes."""
    name = moto.keeping_bucket(locked=True)
    calls = Calls(parse_bucket_url(f"s3://{name}?endpoint={moto.endpoint}"))
    for amazon in (True, False):
        body = Body([b"abc"])
        said = checksum(body, amazon=amazon)
        calls.ask("put_object", Bucket=name, Key=f"{amazon}", Body=body, **said)
    with pytest.raises(Answered):
        calls.ask("put_object", Bucket=name, Key="none", Body=Body([b"abc"]))


# -- whose bucket it is ------------------------------------------------------------


def test_a_strangers_bucket_is_told_from_one_that_denies(
    way: Between, moto: S3Server
) -> None:
    place = Place(way, moto, f"&owner={OWNER}")
    place.member.put(OBJECT, [b"abc"])
    assert {one.headers["x-amz-expected-bucket-owner"] for one in way.log} == {OWNER}
    denied = answer(403, "AccessDenied")
    way.rules.append(
        lambda one: denied if "x-amz-expected-bucket-owner" in one.headers else None
    )
    with pytest.raises(MemberMissing, match="another account"):
        place.member.read(OBJECT)
    with pytest.raises(MemberMissing, match="another account"):
        place.member.put(f"{BLOB}.m2", [b"abc"])
    way.rules[:] = [lambda one: denied]
    with pytest.raises(MemberDenied):
        place.member.read(OBJECT)


def test_a_blank_bucket_in_place_of_a_full_one_is_missing(place: Place) -> None:
    place.member.put(OBJECT, [b"abc"])
    place.empty()
    place.clock.now += BELIEVED
    with pytest.raises(MemberMissing, match="blank"):
        place.member.read(OBJECT)
    for call in (
        place.member.check,
        lambda: place.member.info(OBJECT),
        lambda: list(place.member.list("o/")),
        lambda: place.member.put(OBJECT, [b"abc"]),
        lambda: place.member.delete(OBJECT),
        lambda: place.member.set_aside(OBJECT),
    ):
        with pytest.raises(MemberMissing, match="blank"):
            call()
    assert inspect(place.again()).problem is Problem.BLANK


def test_a_bucket_that_was_emptied_under_way_is_no_empty_member(place: Place) -> None:
    for number in range(3):
        place.member.put(f"{BLOB}.m{number}", [b"abc"])
    place.member.check()
    listing = place.member.list("o/")
    assert next(listing).key == f"{BLOB}.m0"
    place.empty()
    place.clock.now += BELIEVED
    with pytest.raises(MemberMissing, match="blank"):
        list(listing)


def test_a_bucket_that_is_gone_is_missing(place: Place) -> None:
    place.empty()
    place.server.client.delete_bucket(Bucket=place.name)
    for call in (
        lambda: place.member.read(OBJECT),
        lambda: place.member.put(OBJECT, [b"abc"]),
        lambda: list(place.member.list("o/")),
    ):
        place.clock.now += FRESH
        with pytest.raises(MemberMissing, match="no such bucket"):
            call()


def test_another_member_in_the_bucket_is_missing(place: Place, moto: S3Server) -> None:
    other = superblock_of(map_of(Level.RAID1, ["c", "d"]), 1)
    place.empty()
    again = S3Member(parse_bucket_url(place.url))
    format_member(again, other)
    place.clock.now += BELIEVED
    with pytest.raises(MemberMissing, match="another member"):
        place.member.read(OBJECT)
    with pytest.raises(MemberMissing, match="another member"):
        place.member.put(OBJECT, [b"abc"])


def test_other_objects_and_no_superblock_are_no_member(place: Place) -> None:
    place.empty()
    place.server.client.put_object(Bucket=place.name, Key="p/q/holiday", Body=b"x")
    place.clock.now += BELIEVED
    with pytest.raises(MemberMissing, match="no superblock"):
        place.member.read(OBJECT)
    assert inspect(place.again()).problem is Problem.FOREIGN
    blank = S3Member(parse_bucket_url(place.url))
    with pytest.raises(MemberMissing, match="not blank"):
        format_member(blank, place.block)
    with pytest.raises(MemberMissing, match="not empty"):
        blank.put("superblock.1.1", [place.block.pack()])
    with pytest.raises(MemberMissing, match="not admitted"):
        blank.put(OBJECT, [b"x"])


def test_a_neighbour_in_the_bucket_is_nobodys_business(place: Place) -> None:
    place.server.client.put_object(Bucket=place.name, Key="p/qq/o/ab/x", Body=b"x")
    place.server.client.put_object(Bucket=place.name, Key="p/q.txt", Body=b"x")
    assert [info.key for info in place.member.list("")] == ["superblock.1.1"]


def test_a_newer_superblock_takes_the_place_of_the_old_one(place: Place) -> None:
    place.member.check()
    newer = Superblock(**{**vars(place.block), "event": 2})
    place.member.put("superblock.1.2", [newer.pack()], essential=True)
    place.member.delete("superblock.1.1")
    place.clock.now += FRESH
    place.member.check()
    place.clock.now += FRESH
    place.way.counts()
    place.member.check()
    assert place.way.counts() == {"GET object": 1}


# -- trying again ------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        answer(503, "SlowDown"),
        answer(500, "InternalError"),
        answer(409, "ConditionalRequestConflict"),
        Answer(misdeed="reset"),
    ],
    ids=["slow-down", "500", "conflict", "reset"],
)
def test_trouble_that_passes_is_not_noticed(place: Place, said: Answer) -> None:
    puts = place.way.spoil("PUT object", said, times=TRIES - 1, path=OBJECT)
    place.member.put(OBJECT, [b"abc", b"def"])
    gets = place.way.spoil("GET object", said, times=TRIES - 1, path=OBJECT)
    assert place.member.read(OBJECT) == b"abcdef"
    assert len(puts) == len(gets) == TRIES - 1
    assert {one.body for one in puts} == {b"abcdef"}
    assert len(place.clock.slept) == 2 * (TRIES - 1)


def test_a_read_that_is_cut_short_begins_anew(place: Place) -> None:
    place.member.put(OBJECT, [b"abcdef"])
    cut = place.way.spoil("GET object", Answer(misdeed="cut"), times=2, path=OBJECT)
    assert place.member.read(OBJECT) == b"abcdef"
    assert len(cut) == 2


def test_pauses_grow_and_are_of_any_length(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(s3calls.random, "uniform", uniform)
    place.way.spoil("GET object", answer(503, "SlowDown"))
    with pytest.raises(MemberSlow):
        place.member.read(OBJECT)
    assert [low for low, _ in bounds] == [0, 0, 0]
    assert [high for _, high in bounds] == [0.4, 0.8, 1.6]


def test_a_retry_is_paid_for_out_of_one_budget(place: Place) -> None:
    """A bucket that is down gets few requests more than it was asked for."""
    place.way.spoil("GET object", answer(503, "SlowDown"))
    for _ in range(40):
        with pytest.raises(MemberSlow):
            place.member.read(OBJECT)
    assert 40 + 15 <= len(place.way.log) <= 40 + s3calls.BUDGET + 1


def test_a_budget_is_earned_back() -> None:
    budget = Budget(2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(11):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_what_can_not_pass_is_not_tried_again(place: Place) -> None:
    for said in (answer(403, "AccessDenied"), answer(507, "InsufficientStorage")):
        fired = place.way.spoil("GET object", said, path=OBJECT)
        with pytest.raises(MemberError):
            place.member.read(OBJECT)
        assert len(fired) == 1
        place.way.rules.clear()


def test_a_server_that_hangs_is_slow_within_the_deadline(
    way: Between, moto: S3Server
) -> None:
    place = Place(way, moto)
    bucket = parse_bucket_url(place.url)
    hurried = S3Member(bucket, calls=Calls(bucket, deadline=0.4))
    hurried.admit(place.block.array, place.block.member)
    hurried.check()
    way.spoil(".* object", Answer(misdeed="hang"), path=OBJECT)
    for call in (
        lambda: hurried.read(OBJECT, 0, 10),
        lambda: hurried.put(OBJECT, [b"abc"]),
        lambda: hurried.delete(OBJECT),
    ):
        began = time.monotonic()
        with pytest.raises(MemberSlow, match="in time"):
            call()
        assert time.monotonic() - began < 5


def test_a_start_waits_little_for_a_server_that_hangs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3._QUICK, "seconds", 0.4)
    place.way.spoil(".*", Answer(misdeed="hang"))
    began = time.monotonic()
    found = inspect(S3Member(parse_bucket_url(place.url)))
    assert isinstance(found.error, MemberSlow)
    place.clock.now += FRESH
    with pytest.raises(MemberSlow):
        place.member.check()
    assert time.monotonic() - began < 8


def test_a_server_that_is_not_there_is_missing(place: Place) -> None:
    url = place.url.replace(place.way.endpoint, "http://127.0.0.1:9")
    with pytest.raises(MemberMissing, match="can't be reached"):
        S3Member(parse_bucket_url(url)).read(OBJECT)
    url = place.url.replace(place.way.endpoint, "http://no-such-host.invalid")
    with pytest.raises(MemberMissing, match="can't be reached"):
        S3Member(parse_bucket_url(url)).read(OBJECT)
    url = place.url.replace("http:", "https:")
    with pytest.raises(MemberMissing, match="certificate"):
        S3Member(parse_bucket_url(url)).read(OBJECT)


def test_a_put_whose_answer_is_lost_is_done(place: Place, rclone: S3Server) -> None:
    lost = place.way.spoil("PUT object", Answer(misdeed="lose"), times=1, path=OBJECT)
    place.member.put(OBJECT, [b"abc"])
    assert lost and place.member.read(OBJECT) == b"abc"
    with between(rclone.endpoint) as way:
        other = Place(way, rclone)
        lost = way.spoil("PUT object", Answer(misdeed="lose"), times=1, path=OBJECT)
        other.member.put(OBJECT, [b"abc"])
        assert lost and other.member.read(OBJECT) == b"abc"


def test_a_lost_answer_never_hides_other_bytes(place: Place) -> None:
    place.member.put(OBJECT, [b"first"])
    place.way.spoil("PUT object", Answer(misdeed="lose"), times=1, path=OBJECT)
    with pytest.raises(ObjectExists):
        place.member.put(OBJECT, [b"other"])
    assert place.member.read(OBJECT) == b"first"


# -- what is asked for, and what it costs ------------------------------------------


def test_objects_are_stored_as_the_url_says(way: Between, moto: S3Server) -> None:
    more = "&storage_class=STANDARD_IA&sse=kms&kms_key=alias/held"
    place = Place(way, moto, more)
    place.member.put(OBJECT, [b"abc"])
    place.member.put(OBJECT, [b"abd"], replace=True)
    sent = [one.headers for one in way.log if one.method == "PUT"]
    assert len(sent) == 4
    for headers in sent:
        assert headers["x-amz-storage-class"] == "STANDARD_IA"
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/held"
        assert headers["x-amz-server-side-encryption-bucket-key-enabled"] == "true"
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert "expect" not in headers
    quarantined = list(place.member.list(QUARANTINE))
    assert [info.size for info in quarantined] == [3]


def test_a_body_carries_its_checksum(place: Place, rclone: S3Server) -> None:
    place.member.put(OBJECT, [b"abc"])
    [sent] = [one for one in place.way.log if OBJECT in one.path]
    assert sent.headers["content-md5"] == "kAFQmDzST7DWlj99KOF/cg=="
    assert sent.headers["content-length"] == "3"
    assert "transfer-encoding" not in sent.headers
    with between(rclone.endpoint) as way:
        other = Place(way, rclone)
        spoilt = _spoil_bytes(way)
        other.member.put(OBJECT, [b"abc"])
        assert spoilt and other.member.read(OBJECT) == b"abc"


def _spoil_bytes(way: Between) -> list[Any]:
    """Change a byte of the first PUT on its way to the server."""
    spoilt: list[Any] = []

    def rule(asked: Any) -> None:
        if asked.operation == "PUT object" and OBJECT in asked.path and not spoilt:
            spoilt.append(asked)
            object.__setattr__(asked, "body", b"abX")

    way.rules.append(rule)
    return spoilt


def _aside_later(at: Place) -> None:
    at.server.client.put_object(Bucket=at.name, Key=f"p/q/{OBJECT}", Body=b"again")
    at.member.set_aside(OBJECT)


def _list_later(at: Place) -> None:
    at.clock.now += BELIEVED
    list(at.member.list("o/"))


def test_what_is_asked_for_each_verb(place: Place, rclone: S3Server) -> None:
    """The table of docs/members.md."""
    with between(rclone.endpoint) as way:
        for at, refuses in ((place, True), (Place(way, rclone), False)):
            at.member.put(f"{BLOB}.m9", [b"once"])
            at.way.counts()
            asked = {}
            for name, call in {
                "put": lambda at=at: at.member.put(OBJECT, [b"abc" * 9999] * 400),
                "read": lambda at=at: at.member.read(OBJECT, 5, 10),
                "info": lambda at=at: at.member.info(OBJECT),
                "list": lambda at=at: list(at.member.list("o/")),
                "list later": lambda at=at: _list_later(at),
                "check": at.member.check,
                "space": at.member.space,
                "aside": lambda at=at: at.member.set_aside(OBJECT),
                "aside later": lambda at=at: _aside_later(at),
                "delete": lambda at=at: at.member.delete(OBJECT),
            }.items():
                call()
                asked[name] = dict(at.way.counts())
            put = {"PUT object": 1} if refuses else {"GET object": 1, "PUT object": 1}
            assert asked == {
                "put": put,
                "read": {"GET object": 1},
                "info": {"GET object": 1},
                "list": {"LIST": 1},
                "list later": {"LIST": 1, "GET object": 1},
                "check": {},
                "space": {},
                "aside": {"COPY object": 1, "DELETE object": 2},
                "aside later": {"COPY object": 1, "DELETE object": 1},
                "delete": {"DELETE object": 1},
            }


def test_what_an_upload_asks_for(way: Between, moto: S3Server) -> None:
    """One PUT for each object: the arithmetic of docs/members.md."""
    places = [Place(way, moto) for _ in range(4)]
    for place in places:
        place.empty()
    array = array_over(Level.RAID5, [place.again() for place in places])
    put_blob(array, b"x" * 100_000)  # it proves If-None-Match and sees superblocks
    way.counts()
    small = put_blob(array, b"y" * 300_000)
    assert way.counts() == {"PUT object": 4}
    large = put_blob(array, bytes(range(256)) * 200_000)
    assert way.counts() == {"PUT object": len(large.rows) * 4 + 4}
    assert get_blob(array, small) == b"y" * 300_000
    assert set(way.counts()) == {"GET object"}
    assert get_blob(array, large) == bytes(range(256)) * 200_000
    assert set(way.counts()) == {"GET object"}


def test_a_check_asks_once_in_a_while(place: Place) -> None:
    again = place.again()
    again.admit(place.block.array, place.block.member)
    for _ in range(100):
        again.check()
        place.clock.now += FRESH / 50
    assert place.way.counts() == {"LIST": 1, "GET object": 2}
    place.way.spoil("GET object", answer(500, "InternalError"))
    with pytest.raises(MemberSlow):
        again.read(OBJECT)
    with pytest.raises(MemberSlow):
        again.check()  # a failure is looked into at once


# -- processes, credentials, URLs --------------------------------------------------


def _read(member: S3Member, found: Any) -> None:
    found.put(member.read(OBJECT))


def test_a_client_is_made_after_the_fork(place: Place) -> None:
    place.member.put(OBJECT, [b"abc"])
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    children = [
        context.Process(target=_read, args=(place.member, found)) for _ in range(3)
    ]
    for child in children:
        child.start()
    assert [found.get(timeout=30) for _ in children] == [b"abc"] * 3
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert place.member.read(OBJECT) == b"abc"


def test_wrong_and_lacking_credentials_are_denied(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = rclone.url()
    monkeypatch.setattr("storage.members.s3client._sessions", {})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(MemberDenied, match="profile"):
        list(S3Member(parse_bucket_url(url)).list(""))
    monkeypatch.setattr("storage.members.s3client._sessions", {})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(MemberDenied, match="credentials"):
        list(S3Member(parse_bucket_url(url)).list(""))
    with pytest.raises(MemberDenied, match="profile"):
        list(S3Member(parse_bucket_url(f"{url}&profile=none")).list(""))
    monkeypatch.setattr("storage.members.s3client._sessions", {})


def test_no_log_holds_a_key_or_a_signature(
    way: Between, moto: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monitored = Place(way, moto)
    monitored.member.put(OBJECT, [b"abc"])
    way.spoil("GET object", answer(403, "SignatureDoesNotMatch"))
    with pytest.raises(MemberDenied) as caught:
        monitored.member.read(OBJECT)
    trace = "".join(traceback.format_exception(caught.value))
    for text in (caplog.text, trace):
        assert KEY not in text and KEY_ID not in text and "Signature=" not in text


def test_connections_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3calls, "CONNECTIONS", 1)
    bucket = parse_bucket_url(place.url)
    calls = Calls(bucket, deadline=0.3)
    own = calls._process()
    with own._room, pytest.raises(MemberSlow):
        S3Member(bucket, calls=calls).read(OBJECT, 0, 1)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "no bucket"),
        ("s3:bucket", "no bucket"),
        ("s3://Bucket/x", "no bucket"),
        ("s3://key:secret@bucket/x", "credentials never"),
        ("s3://bucket/a//b", "empty"),
        ("s3://bucket/a/../b", "'..'"),
        ("s3://bucket/a#b", "%23"),
        ("s3://bucket?secret=abcdef", "no parameter 'secret'"),
        ("s3://bucket?region=a&region=b", "once"),
        ("s3://bucket?region=", "with a value"),
        ("s3://bucket?region=eu/west", "eu-west-1"),
        ("s3://bucket?endpoint=s3.example.org", "https://"),
        ("s3://bucket?endpoint=https://k:abcdef@s3.example.org", "profile instead"),
        ("s3://bucket?endpoint=https://s3.example.org/path", "https://"),
        ("s3://bucket?owner=12345", "12 digits"),
        ("s3://bucket?storage_class=GLACIER", "read at once"),
        ("s3://bucket?sse=aws", "s3 or kms"),
        ("s3://bucket?kms_key=alias/x", "sse=kms"),
        ("s3://bucket?weight=0", "1 to 9999"),
        ("s3://bucket?addressing=dns", "path or virtual"),
    ],
)
def test_it_explains_a_url_that_it_can_not_use(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_member_url(url, Path("/base"))
    assert "abcdef" not in str(caught.value) and "secret@" not in str(caught.value)


def test_it_reads_a_whole_url() -> None:
    member = parse_member_url(
        "s3://my.bucket/a%20b/c/?region=eu-west-1&profile=backup&owner=111122223333"
        "&storage_class=STANDARD_IA&sse=kms&weight=7&addressing=virtual"
        "&kms_key=arn:aws:kms:eu-west-1:111122223333:key/1234-5678"
        "&endpoint=https://s3.example.org:9000",
        Path("/base"),
    )
    assert isinstance(member, S3Member)
    assert member.label == "s3://my.bucket/a b/c at s3.example.org:9000"
    assert (member.weight, member.bucket.owner) == (7, OWNER)
    assert member.bucket.kms_key.endswith("key/1234-5678")
    plain = parse_member_url("s3://bucket", Path("/base"))
    assert plain.label == "s3://bucket"


def test_it_has_no_identity_of_its_own(place: Place) -> None:
    place.member.admit(UUID(int=1), UUID(int=2))
    with pytest.raises(MemberMissing, match="another member"):
        place.member.check()
