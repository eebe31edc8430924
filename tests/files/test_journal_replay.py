"""Whatever people do with their files, the journal alone gives the same rows."""

import os
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, update

from auth.services import create_user, disable, set_password
from files import services, trash, uploads
from files.errors import FilesError
from files.models import Entry
from files.uploads import Offer, Taken
from storage import watch
from storage.db import db, release, transaction, utcnow
from storage.journal import exporter, snapshots
from storage.members.calls import SystemCalls
from storage.models import Blob
from storage.runtime import runtime
from storage.worker import Worker
from support.arrays import Body
from support.journal import present, replay, watched
from support.people import PASSWORD
from support.soak import times


@pytest.fixture
def quiet(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application, looked at by nobody else, that takes snapshots early."""
    monkeypatch.setattr(watch, "start", lambda own: None)
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)
    monkeypatch.setattr(snapshots, "LEAST_BYTES", 2000)
    monkeypatch.setattr(exporter, "BATCH", 5)
    with app.app_context():
        yield app


class People:
    """Some people who do at random what people do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.users = [create_user(name, PASSWORD).id for name in ("ann", "ben")]
        self.steps: list[Callable[[int], object]] = [
            self.upload,
            self.upload,
            self.replace,
            self.folder,
            self.rename,
            self.move,
            self.trash,
            self.restore,
            self.purge,
            self.account,
            self.forget,
        ]

    def act(self) -> None:
        """Do one thing; what is refused changes nothing."""
        step, user = self.random.choice(self.steps), self.random.choice(self.users)
        try:
            step(user)
        except FilesError:
            db.session.rollback()

    def entries(self, user: int, *, trashed: bool = False) -> list[Entry]:
        found = db.session.scalars(
            select(Entry).where(Entry.owner_id == user).order_by(Entry.id)
        ).all()
        release()
        return [one for one in found if (one.trashed_at is not None) == trashed]

    def any(self, user: int, **which: bool) -> str:
        found = self.entries(user, **which)
        return self.random.choice(found).id if found else "none"

    def place(self, user: int) -> str:
        services.root(user)
        folders = [one.id for one in self.entries(user) if one.is_folder]
        return self.random.choice(folders)

    def upload(self, user: int, taken: Taken = Taken.NUMBER) -> None:
        data = os.urandom(self.random.choice([0, 10, 70_000]))
        offer = Offer(f"ä{self.random.randrange(5)}.txt", len(data), taken=taken)
        uploads.upload(user, self.place(user), offer, Body(data))

    def replace(self, user: int) -> None:
        self.upload(user, Taken.REPLACE)

    def folder(self, user: int) -> None:
        services.create_folder(user, self.place(user), f"f{self.random.randrange(4)}")

    def rename(self, user: int) -> None:
        services.rename(user, self.any(user), f"r{self.random.randrange(9)}")

    def move(self, user: int) -> None:
        services.move(user, [self.any(user)], self.place(user))

    def trash(self, user: int) -> None:
        trash.trash(user, [self.any(user)])

    def restore(self, user: int) -> None:
        trash.restore(user, [self.any(user, trashed=True)])

    def purge(self, user: int) -> None:
        trash.purge(user, [self.any(user, trashed=True)])

    def account(self, user: int) -> None:
        name = ("ann", "ben")[self.users.index(user)]
        set_password(name, PASSWORD + "!")
        disable(name)

    def forget(self, user: int) -> None:
        """Let the wait of released blobs end, and the worker remove them."""
        past = utcnow() - timedelta(days=2)
        with transaction() as session:
            session.execute(
                update(Blob).where(Blob.due_at.is_not(None)).values(due_at=past)
            )
        Worker().run_once(5)


@pytest.mark.parametrize("seed", range(times(1)))
def test_replaying_the_journal_gives_the_rows(quiet: Flask, seed: int) -> None:
    people = People(seed)
    members: Path = quiet.config["HOLDFAST"].data_dir / "members"
    for _ in range(5):
        for _ in range(people.random.randrange(3, 12)):
            people.act()
        exporter.run(runtime().array())
        for slot in ("0", "3"):
            assert watched(replay(members / slot)) == watched(present())
    assert {name for name, _ in present()} == {"users", "entries", "blobs"}
