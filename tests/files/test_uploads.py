"""PUT and the form: bytes in, whole or not at all."""

import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Flask, has_app_context
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from werkzeug.test import TestResponse

from auth.models import User
from auth.services import disable
from files import quota, uploads
from files.body import GuardedBody
from files.errors import NameTaken
from files.models import Entry, IdempotencyKey
from raid.errors import ArrayReadOnly, NoSpace
from storage.db import db, release, transaction
from storage.errors import Fenced
from storage.models import Blob, BlobState, Upload
from support.drive import JSON, Drive, code

SIZES = [0, 1, 65_535, 65_536, 65_537, 300_000, 2_500_000]


def test_what_goes_in_comes_out(drive: Drive) -> None:
    for size in SIZES:
        data = bytes(range(251)) * (size // 251 + 1)
        data = data[:size]
        answer = drive.put(f"{size}.bin", data)
        assert answer.status_code == 201
        told = answer.get_json()
        assert told == {
            "id": told["id"],
            "kind": "file",
            "name": f"{size}.bin",
            "folder": drive.root,
            "size": size,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        assert drive.read(told["id"]).data == data


def test_put_keeps_the_body_whatever_its_type(drive: Drive) -> None:
    types = [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "text/html; charset=utf-8",
        "nonsense",
    ]
    data = b"a=1&b=2\r\n--x\r\nnot a form"
    for number, content_type in enumerate(types):
        headers = {} if content_type is None else {"Content-Type": content_type}
        answer = drive.put(f"{number}", data, headers=headers)
        assert answer.status_code == 201
        assert drive.read(answer.get_json()["id"]).data == data


def test_put_takes_the_token_from_the_header_alone(drive: Drive) -> None:
    drive.file("control")
    token = drive._token
    body = {"csrf_token": token}
    url = f"/files/folder/{drive.root}/a"
    assert drive.person.send("PUT", url, data=body).status_code == 400
    answer = drive.person.send("PUT", f"{url}?csrf_token={token}", data=b"x")
    assert answer.status_code == 400
    assert drive.names() == ["control"]


def test_any_name_can_be_put(drive: Drive) -> None:
    for name in ("upload", "folders", "details", "check", "日本語 €.txt"):
        assert drive.put(name, b"x").get_json()["name"] == name


def test_bad_names_are_refused_before_a_byte_is_kept(drive: Drive) -> None:
    for name, status in (
        ("a%2Fb", 404),
        ("%2Fb", 404),
        ("%2F%2Fb", 404),
        ("%2e%2e%2f", 404),
        ("a%00b", 400),
        ("a%0Ab", 400),
        ("%E2%80%AEx", 400),
        ("x" * 256, 400),
    ):
        path = f"/files/folder/{drive.root}/{name}"
        assert drive.send("PUT", path, data=b"x").status_code == status
    assert drive.names() == []


def test_a_name_that_is_no_text_is_refused(drive: Drive) -> None:
    path = f"/files/folder/{drive.root}/x\xff"
    answer = drive.send("PUT", "/", data=b"x", environ_overrides={"PATH_INFO": path})
    assert answer.status_code == 400
    assert drive.names() == []


def test_a_taken_name_keeps_what_is_there(drive: Drive) -> None:
    file = drive.file("a", b"old")
    answer = drive.put("a", b"new")
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    assert drive.read(file).data == b"old"
    folder = drive.folder("folder")
    answer = drive.put("folder", b"new", query="replace=1")
    assert (answer.status_code, code(answer)) == (409, "name_taken")
    assert drive.names(folder) == []


def test_replacing_keeps_the_id_and_lets_the_old_bytes_go(
    drive: Drive, app: Flask
) -> None:
    file = drive.file("a", b"old bytes")
    before = drive.read(file).headers["ETag"]
    answer = drive.put("a", b"new", query="replace=1")
    assert answer.status_code == 201
    assert answer.get_json()["id"] == file
    read = drive.read(file)
    assert read.data == b"new"
    assert read.headers["ETag"] != before
    with app.app_context():
        states = db.session.scalars(select(Blob.state).order_by(Blob.created_at)).all()
        release()
    assert list(states) == [BlobState.TOMBSTONED, BlobState.LIVE]


def test_a_replacement_that_fails_leaves_the_old_bytes(drive: Drive) -> None:
    file = drive.file("a", b"old")
    wrong = {"Repr-Digest": digest(b"something else")}
    answer = drive.put("a", b"new", query="replace=1", headers=wrong)
    assert answer.status_code == 400
    assert drive.read(file).data == b"old"


def digest(data: bytes) -> str:
    encoded = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return f"sha-256=:{encoded}:"


def test_the_clients_digest_is_checked(drive: Drive, app: Flask) -> None:
    for size in (0, 10, 300_000):
        data = b"x" * size
        for header in ("Repr-Digest", "Content-Digest"):
            right = {header: digest(data)}
            answer = drive.put("right", data, query="replace=1", headers=right)
            assert answer.status_code == 201
            wrong = {header: digest(data + b"!")}
            assert drive.put("wrong", data, headers=wrong).status_code == 400
    assert drive.names() == ["right"]
    nothing_left(app)


def test_a_broken_digest_is_refused(drive: Drive) -> None:
    for said in ("abc", "!!!", "A" * 40, "", "\u00e9" * 44):
        headers = {"Repr-Digest": f"sha-256=:{said}:"}
        assert drive.put("a", b"x", headers=headers).status_code == 400


@pytest.mark.parametrize("size", [2**63, 10**25, 10**400], ids=["63", "25", "400"])
def test_a_length_that_no_file_can_have_is_refused(
    drive: Drive, app: Flask, size: int
) -> None:
    """It does not fit into a row."""
    for limit in (None, 1000):
        set_quota(app, drive, limit)
        answer = drive.put("a", b"x", environ_overrides={"CONTENT_LENGTH": str(size)})
        assert (answer.status_code, code(answer)) == (413, "too_large"), answer.text
        path = f"/files/folder/{drive.root}/check"
        asked = drive.get(path, query_string={"name": "a", "size": size}, headers=JSON)
        assert (asked.status_code, code(asked)) == (413, "too_large"), asked.text
    assert drive.names() == []


def set_quota(app: Flask, drive: Drive, quota: int | None) -> None:
    with app.app_context(), transaction() as session:
        session.get_one(User, drive.user_id).quota_bytes = quota


def test_digests_in_other_algorithms_are_passed_over(drive: Drive) -> None:
    said = f"md5=:AAAA:, {digest(b'x')}, sha-512=:AAAA:"
    assert drive.put("a", b"x", headers={"Repr-Digest": said}).status_code == 201
    both = {"Repr-Digest": digest(b"x"), "Content-Digest": digest(b"y")}
    assert drive.put("b", b"x", headers=both).status_code == 400


def nothing_left(app: Flask) -> None:
    """No upload is open, and every blob that is live has a file."""
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Upload)) == 0
        live = select(func.count()).where(Blob.state == BlobState.LIVE)
        named = select(func.count()).where(Entry.blob_id.is_not(None))
        assert db.session.scalar(live) == db.session.scalar(named)
        release()


def test_a_short_body_never_becomes_a_file(drive: Drive, app: Flask) -> None:
    for size in (10, 100_000, 3_000_000):
        answer = drive.send(
            "PUT",
            f"/files/folder/{drive.root}/cut",
            data=b"x" * size,
            environ_overrides={"CONTENT_LENGTH": str(size + 1)},
        )
        assert answer.status_code == 400
        assert code(answer) == "body_cut"
    assert drive.names() == []
    nothing_left(app)


def test_a_part_of_a_file_cannot_be_put(drive: Drive) -> None:
    headers = {"Content-Range": "bytes 0-1/5"}
    assert drive.put("a", b"xy", headers=headers).status_code == 400


def test_a_repeat_with_the_same_key_gets_the_same_answer(
    drive: Drive, app: Flask
) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first = drive.put("a", b"data", headers=headers)
    again = drive.put("a", b"data", headers=headers)
    assert (again.status_code, again.data) == (first.status_code, first.data)
    assert first.status_code == 201
    # Also when the file has moved on since.
    drive.post(f"/files/file/{first.get_json()['id']}/rename", name="b")
    again = drive.put("a", b"data", headers=headers)
    assert (again.status_code, again.data) == (201, first.data)
    assert drive.names() == ["b"]
    nothing_left(app)


def test_a_key_used_for_something_else_is_refused(drive: Drive, other: Drive) -> None:
    headers = {"Idempotency-Key": "key-1"}
    assert drive.put("a", b"data", headers=headers).status_code == 201
    for name, data in (("b", b"data"), ("a", b"other data")):
        answer = drive.put(name, data, headers=headers)
        assert (answer.status_code, code(answer)) == (422, "key_reused")
    # A key belongs to its user.
    assert other.put("a", b"data", headers=headers).status_code == 201


def test_a_check_knows_what_was_answered_already(drive: Drive, app: Flask) -> None:
    """Whoever has lost the answer learns it without sending the bytes again."""

    def check(key: str, size: int = 4, **more: str) -> TestResponse:
        path = f"/files/folder/{drive.root}/check"
        headers = {**JSON, "Idempotency-Key": key}
        query = {"name": "a", "size": size, **more}
        return drive.get(path, query_string=query, headers=headers)

    assert check("key-1").status_code == 204
    first = drive.put("a", b"data", headers={"Idempotency-Key": "key-1"})
    again = check("key-1")
    assert (again.status_code, again.get_json()) == (200, first.get_json())
    assert code(check("key-2")) == "name_taken"
    assert code(check("key-1", size=5)) == code(check("key-1", replace="1"))
    assert code(check("key-1", size=5)) == "key_reused"
    assert check("a b").status_code == 400
    # A replacement, too, and also when nothing more would be let in.
    headers = {"Idempotency-Key": "key-3", "Repr-Digest": digest(b"more")}
    replaced = drive.put("a", b"more", query="replace=1", headers=headers)
    assert code(check("key-3", replace="1")) == "key_reused"
    set_quota(app, drive, 0)
    path = f"/files/folder/{drive.root}/check?name=a&size=4&replace=1"
    assert drive.get(path, headers=headers).get_json() == replaced.get_json()


def test_a_key_that_is_no_key_is_refused(drive: Drive) -> None:
    for key in ("", "a b", "x" * 256, "é"):
        answer = drive.put("a", b"", headers={"Idempotency-Key": key})
        assert answer.status_code == 400


def test_repeats_at_the_same_time_make_one_file(drive: Drive, app: Flask) -> None:
    answers: list[TestResponse] = []
    start = threading.Barrier(6)

    def put() -> None:
        browser = app.test_client()
        browser.set_cookie("holdfast", drive.person.cookie())
        start.wait()
        answers.append(
            browser.put(
                f"/files/folder/{drive.root}/a",
                data=b"data" * 1000,
                headers={"Idempotency-Key": "k", "X-CSRFToken": drive._token},
                buffered=True,
            )
        )

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.data for answer in answers}) == 1
    assert drive.names() == ["a"]
    nothing_left(app)


def test_old_keys_are_forgotten(drive: Drive, app: Flask) -> None:
    drive.put("a", b"", headers={"Idempotency-Key": "k"})
    with app.app_context():
        assert uploads.forget_keys() == 0
        with transaction() as session:
            row = session.scalars(select(IdempotencyKey)).one()
            row.created_at = row.created_at.replace(year=2020)
        assert uploads.forget_keys() == 1


def form_data(*files: tuple[str, bytes], **fields: str) -> dict[str, Any]:
    sent = [(io.BytesIO(data), name) for name, data in files]
    return {**fields, "file": sent}


def post_form(
    drive: Drive, data: dict[str, Any], headers: dict[str, str] | None = None
) -> TestResponse:
    return drive.person.send(
        "POST",
        f"/files/folder/{drive.root}/upload",
        data=data,
        headers=headers or {},
        content_type="multipart/form-data",
    )


def file_part(name: str, data: bytes) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n"


def token_part(drive: Drive) -> bytes:
    head = '--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n'
    return f"{head}{drive._token}\r\n".encode()


def raw_form(drive: Drive, *parts: bytes) -> Callable[..., TestResponse]:
    """Return a function that posts these parts in exactly this order."""

    def post(headers: dict[str, str] | None = None) -> TestResponse:
        return drive.person.send(
            "POST",
            f"/files/folder/{drive.root}/upload",
            data=b"".join(parts) + b"--x--\r\n",
            content_type="multipart/form-data; boundary=x",
            headers=headers or {},
        )

    return post


def test_a_form_without_script_stores_several_files(drive: Drive) -> None:
    data = form_data(("a.txt", b"1"), ("b.txt", b"2"), csrf_token=drive._token)
    answer = post_form(drive, data)
    assert answer.status_code == 303
    text = drive.get(answer.location).text
    assert "a.txt" in text
    assert drive.names() == ["a.txt", "b.txt"]


def test_a_form_keeps_both_on_a_taken_name(drive: Drive) -> None:
    for _ in range(3):
        data = form_data(("a.txt", b"1"), csrf_token=drive._token)
        answer = post_form(drive, data, JSON)
        assert answer.status_code == 201, answer.text
    assert drive.names() == ["a (2).txt", "a (3).txt", "a.txt"]


def test_a_form_says_what_was_kept_and_what_failed(drive: Drive) -> None:
    data = form_data(
        ("good.txt", b"1"),
        ("bad\u202ename", b"2"),
        ("fine", b""),
        csrf_token=drive._token,
    )
    answer = post_form(drive, data, JSON)
    assert answer.status_code == 201
    told = answer.get_json()
    assert [one["name"] for one in told["files"]] == ["good.txt", "fine"]
    (failed,) = told["failed"]
    assert failed["code"] == "bad_name"
    assert "\u202e" not in failed["name"]
    answer = post_form(drive, form_data(("a\u202e", b""), csrf_token=drive._token))
    text = drive.get(answer.location).text
    assert "was not kept" in text


def without_database(
    monkeypatch: pytest.MonkeyPatch, errors: list[type[DBAPIError] | None]
) -> None:
    """Let one transaction after the other meet such an error in its middle."""
    real = quota.charge

    def charge(*arguments: Any) -> None:
        real(*arguments)
        kind = errors.pop(0) if errors else None
        if kind is not None:
            raise kind("UPDATE canary", {}, Exception("the server went away"))

    monkeypatch.setattr(quota, "charge", charge)


def test_a_form_whose_database_goes_away_says_what_was_kept(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_database(monkeypatch, [None, OperationalError, None, OperationalError])
    names = ("a.txt", "b.txt", "c.txt")
    files = form_data(*((name, b"1") for name in names), csrf_token=drive._token)
    answer = post_form(drive, files, JSON)
    assert answer.status_code == 201
    told = answer.get_json()
    assert [one["name"] for one in told["files"]] == ["a.txt", "c.txt"]
    (failed,) = told["failed"]
    assert (failed["name"], failed["code"]) == ("b.txt", "database_unavailable")
    assert "canary" not in answer.text
    alone = form_data(("d.txt", b"1"), csrf_token=drive._token)
    answer = post_form(drive, alone, JSON)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert drive.names() == ["a.txt", "c.txt"]


def test_a_page_says_what_was_kept_when_the_database_goes_away(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_database(monkeypatch, [None, OperationalError])
    files = form_data(("a.txt", b"1"), ("b.txt", b"2"), csrf_token=drive._token)
    answer = post_form(drive, files)
    assert answer.status_code == 303
    text = drive.get(answer.location).text
    assert "Kept: “a.txt”." in text
    assert "“b.txt” was not kept. The database is busy" in text


def test_a_form_does_not_hide_our_own_mistakes(
    drive: Drive, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_database(monkeypatch, [IntegrityError])
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    data = form_data(("a.txt", b"1"), csrf_token=drive._token)
    assert post_form(drive, data, JSON).status_code == 500


@pytest.mark.sqlite
@pytest.mark.parametrize("kept", [0, 2])
def test_a_form_that_breaks_off_says_what_was_kept(drive: Drive, kept: int) -> None:
    files = [(f"{number}.txt", b"whole") for number in range(kept)]
    parts = [file_part(*one) for one in [*files, ("cut.bin", bytes(5000))]]
    data = token_part(drive) + b"".join(parts) + b"--x--\r\n"
    answer = drive.person.send(
        "POST",
        f"/files/folder/{drive.root}/upload",
        input_stream=io.BytesIO(data[:-3000]),
        environ_overrides={"CONTENT_LENGTH": str(len(data))},
        content_type="multipart/form-data; boundary=x",
        headers=JSON,
    )
    assert answer.status_code == 400
    said = answer.get_json()["error"]["message"]
    names = "“0.txt”, “1.txt”"
    assert ("Nothing was changed" in said) is (kept == 0)
    assert (f"Kept: {names}. Send the others again." in said) is (kept > 0)
    assert drive.names() == [name for name, _ in files]


def test_no_transaction_is_open_while_bytes_come(
    drive: Drive, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow client would hold a connection, and a snapshot, as long as it likes."""
    seen: list[bool] = []
    real = GuardedBody._ask

    def ask(self: GuardedBody, *asked: Any) -> Any:
        if has_app_context():  # what is drained comes after it
            seen.append(db.session().in_transaction())
        return real(self, *asked)

    monkeypatch.setattr(GuardedBody, "_ask", ask)
    set_quota(app, drive, 600_000)
    sizes = {"fits": 200_000, "bad\u202ename": 100_000, "": 50_000}
    files = [(name, bytes(size)) for name, size in sizes.items()]
    answer = post_form(drive, form_data(*files, csrf_token=drive._token), JSON)
    assert [one["name"] for one in answer.get_json()["files"]] == ["fits"]
    assert drive.put("more", bytes(500_000)).status_code == 413
    assert drive.put("few", bytes(70_000)).status_code == 201
    assert seen == [False] * len(seen), seen
    assert len(seen) > 5


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "error",
    [NoSpace("No room."), ArrayReadOnly("No."), Fenced(), NameTaken("Taken.")],
    ids=lambda error: type(error).__name__,
)
def test_a_form_answers_an_error_as_put_does(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(uploads, "upload", Mock(side_effect=error))
    put = drive.put("a", b"1", headers=JSON)
    said = {key: put.get_json()["error"][key] for key in ("code", "message")}
    form = post_form(drive, form_data(("a", b"1"), csrf_token=drive._token), JSON)
    assert form.status_code == put.status_code
    assert form.headers.get("Retry-After") == put.headers.get("Retry-After")
    assert form.get_json()["failed"] == [{"name": "a", **said}]


@pytest.mark.sqlite
def test_what_a_form_says_of_many_files_fits_into_the_cookie(drive: Drive) -> None:
    """A browser drops a cookie over 4 KiB, and then nobody reads of what failed."""
    random = Random(7)

    def name(start: str) -> str:
        return start + "".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(80))

    names = [name("\u202e") for _ in range(40)] + [name("k") for _ in range(40)]
    files = [(one, b"x") for one in names]
    answer = post_form(drive, form_data(*files, csrf_token=drive._token))
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert len(cookie) < 4000
    text = drive.get(answer.location).text
    assert "and 35 more" in text
    assert "35 more files were not kept" in text


def test_a_form_needs_its_token_before_the_first_file(drive: Drive) -> None:
    late = raw_form(drive, file_part("a", b"1"), token_part(drive))
    assert late().status_code == 400
    assert post_form(drive, form_data(("a", b"1"))).status_code == 400
    assert post_form(drive, form_data(("a", b"1"), csrf_token="x")).status_code == 400
    assert drive.names() == []
    assert late({"X-CSRFToken": drive._token}).status_code == 303
    assert drive.names() == ["a"]


def test_a_form_with_nothing_chosen_says_so(drive: Drive) -> None:
    answer = post_form(drive, form_data(("", b""), csrf_token=drive._token))
    assert answer.status_code == 303
    assert "No file was chosen" in drive.get(answer.location).text


def test_a_source_that_breaks_leaves_nothing(drive: Drive, app: Flask) -> None:
    class Broken:
        def readinto(self, view: memoryview) -> int:
            raise OSError("gone")

    with app.app_context():
        offer = uploads.Offer(name="a", size=10)
        with pytest.raises(OSError, match="gone"):
            uploads.upload(drive.user_id, drive.root, offer, Broken())
    nothing_left(app)


class Bytes:
    """A source that does something when it is read for the first time."""

    def __init__(self, data: bytes, meanwhile: Any = None) -> None:
        self._stream = io.BytesIO(data)
        self._meanwhile = meanwhile

    def readinto(self, view: memoryview) -> int:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return self._stream.readinto(view)


@pytest.mark.parametrize("purged", [False, True])
def test_u17_a_folder_deleted_while_uploading_into_it(
    drive: Drive, app: Flask, purged: bool
) -> None:
    outer = drive.folder("outer")
    folder = drive.folder("folder", outer)

    def gone() -> None:
        drive.post(f"/files/folder/{outer}/delete")
        if purged:
            drive.post(f"/files/folder/{outer}/purge")

    with app.app_context():
        source = Bytes(b"x" * 100_000, gone)
        offer = uploads.Offer(name="a", size=100_000)
        with pytest.raises(Exception, match="deleted while") as refused:
            uploads.upload(drive.user_id, folder, offer, source)
    assert getattr(refused.value, "status", None) == 409
    nothing_left(app)


class Input(io.RawIOBase):
    """The body of a request; something is done when it is read for the first time."""

    def __init__(self, data: bytes, meanwhile: Callable[[], Any]) -> None:
        self._source = Bytes(data, meanwhile)

    def read(self, size: int | None = -1) -> bytes:
        view = memoryview(bytearray(max(0, size or 0)))
        return bytes(view[: self._source.readinto(view)])


def put_slowly(
    drive: Drive, name: str, data: bytes, meanwhile: Callable[[], Any], **options: Any
) -> TestResponse:
    raw = {"CONTENT_LENGTH": str(len(data)), "wsgi.input": Input(data, meanwhile)}
    return drive.put(name, environ_overrides=raw, **options)


def test_what_a_disabled_account_had_under_way_is_not_kept(
    drive: Drive, app: Flask
) -> None:
    def disabled() -> None:
        with app.app_context():
            disable("alice")

    answer = put_slowly(drive, "a", b"x" * 100_000, disabled)
    assert (answer.status_code, code(answer)) == (401, "not_signed_in")
    assert (
        answer.get_json()["error"]["message"]
        == (drive.put("b").get_json()["error"]["message"])
    )
    nothing_left(app)
    # Who has a terminal may: nobody needs to be signed in for it.
    with app.app_context():
        offer = uploads.Offer(name="c")
        uploads.upload(drive.user_id, drive.root, offer, Bytes(b"x"))


def test_a_name_taken_while_uploading(drive: Drive, app: Flask) -> None:
    user_id = drive.user_id
    with app.app_context():
        source = Bytes(b"mine", lambda: drive.file("a", b"theirs"))
        with pytest.raises(NameTaken):
            uploads.upload(user_id, drive.root, uploads.Offer(name="a"), source)
    with app.app_context():
        source = Bytes(b"mine", lambda: drive.file("b", b"theirs"))
        offer = uploads.Offer(name="b", taken=uploads.Taken.NUMBER)
        answer = uploads.upload(user_id, drive.root, offer, source)
    assert answer.body["name"] == "b (2)"
    assert drive.names() == ["a", "b", "b (2)"]
    nothing_left(app)


def etag_of(drive: Drive, file_id: str) -> str:
    return drive.read(file_id).headers["ETag"]


def test_a_put_under_a_false_condition_changes_nothing(
    drive: Drive, app: Flask
) -> None:
    file = drive.file("a", b"first")
    old = etag_of(drive, file)
    replace: dict[str, Any] = {"query": "replace=1"}
    right = drive.put("a", b"second", headers={"If-Match": old}, **replace)
    assert right.status_code == 201
    for name, condition in (
        ("a", {"If-Match": old}),
        ("a", {"If-None-Match": "*"}),
        ("a", {"If-None-Match": etag_of(drive, file)}),
        ("b", {"If-Match": "*"}),
    ):
        answer = drive.put(name, b"third", headers=condition, **replace)
        assert (answer.status_code, code(answer)) == (412, "precondition_failed")
        assert "Nothing was kept" in answer.text
    assert drive.read(file).data == b"second"
    assert drive.names() == ["a"]
    new = drive.put("b", b"x", headers={"If-None-Match": "*"}, **replace)
    assert new.status_code == 201
    nothing_left(app)


def test_a_condition_holds_until_the_file_is_visible(drive: Drive, app: Flask) -> None:
    """Two that know the same file: the second one must not undo the first."""
    file = drive.file("a", b"first")
    headers = {"If-Match": etag_of(drive, file)}

    def other() -> None:
        assert drive.put("a", b"theirs", query="replace=1").status_code == 201

    mine = put_slowly(drive, "a", b"mine", other, query="replace=1", headers=headers)
    assert (mine.status_code, code(mine)) == (412, "precondition_failed")
    assert drive.read(file).data == b"theirs"

    def first() -> None:
        assert drive.put("b", b"theirs").status_code == 201

    headers = {"If-None-Match": "*"}
    mine = put_slowly(drive, "b", b"mine", first, query="replace=1", headers=headers)
    assert (mine.status_code, code(mine)) == (412, "precondition_failed")
    nothing_left(app)


def test_a_repeat_under_the_same_condition_gets_the_same_answer(drive: Drive) -> None:
    file = drive.file("a", b"first")
    headers = {"If-Match": etag_of(drive, file), "Idempotency-Key": "key"}
    said: dict[str, Any] = {"query": "replace=1", "headers": headers}
    first, again = drive.put("a", b"mine", **said), drive.put("a", b"mine", **said)
    assert (again.status_code, again.data) == (201, first.data)
    del headers["If-Match"]
    other = drive.put("a", b"mine", **said)
    assert (other.status_code, code(other)) == (422, "key_reused")


def test_keys_of_before_conditions_were_known_are_still_known() -> None:
    offer = uploads.Offer(name="a", size=1)
    said = ["folder", "a", 1, None, "refuse"]
    known = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    assert offer.fingerprint("folder") == known
