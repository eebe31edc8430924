"""The receipt of a file: on its page and in its download."""

import hashlib
from datetime import UTC, datetime

from flask import Flask
from sqlalchemy import update

from files import disposition
from storage.db import transaction
from storage.models import Blob
from support.drive import Drive

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def _verify(app: Flask, data: bytes) -> None:
    digest = hashlib.sha256(data).digest()
    with app.app_context(), transaction() as session:
        session.execute(update(Blob).values(sha256=digest, verified_at=WHEN))


def test_a_download_carries_its_receipt(app: Flask, drive: Drive) -> None:
    """The time of the read-back and the digest, once they are known."""
    file_id = drive.file("a", b"A")
    assert "Holdfast-Verified" not in drive.read(file_id).headers
    _verify(app, b"A")
    answer = drive.read(file_id)
    assert answer.headers["Holdfast-Verified"] == "Wed, 04 Mar 2026 05:06:07 GMT"
    digest = hashlib.sha256(b"A").digest()
    assert answer.headers["Repr-Digest"] == disposition.repr_digest(digest)
    assert "Holdfast-Verified" in drive.read(file_id, Range="bytes=0-0").headers
    unchanged = drive.read(file_id, If_None_Match=answer.headers["ETag"])
    assert unchanged.status_code == 304
    assert "Holdfast-Verified" not in unchanged.headers


def test_the_page_of_a_file_shows_it(app: Flask, drive: Drive) -> None:
    """Or says that it will come, or that it could not."""
    page = f"/files/file/{drive.file('a', b'A')}"
    assert "read back and verified within minutes" in drive.get(page).text
    _verify(app, b"A")
    text = drive.get(page).text
    assert "Read back and verified on" in text
    assert "2026-03-04 05:06" in text
    assert hashlib.sha256(b"A").hexdigest() in text
    with app.app_context(), transaction() as session:
        session.execute(update(Blob).values(damaged=True, verified_at=None))
    assert "could not be read back" in drive.get(page).text


def test_the_answer_to_a_put_is_as_before(drive: Drive) -> None:
    """Nothing about receipts in it."""
    told = drive.put("a", b"A").get_json()
    assert not any("verified" in key for key in told)
