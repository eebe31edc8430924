"""A team that uses the site: what they have, and what has to come back of it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import delete, select, text, update

from auth.models import User
from auth.services import create_user
from files import services, trash, uploads
from files.models import FILE, Entry
from files.uploads import Offer, Taken
from storage import blobs, purge
from storage.db import Base, db, release, transaction, utcnow
from storage.journal import exporter
from storage.models import Blob, Outbox
from support.arrays import Body
from support.people import PASSWORD
from support.store import KIB, Store

SIZES = (0, 7, 64 * KIB, 64 * KIB + 1, 300 * KIB, 1100 * KIB)
"""Every form: empty, inline, combined, and several segments."""

Tree = dict[str, tuple[int, str] | None]
"""Path -> size and SHA-256 of a file, None for a folder."""


@dataclass
class Team:
    """Ann and Bob, and an administrator, over one array."""

    store: Store
    users: dict[str, int] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> Flask:
        """The application."""
        return self.store.app

    # -- what people do

    def join(self, name: str, *, admin: bool = False) -> None:
        """Make an account and its top folder."""
        user = create_user(name, PASSWORD, admin=admin, email=f"{name}@example.org")
        self.users[name] = user.id
        self.folders[name] = services.root(user.id).id

    def folder(self, path: str) -> str:
        """Make a folder; `path` begins with the name of its owner."""
        above, _, name = path.rpartition("/")
        owner = self.users[path.partition("/")[0]]
        made = services.create_folder(owner, self.folders[above], name)
        self.folders[path] = made.id
        return made.id

    def put(self, path: str, data: bytes, *, replace: bool = False) -> str:
        """Upload a file."""
        above, _, name = path.rpartition("/")
        owner = self.users[path.partition("/")[0]]
        taken = Taken.REPLACE if replace else Taken.REFUSE
        offer = Offer(name, len(data), "application/x-kelp", taken=taken)
        answer = uploads.upload(owner, self.folders[above], offer, Body(data))
        return str(answer.body["id"])

    def work(self) -> None:
        """Do a bit of everything: every form, moves, trash, purges, replacements."""
        for name in ("ann", "bob"):
            self.join(name)
        self.join("root", admin=True)
        ann, bob = self.users["ann"], self.users["bob"]
        self.folder("ann/Ship")
        self.folder("ann/Ship/deep")
        empty = self.folder("ann/Ship/empty")
        old = self.folder("bob/Old")
        for size in SIZES:
            self.put(f"ann/Ship/deep/{size}.bin", data_of(size))
        renamed = self.put("ann/Ship/before", data_of(11))
        services.rename(ann, renamed, "after (ümläut).txt")
        moved = self.put("bob/moved.txt", data_of(12))
        services.move(bob, [moved], old)
        self.put("bob/Old/inside.txt", data_of(13))
        trash.trash(bob, [old])
        gone = self.put("ann/gone.txt", data_of(14))
        trash.trash(ann, [gone])
        purged = self.put("ann/purged.txt", data_of(15))
        trash.trash(ann, [purged])
        trash.purge(ann, [purged])
        self.put("bob/twice.txt", data_of(16))
        self.put("bob/twice.txt", data_of(17), replace=True)
        services.rename(ann, empty, "still empty")
        services.move(ann, [empty], self.folders["ann"])

    # -- what there is

    def tree(self) -> Tree:
        """Return everything that people see, read back through the array."""
        found: Tree = {}
        for path, entry in self._paths():
            if entry.kind != FILE:
                found[path] = None
                continue
            blob = db.session.get_one(Blob, entry.blob_id)
            release()
            data = b"".join(blobs.open_blob(blob).chunks())
            assert len(data) == entry.size
            found[path] = entry.size, hashlib.sha256(data).hexdigest()
        return found

    def _paths(self) -> Iterator[tuple[str, Entry]]:
        entries = {entry.id: entry for entry in self.store.rows(Entry)}
        names = {user.id: user.name for user in self.store.rows(User)}
        for entry in entries.values():
            path, here = "", entry
            while here.parent_id is not None:
                path, here = f"/{here.name}{path}", entries[here.parent_id]
            top = f"/trash/{here.name}" if here.trashed_at else ""
            yield f"{names[entry.owner_id]}{top}{path}", entry

    def accounts(self) -> dict[str, tuple[Any, ...]]:
        """Return what is known of everybody."""
        return {
            user.name: (
                user.id,
                user.name_key,
                user.email,
                user.password_hash,
                user.is_admin,
                user.disabled_at,
                user.quota_bytes,
                user.used_bytes,
                user.created_at,
            )
            for user in self.store.rows(User)
        }

    # -- what happens to the database

    def lose_database(self) -> None:
        """Empty every table, as a database that was just made."""
        self.store.runtime.close()
        with transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
            session.execute(delete(Outbox))
        db.session.remove()
        self.store.restart()

    def save_database(self) -> dict[str, list[dict[str, Any]]]:
        """Return all rows, as a backup."""
        tables = Base.metadata.sorted_tables
        found = {
            table.name: [
                dict(row) for row in db.session.execute(select(table)).mappings()
            ]
            for table in tables
        }
        release()
        return found

    def load_database(self, saved: dict[str, list[dict[str, Any]]]) -> None:
        """Put an old backup back."""
        self.lose_database()
        with transaction() as session:
            for table in Base.metadata.sorted_tables:
                rows = saved[table.name]
                if table.name == "entries":
                    rows = parents_first(rows)
                if rows:
                    session.execute(table.insert(), rows)
            session.execute(delete(Outbox))
            if session.get_bind().dialect.name == "postgresql":
                last = max(row["id"] for row in saved["users"])
                session.execute(text(f"SELECT setval('users_id_seq', {last})"))
        self.store.restart()

    def purge_everything(self) -> None:
        """Let the grace of what was let go of end, and the worker remove it."""
        past = utcnow() - timedelta(days=2)
        with transaction() as session:
            session.execute(
                update(Blob).where(Blob.state == "tombstoned").values(due_at=past)
            )
        purge.run(self.store.runtime.array())
        self.store.runtime.forget_map()


def data_of(size: int) -> bytes:
    """Return bytes that depend on their number only."""
    piece = hashlib.sha256(str(size).encode()).digest()
    return (piece * (size // len(piece) + 1))[:size]


def parents_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries so that each comes after the folder it lies in."""
    done: set[str | None] = {None}
    ordered: list[dict[str, Any]] = []
    waiting = rows
    while waiting:
        ready = [row for row in waiting if row["parent_id"] in done]
        done |= {row["id"] for row in ready}
        ordered += ready
        waiting = [row for row in waiting if row["id"] not in done]
    return ordered


def export(store: Store) -> None:
    """Let the worker's journal write down everything, and give it to the members."""
    exporter.run(store.runtime.array())
    assert store.rows(Outbox) == []
