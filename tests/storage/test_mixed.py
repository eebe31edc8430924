"""Disks and buckets of any providers in one array, and a disk replaced by a bucket."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from flask import Flask

from storage import membership, services
from storage.errors import StorageError
from storage.jobs import table
from storage.models import Blob, Job, JobKind, MemberRow
from support import buckets, jobs
from support.between import Answer, between
from support.buckets import S3Server
from support.store import KIB, MIB, Store

pytestmark = [
    pytest.mark.sqlite,
    pytest.mark.usefixtures("calm", "credentials"),
]

SIZES = (0, 1000, 300 * KIB, 2 * MIB)
Make = Callable[..., Store]


@pytest.fixture
def over(make_app: Callable[..., Flask]) -> Iterator[Make]:
    """Give a function that makes an array over some places."""
    with ExitStack() as stack:

        def make(*urls: str, **settings: str) -> Store:
            places = " ".join(urls)
            app = make_app(members=False, ARRAY_MEMBERS=places, **settings)
            stack.enter_context(app.app_context())
            services.ensure_array()
            return Store(app)

        yield make


def scrubbed(store: Store) -> Job:
    """Look at every object, and return what was found."""
    number = table.request(JobKind.SCRUB)
    jobs.finish(store)
    return next(job for job in jobs.jobs(store) if job.id == number)


@pytest.mark.timeout(400)
def test_four_buckets_of_three_providers(
    moto: S3Server, rclone: S3Server, over: Make
) -> None:
    """RAID-6: the provider with two of them goes, and comes back."""
    with buckets.moto() as third, between(third.endpoint) as way:
        theirs = [f"s3://{third.bucket()}/a?endpoint={way.endpoint}" for _ in range(2)]
        store = over(
            moto.url(), theirs[0], rclone.url(), theirs[1], ARRAY_LEVEL="raid6"
        )
        for size in SIZES:
            store.put(size)
        assert store.status().state == "clean"
        gone = way.spoil(".*", Answer(misdeed="reset"))
        for size in SIZES:
            store.put(size)
        store.check()
        assert gone
        status = store.status()
        assert status.state == "degraded"
        assert [one.observed for one in status.members[::2]] == [None, None]
        assert {one.observed for one in status.members[1::2]} <= {"slow", "missing"}
        store.let_go(next(iter(store.contents)))
        way.rules.clear()
        store.status()
        jobs.debts_end(store)
        jobs.finish(store)
        assert (store.status().state, store.status().owed) == ("clean", 0)
        assert not scrubbed(store).report
        store.check()


# -- a disk gives way to a bucket ----------------------------------------------------


@dataclass
class People:
    """Some who upload, download and delete without end; what went wrong is noted."""

    store: Store
    did: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def upload(self, dice: random.Random) -> None:
        """Store a file of any form."""
        self.store.put(dice.choice(SIZES))

    def download(self, dice: random.Random) -> None:
        """Read a file; it may be deleted meanwhile, and then it may be cut."""
        uuid, data = dice.choice(list(self.store.contents.items()))
        try:
            right = self.store.get(uuid) == data
        except StorageError:
            right = False
        if not right and uuid in self.store.contents:
            self.wrong.append(f"{uuid} is not what was stored")

    def delete(self, dice: random.Random) -> None:
        """Let go of a file, as long as there are some."""
        if len(self.store.contents) > 10:
            uuid = dice.choice(list(self.store.contents))
            self.store.let_go(uuid)
            self.deleted.append(str(uuid))

    def go_on(self, name: str, seed: int) -> None:
        """Do one thing over and over."""
        dice = random.Random(seed)
        with self.store.app.app_context():
            while not self.over.wait(PAUSE):
                try:
                    getattr(self, name)(dice)
                except Exception as error:
                    self.wrong.append(f"{name}: {type(error).__name__}: {error}")
                with self.changed:
                    self.did[name] += 1
                    self.changed.notify_all()

    def wait(self) -> None:
        """Wait until everybody has done something more."""
        before = Counter(self.did)
        with self.changed:
            assert self.changed.wait_for(
                lambda: all(self.did[one] > before[one] for one in WHAT), 60
            )


PAUSE = 0.5
"""Seconds between two doings of one person: the worker has to keep up."""
WHAT = ("upload", "download", "delete")


@contextmanager
def busy(store: Store) -> Iterator[People]:
    """Let people work meanwhile."""
    people = People(store)
    threads = [
        threading.Thread(target=people.go_on, args=(name, seed))
        for seed, name in enumerate(WHAT)
    ]
    for thread in threads:
        thread.start()
    try:
        yield people
    finally:
        people.over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.timeout(300)
def test_a_disk_is_replaced_by_a_bucket_while_people_go_on(
    moto: S3Server, rclone: S3Server, over: Make
) -> None:
    disks = [f"file:members/{slot}" for slot in range(2)]
    store = over(*disks, moto.url(), rclone.url(), PURGE_GRACE_SECONDS="0")
    for size in SIZES * 3:
        store.put(size)
    with busy(store) as people:
        people.wait()
        url = moto.url()
        uuid = membership.replace(0, url)
        while jobs.active(store) or store.status().members[0].uuid != str(uuid):
            people.wait()
            jobs.tick(store)
        people.wait()
    assert people.wrong == []
    assert people.deleted
    jobs.debts_end(store)
    jobs.finish(store)
    row = next(row for row in store.rows(MemberRow) if row.slot == 0)
    assert (row.uuid, row.url, row.state) == (uuid, url, "in_sync")
    status = store.status()
    assert (status.state, status.owed) == ("clean", 0)
    assert {blob.uuid for blob in store.rows(Blob)} == set(store.contents)
    assert not scrubbed(store).report
    bucket = url.split("/")[2]
    pages = moto.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    there = [one["Key"] for page in pages for one in page.get("Contents", ())]
    assert not [key for key in there if any(one in key for one in people.deleted)]
    # What the disk held is in the bucket: it is needed now.
    store.lose(1)
    store.check()
