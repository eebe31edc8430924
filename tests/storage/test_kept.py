"""Members that the program can't destroy: purged stays purged, and is shown as kept."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from flask import Flask

from auth.services import create_user
from files import trash
from raid import repair
from raid.keys import QUARANTINE, manifest_key
from storage import agreement, blobs, membership, purge, restore, services
from storage.errors import WrongLength
from storage.jobs import sweep, table
from storage.journal import recovery
from storage.models import Blob, BlobState, Event, Job, JobKind, Orphan, Reason
from support import jobs
from support.arrays import Body
from support.between import Answer, Between, between
from support.buckets import S3Server
from support.people import PASSWORD, Person
from support.soak import drawn
from support.store import KIB, MIB, Store, wanted
from support.team import Team, Tree, data_of, export

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("calm", "credentials")]

SIZES = (0, 1000, 300 * KIB, 2 * MIB)
KINDS = ("versions", "locked", "denied")
KEEPER = 3
DENIED = Answer(403, "AccessDenied")


@dataclass
class Keeper:
    """The bucket that keeps: `kind` says how."""

    kind: str
    server: S3Server
    way: Between
    name: str

    @property
    def url(self) -> str:
        """Its address as a member."""
        return f"s3://{self.name}/team?endpoint={self.way.endpoint}"

    def relent(self) -> None:
        """Let what it keeps go: the right is given, or the versions expire."""
        self.way.rules.clear()
        client = self.server.client
        if self.kind == "denied":
            return
        for one in self.versions():
            if not one["IsLatest"]:
                client.delete_object(
                    Bucket=self.name,
                    Key=one["Key"],
                    VersionId=one["VersionId"],
                )

    def versions(self) -> list[dict[str, Any]]:
        """Every version of every object, hidden or not."""
        pages = self.server.client.get_paginator("list_object_versions")
        found = pages.paginate(Bucket=self.name)
        return [one for page in found for one in page.get("Versions", ())]

    def keys(self, area: str = "") -> set[str]:
        """What is in sight."""
        pages = self.server.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=f"team/{area}")
        return {one["Key"][5:] for page in found for one in page.get("Contents", ())}


@pytest.fixture
def make_keeper(moto: S3Server) -> Iterator[Callable[[str], Keeper]]:
    """Give a function that makes a bucket of a kind, behind a way of its own."""
    with between(moto.endpoint) as way:

        def make(kind: str) -> Keeper:
            plain = kind == "denied"
            name = (
                moto.bucket() if plain else moto.keeping_bucket(locked=kind == "locked")
            )
            if plain:
                way.spoil("DELETE object", DENIED, path=f"/{name}/")
            return Keeper(kind, moto, way, name)

        yield make


@pytest.fixture(params=drawn(KINDS, 1))
def keeper(request: pytest.FixtureRequest, make_keeper: Callable) -> Keeper:
    """A bucket that keeps what is deleted, in each way."""
    return make_keeper(request.param)


@pytest.fixture
def denied(make_keeper: Callable[[str], Keeper]) -> Keeper:
    """A bucket that denies every deletion."""
    return make_keeper("denied")


FOLDERS = [f"file:members/{slot}" for slot in range(3)]


@pytest.fixture
def over(make_app: Callable[..., Flask]) -> Iterator[Callable[[Keeper], Store]]:
    """Give a function that makes an array of three folders and a bucket."""
    stack = ExitStack()

    def make(keeper: Keeper) -> Store:
        urls = " ".join([*FOLDERS, keeper.url])
        app = make_app(members=False, ARRAY_MEMBERS=urls, PURGE_GRACE_SECONDS="0")
        stack.enter_context(app.app_context())
        services.ensure_array()
        return Store(app)

    with stack:
        yield make


@pytest.fixture
def store(over: Callable[[Keeper], Store], keeper: Keeper) -> Store:
    """An array with the bucket in slot 3."""
    return over(keeper)


def purge_some(store: Store) -> list[UUID]:
    """Store and keep one of each size, and purge another one; returns the purged."""
    gone = [store.put(size).uuid for size in SIZES]
    for size in SIZES:
        store.put(size)
    for uuid in gone:
        store.let_go(uuid)
    store.settle()
    return gone


def check_kept(store: Store, gone: list[UUID]) -> None:
    """The blobs are purged, their tombstones stand, and nobody waits for anything."""
    rows = {row.uuid: row.state for row in store.rows(Blob)}
    assert {uuid for uuid, state in rows.items() if state == BlobState.PURGING} == set(
        gone
    )
    assert {(debt.blob, debt.reason) for debt in store.debts()} == {
        (uuid, Reason.KEPT) for uuid in gone
    }
    found = {name for slot in range(3) for name in store.objects(slot)}
    stones = {f"{slot}/t/{uuid.hex[:2]}/{uuid}" for slot in range(3) for uuid in gone}
    assert {name for name in found if "/t/" in name} == stones
    assert not any(f"/{uuid}." in name for uuid in gone for name in found)
    status = store.status()
    assert (status.state, status.owed) == ("clean", 0)
    assert [member.kept for member in status.members] == [0, 0, 0, len(gone)]
    assert set(store.states()) == {"in_sync"}
    store.check()


def all_gone(store: Store, keeper: Keeper, gone: list[UUID]) -> None:
    """Nothing is left of the purged blobs, not even a tombstone."""
    assert not {row.uuid for row in store.rows(Blob)} & set(gone)
    assert store.debts() == []
    seen = {*store.objects(0), *store.objects(1), *store.objects(2), *keeper.keys()}
    assert not [name for uuid in gone for name in seen if str(uuid) in name]
    assert [member.kept for member in store.status().members] == [0, 0, 0, 0]
    store.check()


def test_a_purge_stays_as_tombstones(store: Store, keeper: Keeper) -> None:
    gone = purge_some(store)
    check_kept(store, gone)
    assert {f"t/{uuid.hex[:2]}/{uuid}" for uuid in gone} == keeper.keys("t/")
    there = {one["Key"] for one in keeper.versions()}
    assert all(any(f"{uuid}." in key for key in there) for uuid in gone)
    words = [event.word for event in store.rows(Event)]
    assert words.count("member_keeps") == 1


def test_a_later_round_takes_nothing_for_gone(store: Store, keeper: Keeper) -> None:
    """Also where the server answers no marker for what is not in sight."""
    gone = purge_some(store)
    store.restart()
    store.make_due()
    keeper.way.log.clear()
    store.settle()
    asked = {
        uuid
        for uuid in gone
        for one in keeper.way.log
        if str(uuid) in one.path
        and (one.operation == "DELETE object" or "versions" in one.path)
    }
    assert asked == set(gone)
    check_kept(store, gone)


def test_what_a_try_asks_for(
    make_keeper: Callable[[str], Keeper], over: Callable[[Keeper], Store]
) -> None:
    """`deploy.costs` reckons with it: a refused PUT costs what any does."""
    keeper = make_keeper("versions")
    store = over(keeper)
    gone = purge_some(store)
    store.make_due()
    keeper.way.log.clear()
    purge.run(store.runtime.array())
    for uuid in gone:
        asked = [one for one in keeper.way.log if str(uuid) in unquote(one.path)]
        assert Counter(one.operation for one in asked) == {
            "PUT object": 1,
            "GET object": 1,
            "LIST": 2,
        }


def test_it_is_not_tried_again_at_once(store: Store, keeper: Keeper) -> None:
    gone = purge_some(store)
    keeper.way.log.clear()
    for _ in range(3):
        store.tick()
    assert not keeper.way.counts()["DELETE object"]
    check_kept(store, gone)


@pytest.mark.parametrize("kind", drawn(["versions", "denied"], 1))
def test_when_it_lets_go_everything_ends(
    kind: str, make_keeper: Callable[[str], Keeper], over: Callable[[Keeper], Store]
) -> None:
    keeper = make_keeper(kind)
    store = over(keeper)
    gone = purge_some(store)
    keeper.relent()
    store.make_due()
    store.settle()
    all_gone(store, keeper, gone)


def test_when_it_is_replaced_everything_ends(
    store: Store, keeper: Keeper, moto: S3Server
) -> None:
    gone = purge_some(store)
    membership.replace(KEEPER, moto.url())
    jobs.finish(store)
    store.settle()
    all_gone(store, Keeper("", moto, keeper.way, moto.bucket()), gone)


def test_it_is_shown(store: Store, keeper: Keeper) -> None:
    purge_some(store)
    runner = store.app.test_cli_runner()
    told = runner.invoke(args=["array", "status"]).output
    assert "It keeps the bytes of four purged files under their tombstones." in told
    assert told.startswith("Clean.")
    told = json.loads(runner.invoke(args=["array", "status", "--json"]).output)
    assert [(one["kept"], one["owed"]) for one in told["members"]] == [
        *[(0, 0)] * 3,
        (4, 0),
    ]
    create_user("root", PASSWORD, admin=True)
    person = Person(store.app)
    assert person.log_in("root").status_code == 303
    page = person.get("/array/").text
    assert page.count("It keeps the bytes of four purged files") == 1
    assert "keeps the bytes of purged files: nothing may be deleted there" in page


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep have little to look at, and let all that is stored be there."""
    monkeypatch.setattr(sweep, "PREFIXES", 1)
    monkeypatch.setattr("storage.uploads.uuid4", _low)


def _low() -> UUID:
    return UUID(int=uuid4().int & ((1 << 120) - 1))


# -- what goes on around it ----------------------------------------------------------


def done(store: Store, kind: JobKind, **params: Any) -> Job:
    """Let a job come to its end, and return it."""
    number = table.request(kind, params=params or None)
    jobs.finish(store)
    found = next(job for job in jobs.jobs(store, kind) if job.id == number)
    assert found.state == "done", found.problem
    return found


@pytest.mark.usefixtures("few")
def test_scrub_sweep_and_inventory_find_nothing_wrong(
    denied: Keeper, over: Callable[[Keeper], Store]
) -> None:
    """Its objects are in sight, and their tombstones explain them."""
    store = over(denied)
    gone = purge_some(store)
    assert any(f"{gone[3]}." in key for key in denied.keys("o/"))
    scrub = done(store, JobKind.SCRUB)
    assert not scrub.report and not set(scrub.counts) & {"missing", "bad", "size"}
    no_wait = {"apart_seconds": 0, "age_seconds": 0, "delete": True}
    for _ in range(2):
        swept = done(store, JobKind.SWEEP, **no_wait)
        assert not swept.report and "orphans" not in swept.counts
    membership.fail(KEEPER)
    membership.readd(KEEPER)
    jobs.finish(store)
    assert jobs.jobs(store, JobKind.INVENTORY)[-1].report == []
    check_kept(store, gone)


def test_what_it_missed_while_it_was_away_is_kept(
    keeper: Keeper, over: Callable[[Keeper], Store]
) -> None:
    store = over(keeper)
    blob = store.put(300 * KIB)
    keeper.way.rules.insert(0, lambda asked: Answer(404, "NoSuchBucket"))
    store.let_go(blob.uuid)
    kept_blob = store.put(300 * KIB)
    store.settle()
    assert store.status().members[KEEPER].observed == "missing"
    del keeper.way.rules[0]
    store.status()
    jobs.debts_end(store)
    jobs.finish(store)
    check_kept(store, [blob.uuid])
    assert any(str(kept_blob.uuid) in key for key in keeper.keys("o/"))


def test_its_superblock_and_its_journal_go_on(
    denied: Keeper, over: Callable[[Keeper], Store]
) -> None:
    """Old ones stay, and are not asked for to go again and again."""
    store = over(denied)
    for _ in range(4):
        membership.set_readonly(True)
        membership.set_readonly(False)
        store.settle()
    row = store.array_row()
    there = denied.keys("superblock.")
    assert f"superblock.{row.incarnation}.{row.event}" in there
    assert len(there) > 2
    assert agreement.disagreement(store.runtime.array()) is None


def test_what_an_upload_leaves_is_purged_and_kept(
    denied: Keeper, over: Callable[[Keeper], Store]
) -> None:
    """It was broken off after its first segments: a tombstone tells what they are."""
    store = over(denied)
    with (
        pytest.raises(WrongLength),
        blobs.receive(wanted(b"x" * 9, size=3 * MIB), Body(b"x" * 2 * MIB), _any),
    ):
        pass
    store.age_uploads()
    store.settle()
    gone = [row.uuid for row in store.rows(Blob)]
    assert len(gone) == 1 and any(f"{gone[0]}." in key for key in denied.keys("o/"))
    check_kept(store, gone)


def _any(_size: int) -> None:
    pass


@pytest.mark.usefixtures("few")
def test_an_orphan_there_is_reported_and_not_copied(
    denied: Keeper, over: Callable[[Keeper], Store]
) -> None:
    store = over(denied)
    key = manifest_key(_low(), 1)
    with store.runtime.array().using(KEEPER, write=True) as member:
        member.put(key, [b"a killed writer left this"])
    no_wait = {"apart_seconds": 0, "age_seconds": 0, "delete": True}
    for _ in range(3):
        swept = done(store, JobKind.SWEEP, **no_wait)
        assert swept.counts["orphans"] == 1 and "removed" not in swept.counts
    assert denied.keys("o/") == {key}
    assert denied.keys(QUARANTINE) == set()
    assert [row.key for row in store.rows(Orphan)] == [key]


def test_what_m_plus_one_tombstones_bury_gets_a_row_again(
    denied: Keeper, over: Callable[[Keeper], Store]
) -> None:
    """An inventory meets what it may not remove: it is a purge once more."""
    store = over(denied)
    uuid = uuid4()
    array = store.runtime.array()
    with array.using(KEEPER, write=True) as member:
        member.put(manifest_key(uuid, 1), [b"old"])
    for slot in (0, 1):
        repair.put_tombstone(array, slot, uuid, 1, 0)
    membership.fail(KEEPER)
    membership.readd(KEEPER)
    jobs.finish(store)
    check_kept(store, [uuid])


# -- it is as good a member as any -----------------------------------------------------


def test_it_is_rebuilt_from_and_onto(
    make_keeper: Callable[[str], Keeper],
    over: Callable[[Keeper], Store],
    keeper: Keeper,
) -> None:
    """Folders are lost one after the other, and their slots go to such buckets."""
    store = over(keeper)
    gone = purge_some(store)
    store.lose(0)
    other = make_keeper("versions")
    membership.replace(0, other.url)
    jobs.finish(store)
    store.settle()
    assert store.status().state == "clean"
    assert {f"t/{uuid.hex[:2]}/{uuid}" for uuid in gone} == other.keys("t/")
    assert not [key for uuid in gone for key in other.keys("o/") if str(uuid) in key]
    # Now it is needed: what another folder held is made from it.
    store.lose(1)
    store.check()
    membership.replace(1, f"file:{store.folder}/new")
    jobs.finish(store)
    assert store.status().state == "clean"
    scrub = done(store, JobKind.SCRUB)
    assert not scrub.report
    store.check()


def test_a_bad_object_on_it_is_repaired(
    keeper: Keeper, over: Callable[[Keeper], Store]
) -> None:
    store = over(keeper)
    blob = store.put(2 * MIB)
    bad = next(key for key in keeper.keys("o/") if f"{blob.uuid}.s0" in key)
    spoil = {"Bucket": keeper.name, "Key": f"team/{bad}"}
    digest = base64.b64encode(hashlib.md5(b"rot").digest()).decode()
    keeper.server.client.put_object(**spoil, Body=b"rot", ContentMD5=digest)
    scrub = done(store, JobKind.SCRUB)
    assert scrub.counts["repaired"] == 1
    assert not done(store, JobKind.SCRUB).report
    assert len(keeper.keys(QUARANTINE)) == 1
    store.check()


# -- the database and everything else is gone ------------------------------------------


@pytest.mark.timeout(400)
@pytest.mark.parametrize("journal", drawn([True, False], 1))
def test_a_lost_database_brings_nothing_back(
    denied: Keeper, over: Callable[[Keeper], Store], journal: bool, tmp_path: Path
) -> None:
    """What it still shows of purged files is neither live nor recovered."""
    team = Team(over(denied))
    gone, tree = _purge_files(team)
    if not journal:
        _lose_journal(team.store, denied)
    urls = [f"file:{team.store.member(slot)}" for slot in (1, 2)]
    plain = tmp_path / "tree"
    assert restore.main(["--to", str(plain), *urls, denied.url]) == 0
    restored = {path.name for path in plain.rglob("*") if path.is_file()}
    assert restored == {f"here-{size}" for size in SIZES}
    team.lose_database()
    if not journal:
        team.join("root", admin=True)
    assert not recovery.recover().damaged
    assert team.tree() == tree
    team.store.settle()
    jobs.debts_end(team.store)
    jobs.finish(team.store)
    export(team.store)
    assert team.tree() == tree
    check_kept(team.store, gone)


def _purge_files(team: Team) -> tuple[list[UUID], Tree]:
    """Upload two files of each size and purge one; returns the blobs, and the rest."""
    team.join("root", admin=True)
    root = team.users["root"]
    for size in SIZES:
        team.put(f"root/here-{size}", data_of(size))
    there = {blob.uuid for blob in team.store.rows(Blob)}
    names = [team.put(f"root/gone-{size}", data_of(size)) for size in SIZES]
    gone = {blob.uuid for blob in team.store.rows(Blob)} - there
    trash.trash(root, names)
    trash.purge(root, names)
    team.store.settle()
    check_kept(team.store, list(gone))
    export(team.store)
    return list(gone), team.tree()


def _lose_journal(store: Store, keeper: Keeper) -> None:
    for slot in range(3):
        for path in (store.member(slot) / "c").rglob("*"):
            if path.is_file():
                path.unlink()
    for key in keeper.keys("c/"):
        keeper.server.client.delete_object(Bucket=keeper.name, Key=f"team/{key}")
