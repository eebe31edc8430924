"""A person's files in front of Flask's test client, and what always holds of them."""

import html
import json
import re
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from flask import Flask
from sqlalchemy import event, func, select
from werkzeug.test import TestResponse

from auth.models import User
from files.models import FILE, FOLDER, Entry
from files.names import sort_key
from storage.db import db, release, transaction, utcnow
from storage.models import Blob
from support.people import Person

JSON = {"Accept": "application/json"}
_ROW = re.compile(r"<[a-z]+\s[^>]*\bdata-id=[^>]*>", re.DOTALL)
_ATTRIBUTE = re.compile(r'\bdata-(id|kind|name|size)="([^"]*)"')
_FOLDER = re.compile(r'<main[^>]*data-folder-id="([^"]+)"')
_NEXT = re.compile(r'<a\b(?=[^>]*\brel="next")[^>]*\bhref="([^"]+)"')


class Drive:
    """What one person does with files."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._token = person.token("/files/")
        self.root = self.page().folder

    @property
    def user_id(self) -> int:
        """Return the number of the account."""
        with self.person.app.app_context():
            found = db.session.scalar(
                select(Entry.owner_id).where(Entry.id == self.root)
            )
            release()
            return int(found or 0)

    def send(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request with the token in its header."""
        headers = {"X-CSRFToken": self._token, **options.pop("headers", {})}
        return self.person.send(method, path, headers=headers, **options)

    def put(
        self, name: str, data: bytes = b"", folder: str = "", query: str = "", **kw: Any
    ) -> TestResponse:
        """PUT a file and return the answer."""
        path = f"/files/folder/{folder or self.root}/{name}"
        return self.send("PUT", path, data=data, query_string=query, **kw)

    def file(self, name: str, data: bytes = b"", folder: str = "") -> str:
        """Store a file and return its id."""
        answer = self.put(name, data, folder)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    def folder(self, name: str, parent: str = "") -> str:
        """Make a folder and return its id."""
        answer = self.post(f"/files/folder/{parent or self.root}/folders", name=name)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    def post(self, path: str, **fields: Any) -> TestResponse:
        """POST a form as a script does."""
        return self.send("POST", path, data=fields, headers=JSON)

    def form(self, path: str, **fields: Any) -> TestResponse:
        """POST a form as a browser without JavaScript does."""
        fields["csrf_token"] = self._token
        return self.person.send("POST", path, data=fields)

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET something."""
        return self.person.get(path, **options)

    def read(self, file_id: str, **headers: str) -> TestResponse:
        """Download a file."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.get(f"/files/file/{file_id}/download", headers=sent)

    def page(self, path: str = "/files/") -> "Page":
        """Read a page of a folder."""
        return Page(self.get(path))

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, as its pages show them."""
        page = self.page(f"/files/folder/{folder}" if folder else "/files/")
        names = [row["name"] for row in page.rows]
        while page.next_url:
            page = self.page(page.next_url)
            names += [row["name"] for row in page.rows]
        return names

    def trash(self) -> list[dict[str, str]]:
        """Return the rows of the trash."""
        return self.page("/files/trash").rows


class Page:
    """What a page of rows says."""

    def __init__(self, answer: TestResponse) -> None:
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:800]}"
        text = answer.text
        self.text = text
        found = _FOLDER.search(text)
        self.folder = found[1] if found else ""
        self.rows = [
            {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(tag)}
            for tag in _ROW.findall(text)
        ]
        after = _NEXT.search(text)
        self.next_url = html.unescape(after[1]) if after else None


def code(answer: TestResponse) -> str:
    """Return the code of a JSON error."""
    return str(json.loads(answer.text)["error"]["code"])


def check_books(app: Flask) -> None:
    """Assert that every counter equals what it counts, and nothing hangs in the air."""
    with app.app_context():
        _check_counters()
        _check_quota()
        _check_tops()
        release()


def _check_counters() -> None:
    counted = (
        select(
            Entry.parent_id,
            func.sum(Entry.kind),
            func.count() - func.sum(Entry.kind),
            func.sum(Entry.size),
        )
        .where(Entry.parent_id.is_not(None))
        .group_by(Entry.parent_id)
    )
    inside = {row[0]: tuple(map(int, row[1:])) for row in db.session.execute(counted)}
    columns = select(Entry.id, Entry.name, Entry.files, Entry.folders, Entry.bytes)
    for row in db.session.execute(columns.where(Entry.kind == FOLDER)):
        assert tuple(row[2:]) == inside.get(row.id, (0, 0, 0)), row.name


def _check_quota() -> None:
    for user in db.session.scalars(select(User)):
        held = db.session.scalar(
            select(func.sum(Entry.size)).where(Entry.owner_id == user.id)
        )
        assert user.used_bytes == int(held or 0), user.name


def _check_tops() -> None:
    """Every chain ends in a root or in the trash, and each user has one root."""
    columns = select(Entry.id, Entry.parent_id, Entry.owner_id, Entry.trashed_at)
    entries = {row.id: row for row in db.session.execute(columns)}
    for entry in entries.values():
        seen = set()
        while entry.parent_id is not None:
            assert entry.id not in seen, "a cycle"
            seen.add(entry.id)
            assert entries[entry.parent_id].owner_id == entry.owner_id
            entry = entries[entry.parent_id]
    tops = [row for row in entries.values() if row.parent_id is None]
    roots = [row.owner_id for row in tops if row.trashed_at is None]
    assert len(roots) == len(set(roots))


def fill(
    app: Flask, user_id: int, folder_id: str, names: Iterable[str], size: int = 10
) -> None:
    """Put rows of files into a folder without storing a byte."""
    with app.app_context(), transaction() as session:
        files = [(uuid4(), name) for name in names]
        blobs = [
            {
                "uuid": blob,
                "size": size,
                "form": 1,
                "attempt": 1,
                "manifest_digest": b"",
                "root": b"",
            }
            for blob, _ in files
        ]
        rows = [
            {
                "owner_id": user_id,
                "parent_id": folder_id,
                "kind": FILE,
                "name": name,
                "sort_key": sort_key(name),
                "size": size + number % 7,
                "blob_id": blob,
                "changed_at": utcnow(),
            }
            for number, (blob, name) in enumerate(files)
        ]
        session.execute(Blob.__table__.insert(), blobs)
        session.execute(Entry.__table__.insert(), rows)
        total = sum(int(row["size"]) for row in rows)  # type: ignore[call-overload]
        folder = session.get_one(Entry, folder_id)
        folder.files += len(rows)
        folder.bytes += total
        session.get_one(User, user_id).used_bytes += total


class Statements:
    """Counts the statements that a block sends to the database."""

    def __init__(self, app: Flask) -> None:
        with app.app_context():
            self._engine = db.engine
        self.seen: list[str] = []

    def _note(self, *args: Any) -> None:
        self.seen.append(str(args[2]))

    def __enter__(self) -> "Statements":
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)
