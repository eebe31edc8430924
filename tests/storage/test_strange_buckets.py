"""A bucket that is denied, a stranger's or blank is named, and nothing is done to it.

The storage works on over three other buckets meanwhile, with rounds of the worker, a
spare that waits, sweeps and scrubs; afterwards the bucket is as it was, byte for byte.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from flask import Flask

from raid.array import Array
from raid.geometry import Level
from raid.keys import QUARANTINE, superblock_key
from storage import membership, services, upkeep
from storage.jobs import table
from storage.models import Event, Job, JobKind, MemberRow
from support import jobs
from support.arrays import map_of, superblock_of
from support.between import Answer, Between, Rule, between
from support.buckets import S3Server
from support.soak import drawn
from support.store import KIB, MIB, Store

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("calm", "credentials")]

SLOT = 2
SIZES = (1000, 300 * KIB, 2 * MIB)
OWNER = "111122223333"


@dataclass
class Scene:
    """Four buckets, one of which gets into trouble, and a spare."""

    server: S3Server
    way: Between
    store: Store
    name: str

    def contents(self) -> dict[str, bytes]:
        """Every object of the bucket in trouble."""
        client, found = self.server.client, {}
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        for one in [one for page in pages for one in page.get("Contents", ())]:
            got = client.get_object(Bucket=self.name, Key=one["Key"])
            found[one["Key"]] = got["Body"].read()
        return found

    def answer(self, how: Rule) -> Callable[[], None]:
        """Let requests about the bucket be answered so; returns what ends it."""
        self.way.rules.append(
            lambda asked: how(asked) if f"/{self.name}" in asked.path else None
        )
        return self.way.rules.clear

    def empty(self) -> dict[str, bytes]:
        """Make the bucket anew, as somebody else might; returns what was in it."""
        before, client = self.contents(), self.server.client
        for key in before:
            client.delete_object(Bucket=self.name, Key=key)
        client.delete_bucket(Bucket=self.name)
        client.create_bucket(Bucket=self.name)
        return before

    def fill(self, objects: dict[str, bytes]) -> None:
        """Put objects into it behind everybody's back."""
        for key, data in objects.items():
            self.server.client.put_object(Bucket=self.name, Key=key, Body=data)


Make = Callable[..., Scene]


@pytest.fixture
def make_scene(moto: S3Server, make_app: Callable[..., Flask]) -> Iterator[Make]:
    """Give a function that makes an array with files in it, and a spare."""
    with ExitStack() as stack:

        def make(owner: str = "", grace: str = "60") -> Scene:
            way = stack.enter_context(between(moto.endpoint))
            names = [moto.bucket() for _ in range(5)]
            more = f"&owner={owner}" if owner else ""
            urls = [f"s3://{name}/team?endpoint={way.endpoint}{more}" for name in names]
            app = make_app(
                members=False,
                ARRAY_MEMBERS=" ".join(urls[:4]),
                PURGE_GRACE_SECONDS="0",
                SPARE_GRACE_MINUTES=grace,
            )
            stack.enter_context(app.app_context())
            services.ensure_array()
            membership.add_spare(urls[4])
            store = Store(app)
            for size in SIZES:
                store.put(size)
            store.settle()
            return Scene(moto, way, store, names[SLOT])

        yield make


# -- troubles: each makes one, and returns what ends it ------------------------------

Trouble = Callable[[Scene], Callable[[], None]]


def answered(status: int, code: str) -> Trouble:
    """Every request is answered like this."""

    def make(scene: Scene) -> Callable[[], None]:
        return scene.answer(lambda asked: Answer(status, code))

    return make


def strangers_now(scene: Scene) -> Callable[[], None]:
    """Somebody else owns it, and denies who names another owner."""
    before = scene.empty()
    scene.answer(
        lambda asked: (
            Answer(403, "AccessDenied")
            if "x-amz-expected-bucket-owner" in asked.headers
            else None
        )
    )

    def end() -> None:
        scene.way.rules.clear()
        scene.fill(before)

    return end


def blank(scene: Scene) -> Callable[[], None]:
    """It was made again, and is empty."""
    before = scene.empty()
    return lambda: scene.fill(before)


def another_member(scene: Scene) -> Callable[[], None]:
    """It holds a member of another array."""
    before = scene.empty()
    block = superblock_of(map_of(Level.RAID1, ["a", "b"]), 1)
    scene.fill({f"team/{superblock_key(1, 1)}": block.pack()})

    def end() -> None:
        scene.empty()
        scene.fill(before)

    return end


TROUBLES: dict[str, tuple[Trouble, str, str, str]] = {
    "denied": (answered(403, "AccessDenied"), "", "access-denied", "denies access"),
    "expired": (answered(400, "ExpiredToken"), "", "access-denied", "have expired"),
    "revoked": (answered(403, "InvalidAccessKeyId"), "", "access-denied", "accept our"),
    "stranger": (answered(403, "AccessDenied"), OWNER, "access-denied", "denies"),
    "stranger's": (strangers_now, OWNER, "missing", "another account"),
    "gone": (answered(404, "NoSuchBucket"), "", "missing", "no such bucket"),
    "blank": (blank, "", "missing", "is (blank|empty)"),
    "blank, owner": (blank, OWNER, "missing", "is (blank|empty)"),
    "another": (another_member, "", "missing", "another member"),
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", drawn(TROUBLES, 1))
def test_it_is_named_and_nothing_is_done_to_it(make_scene: Make, name: str) -> None:
    trouble, owner, word, says = TROUBLES[name]
    scene = make_scene(owner)
    store = scene.store
    end = trouble(scene)
    before = scene.contents()
    go_on(scene)
    seen = store.status().members[SLOT]
    assert (seen.observed, seen.state) == (word, "stale")
    assert re.search(says, seen.problem or "") and "SECRET" not in (seen.problem or "")
    assert scene.contents() == before
    nothing_was_given_up(scene)
    # It is as it was again: it is paid what it is owed, and nothing is left over.
    end()
    store.status()
    jobs.debts_end(store)
    jobs.finish(store)
    status = store.status()
    assert (status.state, status.owed) == ("clean", 0)
    assert not scrub(store).report
    store.check()


def go_on(scene: Scene) -> None:
    """Use the site, and let the worker do all that it would do."""
    store = scene.store
    gone = next(iter(store.contents))
    # A superblock that was seen within seconds still counts; a new process sees none.
    store.restart()
    store.status()
    store.check()
    for size in SIZES:
        store.put(size)
    store.let_go(gone)
    for kind in (JobKind.SCRUB, JobKind.DRILL):
        table.request(kind)
    store.settle()
    jobs.debts_end(store)
    store.settle()
    assert sweep(store).state == "failed"
    store.check()


def sweep(store: Store) -> Job:
    """Ask for a sweep that removes, and return what came of it."""
    no_wait = {"apart_seconds": 0, "age_seconds": 0, "delete": True}
    number = table.request(JobKind.SWEEP, params=no_wait)
    jobs.finish(store)
    return next(job for job in jobs.jobs(store) if job.id == number)


def scrub(store: Store) -> Job:
    """Look at everything, and return what was found."""
    number = table.request(JobKind.SCRUB)
    jobs.finish(store)
    return next(job for job in jobs.jobs(store) if job.id == number)


def nothing_was_given_up(scene: Scene) -> None:
    """No member was failed or replaced, nothing rebuilt, repaired or set aside."""
    store = scene.store
    states = sorted(row.state for row in store.rows(MemberRow))
    assert states == ["in_sync"] * 3 + ["spare", "stale"]
    words = {event.word for event in store.rows(Event)}
    assert not words & {"member_failed", "member_replaced", "orphans_swept"}
    assert not jobs.jobs(store, JobKind.REBUILD, JobKind.REPLACE)
    for job in jobs.jobs(store):
        assert not job.counts.get("repaired")
    for slot in store.runtime.array().readable():
        with store.runtime.array().using(slot) as member:
            assert list(member.list(QUARANTINE)) == []


@pytest.mark.parametrize("name", drawn(["denied", "expired", "revoked"], 1))
def test_no_spare_takes_over_from_one_that_only_denies(
    make_scene: Make, name: str
) -> None:
    """What it holds is there, and would be given up for ever for a new password."""
    scene = make_scene(grace="0")
    end = TROUBLES[name][0](scene)
    scene.store.restart()
    scene.store.status()
    for _ in range(3):
        scene.store.tick()
    states = [row.state for row in scene.store.rows(MemberRow)]
    assert states.count("spare") == 1
    assert scene.store.status().members[SLOT].observed == "access-denied"
    end()


def test_time_that_it_denied_is_no_time_that_it_was_gone(
    make_scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short break at the end of a long denial costs nobody a member."""
    now = [1000.0]
    monkeypatch.setattr(upkeep.time, "monotonic", lambda: now[0])
    scene = make_scene()
    end = TROUBLES["denied"][0](scene)
    for _ in range(3):
        assert upkeep.take_over(look(scene.store)) == 0
        now[0] += 3600
    assert upkeep.take_over(look(scene.store)) == 0
    end()
    TROUBLES["gone"][0](scene)
    now[0] += 3599
    assert upkeep.take_over(look(scene.store)) == 0
    now[0] += 1
    assert upkeep.take_over(look(scene.store)) == 1


def look(store: Store) -> Array:
    """Return the array as a process sees it that has just started."""
    unusable, denied = store.runtime.unusable, store.runtime.there_at
    store.restart()
    store.runtime.unusable, store.runtime.there_at = unusable, denied
    store.status()
    return store.runtime.array()
