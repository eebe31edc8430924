"""Trying a place from the array page: what is shown, and that it holds up nothing."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raid.assemble import inspect
from storage import trial
from storage.db import db
from storage.members.findings import Finding, Grade
from storage.members.s3 import S3Member
from storage.members.s3url import parse_bucket_url
from storage.members.urls import parse_member_url
from storage.models import Event, MemberRow
from support.between import Answer, Between, between
from support.buckets import KEY, KEY_ID, S3Server
from support.page import Page
from support.people import Person
from support.site import until
from support.store import Store

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("credentials", "store")]
POLICY = re.compile(r"<pre[^>]*>(.*?)</pre>", re.DOTALL)
SECRETS = [
    f"https://{KEY_ID}:{KEY}@s3.example.org/bucket",
    f"s3://{KEY_ID}:{KEY}@bucket/prefix",
    f"s3://bucket/prefix?secret_access_key={KEY}",
    f"s3://bucket?endpoint=https://{KEY_ID}:{KEY}@s3.example.org",
    f"file://{KEY}@host/srv/d0",
    f"ftp://bucket?key={KEY}",
    f"s3://[{KEY}",
]


@pytest.fixture
def way(moto: S3Server) -> Iterator[Between]:
    with between(moto.endpoint) as made:
        yield made


@pytest.fixture
def url(way: Between, moto: S3Server) -> str:
    return f"s3://{moto.bucket()}/a/b?endpoint={way.endpoint}"


def words(answer: Any) -> str:
    return Page(answer.text).visible


def shown_policy(answer: Any) -> Any:
    import html

    found = POLICY.search(answer.text)
    return json.loads(html.unescape(found[1])) if found else None


def form(answer: Any) -> Any:
    """Return the form with a field to type into."""
    forms = [f for f in Page(answer.text).forms if f.action == "/array/probe"]
    return next(one for one in forms if one.kinds["url"] == "text")


def tried_to_the_end() -> bool:
    return all(thread.name != "trial" for thread in threading.enumerate())


# -- what is shown


def test_each_check_is_told_in_words(admin: Person, url: str) -> None:
    answer = admin.post("/array/probe", url=f" {url} ")
    assert answer.status_code == 200
    said = words(answer)
    assert "All that a member needs works there." in said
    assert "Conditional put Works If-None-Match keeps what is there." in said
    assert "Checksum Note A wrong checksum is accepted" in said
    assert re.search(r"Clock Works The clocks differ by \d+ s\.", said)
    assert re.search(r"Latency Works A small read takes \d+ ms, at worst \d+ ms", said)
    assert re.search(r"8 MiB go there with [\d.]+ MiB/s and come with [\d.]+", said)
    assert "no member yet" in said
    bucket = parse_bucket_url(url)
    actions = [one["Action"] for one in shown_policy(answer)["Statement"]]
    assert ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] in actions
    assert list(S3Member(bucket)._objects.pages("")) == []
    again = next(f for f in Page(answer.text).forms if f.action == "/array/probe")
    assert again.fields["url"] == url


def test_a_missing_right_is_named(admin: Person, way: Between, url: str) -> None:
    spoilt = way.spoil("PUT object", Answer(403, "AccessDenied"))
    answer = admin.post("/array/probe", url=url)
    assert spoilt and answer.status_code == 200
    said, name = words(answer), parse_bucket_url(url).name
    assert "1 thing does not work there." in said
    assert f"Missing: s3:PutObject on arn:aws:s3:::{name}/a/b/*" in said
    assert "a right is missing" in said
    resources = [one["Resource"] for one in shown_policy(answer)["Statement"]]
    assert f"arn:aws:s3:::{name}/a/b/*" in resources
    for secret in ("SECRET-TEXT", KEY_ID, KEY):
        assert secret not in answer.text


def test_a_server_that_is_not_there_is_told(admin: Person) -> None:
    url = "s3://bucket/a?endpoint=http://127.0.0.1:9"
    answer = admin.post("/array/probe", url=url)
    assert answer.status_code == 200
    assert "Could not try list: s3://bucket/a at 127.0.0.1:9 can't be" in words(answer)


def test_a_folder_is_tried_and_stays_blank(admin: Person, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    answer = admin.post("/array/probe", url=place.as_uri())
    said = words(answer)
    assert "Room Works" in said and "Write Works 8 MiB are durable" in said
    assert shown_policy(answer) is None
    assert list(place.iterdir()) == []
    gone = admin.post("/array/probe", url=(tmp_path / "no" / "disk").as_uri())
    assert "Mount or make it." in words(gone)


def test_a_member_is_tried_from_its_tile_and_stays_as_it_was(
    store: Store, admin: Person
) -> None:
    store.put(300_000)
    before = (store.states(), [event.word for event in store.rows(Event)])
    objects = sorted(store.folder.rglob("*"))
    tiles = [
        one.fields["url"]
        for one in Page(admin.get("/array/").text).forms
        if one.action == "/array/probe" and one.kinds["url"] == "hidden"
    ]
    assert tiles == [row.url for row in store.rows(MemberRow)]
    for url in tiles:
        answer = admin.post("/array/probe", url=url)
        assert "It is a member of the array" in words(answer)
        assert "All that a member needs works there." in words(answer)
    assert (store.states(), [event.word for event in store.rows(Event)]) == before
    assert sorted(store.folder.rglob("*")) == objects


# -- what is refused


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Type where it is"),
        ("  ", "is not the URL of a member"),
        ("nonsense", "is not the URL of a member"),
        ("http://10.0.0.1/latest", "is not the URL of a member"),
        ("s3://UPPER/x", "it names no bucket"),
        ("s3://bucket?region=a_b", "region has to be like eu-west-1"),
        ("file://host/srv", "file:///host/srv"),
        ("s3://bucket/" + "x" * 2000, "longer than 2000"),
    ],
)
def test_a_bad_url_is_the_form_again_with_the_reason(
    admin: Person, typed: str, sentence: str
) -> None:
    answer = admin.post("/array/probe", url=typed)
    assert answer.status_code == 400
    assert sentence in words(answer)
    assert 'id="probe-url-problem"' in answer.text
    assert form(answer).fields["url"] == typed


@pytest.mark.parametrize("verb", ["probe", "spare", "widen", "replace"])
def test_a_secret_in_a_url_is_never_shown(
    admin: Person, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    for typed in SECRETS:
        answer = admin.post(f"/array/{verb}", url=typed, member="Member 1")
        assert answer.status_code in (400, 409), typed
        assert "invalid-feedback" in answer.text, typed
        assert KEY not in answer.text and KEY_ID not in answer.text, typed
    assert KEY not in caplog.text


def test_a_path_with_an_at_sign_is_a_path(tmp_path: Path, admin: Person) -> None:
    place = tmp_path / "disk@home"
    place.mkdir()
    answer = admin.post("/array/probe", url=place.as_uri())
    assert answer.status_code == 200
    assert inspect(parse_member_url(place.as_uri(), tmp_path)).problem == "blank"


# -- what it must not hold up


def test_what_hangs_is_told_after_a_while_and_tried_by_one_at_a_time(
    admin: Person, way: Between, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = way.spoil("PUT object", Answer(misdeed="hang"), times=1)
    waited: list[float] = []

    def wait(thread: object, seconds: float) -> None:
        until(lambda: spoilt)
        waited.append(seconds)

    monkeypatch.setattr(trial._Asking, "join", wait)
    answer = admin.post("/array/probe", url=url)
    assert answer.status_code == 200 and waited == [40.0]
    assert "List Works" in words(answer)
    assert "Time Fails The trial was not over after 40 s" in words(answer)
    second = admin.post("/array/probe", url="file:members/0")
    assert second.status_code == 409
    assert "a/b at 127.0.0.1" in words(second)
    assert "is being tried right now" in words(second)
    assert form(second).fields["url"] == "file:members/0"
    way.over.set()
    until(tried_to_the_end)
    monkeypatch.undo()
    assert list(S3Member(parse_bucket_url(url))._objects.pages("")) == []
    assert admin.post("/array/probe", url="file:members/0").status_code == 200


def test_no_transaction_and_no_lock_is_held_meanwhile(
    store: Store, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def look(member: object) -> Iterator[Finding]:
        with store.app.app_context():
            free.append(db.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
            free.append(store.runtime._lock.acquire(timeout=1))
            store.runtime._lock.release()
        yield Finding("list", Grade.OK, "It can be listed.")

    monkeypatch.setattr(trial, "probe", look)
    db.session.remove()  # the test's own
    answer = admin.post("/array/probe", url="file:members/0")
    assert "It can be listed." in words(answer)
    assert free == [True, True]


def test_a_trial_that_breaks_off_is_told_and_the_next_one_begins(
    admin: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(member: object) -> Iterator[Finding]:
        yield Finding("list", Grade.OK, "It can be listed.")
        raise RuntimeError("boom")

    monkeypatch.setattr(trial, "probe", broken)
    for _ in range(2):
        answer = admin.post("/array/probe", url="file:members/0")
        assert "The trial broke off" in words(answer)
        assert "boom" not in answer.text
    assert "boom" in caplog.text


def test_who_tried_what_is_in_the_log(
    admin: Person, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "holdfast.request")
    admin.post("/array/probe", url=url)
    [line] = [
        record.fields  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "holdfast.request"
        and record.fields["route"] == "/array/probe"  # type: ignore[attr-defined]
    ]
    assert line["user"] == "root" and line["failed"] == 0
    assert line["member"] == parse_bucket_url(url).label
