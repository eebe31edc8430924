"""U7, U8: limits and quotas, before bytes move and again when they are there."""

import io
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from files import uploads
from files.errors import OverQuota, TooLarge
from files.quota import charge, room_of
from storage import blobs
from storage.db import db, release, transaction, utcnow
from storage.models import Upload, UploadState
from storage.uploads import under_way
from storage.words import filesize
from support.drive import Drive, check_books, code
from support.people import PASSWORD, Person

MB = 1_000_000


@pytest.fixture
def roomy(make_app: Callable[..., Flask]) -> Iterator[Drive]:
    """Alice's files where everybody has 10 MB, and no body may be over 4 MB."""
    from auth.services import create_user

    app = make_app(DEFAULT_QUOTA_BYTES=str(10 * MB), MAX_UPLOAD_BYTES=str(4 * MB))
    with app.app_context():
        create_user("alice", PASSWORD)
    person = Person(app)
    assert person.log_in("alice").status_code == 303
    yield Drive(person)
    check_books(app)


def used(drive: Drive) -> int:
    from auth.models import User

    with drive.person.app.app_context():
        count = db.session.get_one(User, drive.user_id).used_bytes
        release()
        return count


def test_the_last_room_is_taken_once_whatever_was_known_before(roomy: Drive) -> None:
    """Somebody else took most of the room after it was looked at."""
    from auth.models import User

    with roomy.person.app.app_context():
        user = db.session.get_one(User, roomy.user_id)
        assert room_of(user) == 10 * MB
        charge(db.session, user, 8 * MB)
        with pytest.raises(OverQuota):
            charge(db.session, user, 3 * MB)
        charge(db.session, user, 2 * MB)
        db.session.rollback()
        release()


class Untouched(io.RawIOBase):
    """A body that nobody may read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("read before it was refused")

    readinto = read  # type: ignore[assignment]


def test_u8_parallel_uploads_never_pass_the_quota(roomy: Drive) -> None:
    app = roomy.person.app
    roomy.file("first", b"x" * (3 * MB))
    roomy.file("second", b"x" * (2 * MB))
    statuses: list[int] = []
    start = threading.Barrier(20)

    def put(number: int) -> None:
        browser = app.test_client()
        browser.set_cookie("holdfast", roomy.person.cookie())
        start.wait()
        answer = browser.put(
            f"/files/folder/{roomy.root}/{number}",
            data=b"x" * MB,
            headers={"X-CSRFToken": roomy._token},
            buffered=True,
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 5 + [413] * 15
    assert used(roomy) == 10 * MB
    assert len(roomy.names()) == 7


class Paused(io.RawIOBase):
    """The body of a request; something is done when it is read for the first time.

    It is cut off after `most` bytes.
    """

    def __init__(
        self, size: int, meanwhile: Callable[[], Any], most: int | None = None
    ) -> None:
        self._left = size if most is None else most
        self._meanwhile: Callable[[], Any] | None = meanwhile

    def read(self, size: int | None = -1) -> bytes:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        count = min(self._left, size or 0)
        self._left -= count
        return b"x" * count


def put_meanwhile(
    drive: Drive,
    name: str,
    size: int,
    meanwhile: Callable[[], Any],
    most: int | None = None,
    query: str = "",
) -> TestResponse:
    raw = {
        "CONTENT_LENGTH": str(size),
        "wsgi.input": Paused(size, meanwhile, most),
    }
    return drive.put(name, query=query, environ_overrides=raw)


def test_what_others_will_take_is_no_room(roomy: Drive) -> None:
    """Three files of 6 MB where 10 MB are left: 18 MB would move for one file."""
    for name in "ab":
        roomy.file(name, b"x" * (3 * MB))
    said: list[str] = []

    def others() -> None:
        answer = roomy.put("d", b"x" * (2 * MB))
        assert (answer.status_code, code(answer)) == (413, "over_quota")
        said.append(answer.get_json()["error"]["message"])
        url = f"/files/folder/{roomy.root}/check?name=d&size={2 * MB}"
        asked = roomy.get(url, headers={"Accept": "application/json"})
        assert asked.get_json()["error"]["message"] == said[0]
        assert roomy.put("e", b"x" * MB).status_code == 201

    assert put_meanwhile(roomy, "c", 3 * MB, others).status_code == 201
    assert said == [
        "This needs 2 MB and you have 1 MB left beside the 3 MB that other uploads "
        "will take. Wait until those have ended or ask for more room."
    ]
    assert used(roomy) == 10 * MB
    assert sorted(roomy.names()) == ["a", "b", "c", "e"]


def test_the_room_of_an_upload_that_broke_off_is_free_at_once(roomy: Drive) -> None:
    for name in "ab":
        roomy.file(name, b"x" * (3 * MB))
    taken: list[int] = []

    def other() -> None:
        taken.append(roomy.put("d", b"x" * (2 * MB)).status_code)

    broken = put_meanwhile(roomy, "c", 3 * MB, other, most=2 * MB)
    assert (broken.status_code, code(broken)) == (400, "body_cut")
    assert taken == [413]
    assert roomy.put("c", b"x" * (4 * MB)).status_code == 201


def test_a_replacement_under_way_takes_only_what_it_grows_by(roomy: Drive) -> None:
    for name in "abc":
        roomy.file(name, b"x" * (3 * MB))
    statuses: list[int] = []

    def others() -> None:
        statuses.append(roomy.put("d", b"x" * (MB // 2)).status_code)
        statuses.append(roomy.put("e", b"x" * MB).status_code)

    size = 3 * MB + MB // 4
    answer = put_meanwhile(roomy, "a", size, others, query="replace=1")
    assert answer.status_code == 201
    assert statuses == [201, 413]
    assert used(roomy) == 9 * MB + MB * 3 // 4


@pytest.mark.postgresql
def test_two_that_look_at_the_same_moment_do_not_both_begin(
    roomy: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        roomy.file(name, b"x" * (3 * MB))
    both = threading.Barrier(2)
    begun: list[int] = []
    receive, write = uploads._receive, blobs._write

    def met(*asked: Any) -> Any:
        both.wait(30)
        return receive(*asked)

    def written(*asked: Any) -> Any:
        begun.append(1)
        return write(*asked)

    monkeypatch.setattr(uploads, "_receive", met)
    monkeypatch.setattr(blobs, "_write", written)
    statuses: list[int] = []

    def put(name: str) -> None:
        browser = roomy.person.app.test_client()
        browser.set_cookie("holdfast", roomy.person.cookie())
        answer = browser.put(
            f"/files/folder/{roomy.root}/{name}",
            data=b"x" * (3 * MB),
            headers={"X-CSRFToken": roomy._token},
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=put, args=(name,)) for name in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 413]
    assert begun == [1]


def test_what_does_not_say_how_long_it_is_counts_as_far_as_it_has_come(
    roomy: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raid.halves.HALF", 512 * 1024)
    for name in "ab":
        roomy.file(name, b"x" * (5 * MB // 2))
    app, user_id = roomy.person.app, roomy.user_id
    told: list[str] = []

    def others() -> None:
        answer = roomy.put("d", b"x" * (4 * MB))
        assert (answer.status_code, code(answer)) == (413, "over_quota")
        told.append(answer.get_json()["error"]["message"])

    with app.app_context():
        body = Piece(4 * MB, others, at=7 * MB // 2)
        uploads.upload(user_id, roomy.root, uploads.Offer("c"), body)
    assert " that other uploads will take. Wait until" in told[0]
    assert used(roomy) == 9 * MB


def test_what_does_not_say_how_long_it_is_stops_where_the_room_ends(
    roomy: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let in before others came, and what it has stored is charged to nobody."""
    monkeypatch.setattr("raid.halves.HALF", 512 * 1024)
    for name in "ab":
        roomy.file(name, b"x" * (5 * MB // 2))
    app, user_id = roomy.person.app, roomy.user_id
    body = Piece(4 * MB, lambda: roomy.file("d", b"x" * (4 * MB)))
    with (
        app.app_context(),
        pytest.raises(
            OverQuota, match=r"needs more than the 1 MB that you have left\."
        ),
    ):
        uploads.upload(user_id, roomy.root, uploads.Offer("c"), body)
    assert used(roomy) == 9 * MB
    assert roomy.put("c", b"x" * MB).status_code == 201


class Piece:
    """So many bytes; something is done when some of them have come."""

    def __init__(self, size: int, meanwhile: Callable[[], Any], at: int = 0) -> None:
        self._left, self._until = size, size - at
        self._meanwhile: Callable[[], Any] | None = meanwhile

    def readinto(self, view: memoryview) -> int:
        if self._meanwhile is not None and self._left <= self._until:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        count = min(len(view), self._left)
        self._left -= count
        return count


@pytest.mark.parametrize(
    ("ago", "state", "counted"),
    [
        (0, UploadState.OPEN, 7),
        (0, UploadState.SEALING, 7),
        (0, UploadState.UNDOING, 0),
        (60, UploadState.OPEN, 0),
        (-7200, UploadState.OPEN, 0),
    ],
)
def test_what_will_be_undone_takes_no_room(
    roomy: Drive, ago: int, state: UploadState, counted: int
) -> None:
    user_id = roomy.user_id
    blob = uuid4()
    with roomy.person.app.app_context():
        with transaction() as session:
            touched = utcnow() - timedelta(seconds=ago)
            for owner in (user_id, None, user_id + 1):
                row = Upload(blob=uuid4(), owner_id=owner, size=7, state=state)
                row.touched_at = touched
                session.add(row)
            session.add(Upload(blob=blob, owner_id=user_id, size=2**62))
        assert under_way(db.session, user_id, blob) == counted
        assert under_way(db.session, user_id + 2) == 0
        release()


def test_over_quota_says_what_is_missing_and_where_room_is(roomy: Drive) -> None:
    for name in "abc":
        roomy.file(name, b"x" * (3 * MB))
    answer = roomy.put("d", b"x" * (2 * MB))
    assert (answer.status_code, code(answer)) == (413, "over_quota")
    message = answer.get_json()["error"]["message"]
    assert message == "This needs 2 MB and you have 1 MB left. Ask for more room."
    first = roomy.page().rows[0]["id"]
    roomy.post(f"/files/file/{first}/delete")
    message = roomy.put("d", b"x" * (2 * MB)).get_json()["error"]["message"]
    assert message == (
        "This needs 2 MB and you have 1 MB left. Empty the trash (3 MB) or ask for "
        "more room."
    )
    roomy.post("/files/trash/purge")
    assert used(roomy) == 6 * MB
    assert roomy.put("d", b"x" * (2 * MB)).status_code == 201


@pytest.mark.parametrize(
    ("size", "expected"), [(4 * MB + 1, "too_large"), (2 * MB, "over_quota")]
)
def test_u7_a_declared_length_is_refused_before_a_byte_is_read(
    roomy: Drive, size: int, expected: str
) -> None:
    roomy.file("a", b"x" * (4 * MB))
    roomy.file("b", b"x" * (4 * MB))
    roomy.file("c", b"x" * MB)
    answer = roomy.send(
        "PUT",
        f"/files/folder/{roomy.root}/d",
        environ_overrides={"CONTENT_LENGTH": str(size), "wsgi.input": Untouched()},
    )
    assert (answer.status_code, code(answer)) == (413, expected)


def test_u7_a_form_is_refused_by_its_length(roomy: Drive) -> None:
    answer = roomy.send(
        "POST",
        f"/files/folder/{roomy.root}/upload",
        environ_overrides={
            "CONTENT_LENGTH": str(5 * MB),
            "wsgi.input": Untouched(),
        },
        content_type="multipart/form-data; boundary=x",
        headers={"Accept": "application/json"},
    )
    assert (answer.status_code, code(answer)) == (413, "too_large")


class Endless:
    """A chunked body without an end."""

    count = 0

    def readinto(self, view: memoryview) -> int:
        self.count += len(view)
        return len(view)


class Trickle(Endless):
    """The same in small pieces, so that the quota is met before the limit."""

    def readinto(self, view: memoryview) -> int:
        return super().readinto(view[:1000])


def test_u7_a_body_of_unknown_length_is_cut_off_at_the_limit(roomy: Drive) -> None:
    source = Endless()
    with roomy.person.app.app_context():
        with pytest.raises(TooLarge):
            uploads.upload(roomy.user_id, roomy.root, uploads.Offer(name="a"), source)
        assert source.count < 40 * MB
    assert roomy.names() == []


def test_a_body_of_unknown_length_is_cut_off_at_the_quota(roomy: Drive) -> None:
    for name in "abc":
        roomy.file(name, b"x" * (3 * MB))
    with roomy.person.app.app_context(), pytest.raises(OverQuota, match="1 MB"):
        uploads.upload(roomy.user_id, roomy.root, uploads.Offer(name="d"), Trickle())
    assert used(roomy) == 9 * MB


def test_a_replacement_counts_the_difference(roomy: Drive) -> None:
    for name in "abc":
        roomy.file(name, b"x" * (3 * MB))
    assert roomy.put("a", b"x" * (4 * MB), query="replace=1").status_code == 201
    assert used(roomy) == 10 * MB
    assert roomy.put("a", b"x", query="replace=1").status_code == 201
    assert used(roomy) == 6 * MB + 1


def test_a_form_keeps_what_fits(roomy: Drive) -> None:
    for name in "ab":
        roomy.file(name, b"x" * (4 * MB))
    url = f"/files/folder/{roomy.root}/upload"
    body = form(("c", b"x" * MB), ("d", b"x" * MB))
    assert roomy.send("POST", url, data=body, **FORM).status_code == 201
    assert used(roomy) == 10 * MB
    body = form(("e", b"x"), ("empty", b""))
    told = roomy.send("POST", url, data=body, **FORM).get_json()
    assert [one["name"] for one in told["files"]] == ["empty"]
    assert told["failed"][0]["code"] == "over_quota"


FORM: dict[str, Any] = {
    "content_type": "multipart/form-data; boundary=x",
    "headers": {"Accept": "application/json"},
}


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
        "\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--x--\r\n"


def test_check_knows_the_room(roomy: Drive) -> None:
    url = f"/files/folder/{roomy.root}/check?name=a&size={11 * MB}"
    answer = roomy.get(url, headers={"Accept": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_400_000_000, "1.4 GB"),
        (9_960_000, "10 MB"),
        (25_400_000, "25 MB"),
        (999_999, "1 MB"),
        (3 * 10**9, "3 GB"),
        (10**22, "10000 EB"),
    ],
)
def test_sizes_as_people_read_them(count: int, text: str) -> None:
    assert filesize(count) == text


@given(st.integers(0, 10**18))
def test_a_size_is_never_far_off(count: int) -> None:
    number, unit = filesize(count).split()
    scale = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB", "EB").index(unit)
    assert abs(float(number) * scale - count) <= 0.051 * max(count, 1)
