"""Reshape: every blob gets the shape that the array has now, and nobody notices."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from files import services
from files.models import Entry
from files.uploads import Offer, upload
from raid.superblock import StoredState, Superblock
from storage import blobs, events, membership, reshaping
from storage.db import db, release, transaction
from storage.errors import Refused, SlotGone
from storage.jobs import reshape, runner, table
from storage.models import Blob, BlobState, Job, JobKind, JobState, MemberRow, Upload
from support.arrays import Body
from support.site import until
from support.soak import drawn
from support.store import MIB, Store, wanted

Make = Callable[..., Store]
SIZES = (0, 10, 100_000, 3 * MIB)


@pytest.fixture
def files(make_store: Make) -> Iterator[Callable[..., tuple[Store, dict[str, bytes]]]]:
    """Give a function that makes an array with files of alice, of every form."""

    def make(level: str, width: int = 4) -> tuple[Store, dict[str, bytes]]:
        from auth.services import create_user

        store = make_store(width, ARRAY_LEVEL=level)
        user = create_user("alice", "kelp grips 7 stones")
        folder = services.root(user.id)
        contents = {}
        for size in SIZES:
            data = hashlib.shake_128(b"%d" % size).digest(size)
            name = f"{size}.bin"
            upload(user.id, folder.id, Offer(name, size), Body(data))
            contents[name] = data
        table.set_pace(100)
        return store, contents

    yield make


def job(store: Store) -> Job:
    """The last reshape."""
    return [row for row in store.rows(Job) if row.kind == JobKind.RESHAPE][-1]


def live(store: Store) -> list[Blob]:
    return [blob for blob in store.rows(Blob) if blob.state == BlobState.LIVE]


def read(store: Store) -> dict[str, bytes]:
    """Read every file as it is named now."""
    rows = db.session.execute(
        select(Entry.name, Entry.blob_id).where(Entry.kind == 1)
    ).all()
    release()
    return {name: store.get(uuid) for name, uuid in rows}


def finish(store: Store, *, every: Callable[[], None] = lambda: None) -> Job:
    """Let workers work until the reshape has ended."""
    for _ in range(60):
        store.runtime.rests.clear()
        store.tick()
        every()
        if job(store).state not in table.ACTIVE:
            return job(store)
    raise AssertionError(job(store).problem)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("before", "after", "width", "redundancy"),
    drawn(
        [
            ("raid1", "raid5", 4, 1),
            ("raid5", "raid6", 4, 2),
            ("raid6", "raid1", 4, 3),
            ("raid5", "raid10", 5, 1),
        ],
        2,
    ),
)
def test_a_conversion_rewrites_everything_while_all_is_readable(
    files: Callable, before: str, after: str, width: int, redundancy: int
) -> None:
    store, contents = files(before, width)
    reshaping.convert(after, actor="root")
    done = finish(store, every=lambda: _same(store, contents))
    assert done.state == JobState.DONE, done.problem
    assert done.counts["rewritten"] == 2
    assert {b.redundancy for b in live(store) if b.slots} == {redundancy}
    assert store.array_row().level == after
    _same(store, contents)
    for slots in ([s] for s in range(width)):
        for slot in slots:
            store.lose(slot)
        store.status()
        _same(store, contents)
        for slot in slots:
            store.bring_back(slot)
        store.status()


def _same(store: Store, contents: dict[str, bytes]) -> None:
    assert read(store) == contents


def test_what_is_rewritten_keeps_its_receipt_and_its_description(
    files: Callable,
) -> None:
    store, contents = files("raid1")
    before = {b.size: b for b in live(store)}
    reshaping.convert("raid5")
    finish(store)
    for blob in live(store):
        old = before[blob.size]
        if not blob.slots:
            assert blob.uuid == old.uuid  # every member holds the whole of it
            continue
        assert blob.uuid != old.uuid
        assert blob.sha256 == old.sha256
        assert blob.verified_at is not None
        said = [_description(store, one) for one in (old, blob)]
        assert said[0] == said[1]
    _same(store, contents)


def _description(store: Store, blob: Blob) -> object:
    from storage.blobref import manifest_of, reference

    return manifest_of(
        store.runtime, store.runtime.array(), reference(blob)
    ).description


def test_the_old_blobs_go_after_their_grace(make_store: Make, files: Callable) -> None:
    store, contents = files("raid1")
    reshaping.convert("raid5")
    finish(store)
    waiting = [b for b in store.rows(Blob) if b.state == BlobState.TOMBSTONED]
    assert len(waiting) == 2
    for blob in waiting:
        assert store.get(blob.uuid) in contents.values()  # downloads still end


@pytest.mark.sqlite
def test_a_wider_array_uses_its_new_members(files: Callable) -> None:
    store, contents = files("raid5")
    urls = [f"file:members/{slot}" for slot in (4, 5)]
    reshaping.widen(urls, actor="root")
    done = finish(store, every=lambda: _same(store, contents))
    assert done.state == JobState.DONE, done.problem
    store.settle()
    assert store.states() == ["in_sync"] * 6
    assert {b.slots for b in live(store) if b.slots} == {"0 1 2 3 4 5"}
    assert store.array_row().width == 6
    for slot in range(6):
        store.lose(slot)
        store.status()
        _same(store, contents)
        store.bring_back(slot)
        store.status()


@pytest.mark.sqlite
def test_a_narrower_array_lets_its_member_go(files: Callable) -> None:
    store, contents = files("raid6", 5)
    reshaping.narrow(2, actor="root")
    entry = store.runtime.array().map.entry(2)
    assert entry is not None and entry.leaving
    fresh = store.put(300_000)
    assert "2" not in (fresh.slots or "").split()
    done = finish(store, every=lambda: _same(store, contents))
    assert done.state == JobState.DONE, done.problem
    gone = [row for row in store.rows(MemberRow) if row.state == StoredState.RETIRED]
    assert [row.slot for row in gone] == [None]
    assert {b.slots for b in live(store) if b.slots} == {"0 1 3 4"}
    store.member(2).rename(store.folder / "thrown away")
    store.settle()
    assert store.status().state == "clean"
    _same(store, contents)


@pytest.mark.sqlite
def test_a_slot_number_is_free_again_only_when_no_blob_names_it(
    files: Callable,
) -> None:
    from storage import maps

    store, _ = files("raid6", 5)
    reshaping.narrow(1)
    finish(store)
    with transaction() as session:
        assert reshaping.free_slot(maps.lock(session)) == 5
    for blob in store.rows(Blob):
        if blob.state == BlobState.TOMBSTONED:
            with transaction() as session:
                session.delete(session.get(Blob, blob.uuid))
    with transaction() as session:
        assert reshaping.free_slot(maps.lock(session)) == 1


def test_it_goes_on_where_a_killed_worker_was(
    files: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, contents = files("raid1")
    reshaping.convert("raid5")
    real, calls = reshape._switch, []

    def killed(*arguments: object) -> None:
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(reshape, "_switch", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(store)
    assert calls
    _same(store, contents)
    monkeypatch.setattr(reshape, "_switch", real)
    store.restart()
    number = job(store).id
    with transaction() as session:
        session.get_one(Job, number).lease_until = None
    done = finish(store)
    assert done.state == JobState.DONE
    assert {b.redundancy for b in live(store) if b.slots} == {1}
    _same(store, contents)
    assert not store.leftovers()


def test_a_file_deleted_meanwhile_stays_deleted(
    files: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, contents = files("raid1")
    reshaping.convert("raid5")
    real, met = reshape._switch, []

    def late(old: object, incoming: blobs.Incoming) -> None:
        with transaction() as session:
            for entry in session.scalars(select(Entry).where(Entry.blob_id == old)):
                met.append(entry.name)
                session.delete(entry)
            session.flush()
            blobs.release(session, [old])  # type: ignore[list-item]
        real(old, incoming)  # type: ignore[arg-type]

    monkeypatch.setattr(reshape, "_switch", late)
    done = finish(store)
    assert met and done.counts["gone"] == len(met)
    assert read(store).keys() == contents.keys() - set(met)
    assert not [b for b in live(store) if b.slots]
    assert not store.leftovers()


def test_what_does_not_read_back_the_same_is_not_switched(
    files: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, contents = files("raid1")
    before = {blob.uuid for blob in live(store)}
    reshaping.convert("raid5")
    monkeypatch.setattr(
        blobs.Incoming, "read_back", lambda self: iter([b"something else"])
    )
    done = finish(store)
    assert done.counts["lost"] == 2
    assert len(done.report) == 2
    assert {blob.uuid for blob in live(store)} == before
    _same(store, contents)


def test_it_waits_while_a_member_takes_nothing_new(files: Callable) -> None:
    store, contents = files("raid1")
    reshaping.convert("raid5")
    store.lose(2)
    store.status()
    # A step that begins before it is noticed writes one file with a debt.
    until(lambda: store.tick() >= 0 and job(store).problem)
    assert "goes on by itself" in (job(store).problem or "")
    assert job(store).state in table.ACTIVE
    store.bring_back(2)
    store.status()
    assert finish(store).state == JobState.DONE
    _same(store, contents)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda: reshaping.convert("raid5"), "already"),
        (lambda: reshaping.convert("raid0"), "keeps every byte once"),
        (lambda: reshaping.convert("raid7"), "no level"),
        (lambda: reshaping.narrow(9), "no slot 9"),
        (lambda: reshaping.widen([]), "No place"),
        (lambda: reshaping.widen(["file:members/0"]), "Nothing was changed"),
    ],
)
@pytest.mark.sqlite
def test_what_makes_no_sense_is_refused(
    make_store: Make, act: Callable[[], int], why: str
) -> None:
    store = make_store(4)
    with pytest.raises(Refused, match=why):
        act()
    assert (store.array_row().level, store.array_row().width) == ("raid5", 4)


@pytest.mark.sqlite
def test_too_few_members_or_a_second_change_are_refused(make_store: Make) -> None:
    store = make_store(3)
    with pytest.raises(Refused, match="needs at least 4"):
        reshaping.convert("raid6")
    with pytest.raises(Refused, match="needs at least 3"):
        reshaping.narrow(0)
    reshaping.convert("raid1")
    with pytest.raises(Refused, match="reshape is on its way"):
        reshaping.convert("raid5")
    assert store.array_row().level == "raid1"


@pytest.mark.sqlite
def test_members_are_told_of_the_new_shape(files: Callable) -> None:
    store, _ = files("raid5")
    reshaping.convert("raid6")
    finish(store)
    store.settle()
    newest = max(
        (store.member(3)).glob("superblock.*"),
        key=lambda path: int(path.name.split(".")[2]),
    )
    found = Superblock.unpack(newest.read_bytes())
    assert (found.level.value, found.shape.m) == ("raid6", 2)


@pytest.mark.sqlite
def test_an_upload_into_a_slot_that_was_given_up_is_refused(files: Callable) -> None:
    store, _ = files("raid5")
    with (
        pytest.raises(SlotGone),
        blobs.receive(wanted(bytes(MIB)), Body(bytes(MIB)), lambda _: None) as incoming,
    ):
        with transaction() as session:
            row = session.scalars(select(MemberRow).where(MemberRow.slot == 0)).one()
            row.slot = None
        with transaction() as session:
            incoming.commit(session)
    live_ones = [b for b in store.rows(Blob) if b.state == BlobState.LIVE]
    assert MIB not in {blob.size for blob in live_ones}


@pytest.mark.sqlite
def test_an_upload_that_began_under_the_old_map_is_waited_for(files: Callable) -> None:
    """By the uploader's clock it began after the change; clocks and maps differ."""
    store, _ = files("raid1")
    data = bytes(100_000)
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:
        reshaping.convert("raid5")
        ahead = job(store).created_at + timedelta(seconds=30)
        with transaction() as session:
            session.execute(update(Upload).values(started_at=ahead))
        for _ in range(2):
            store.runtime.rests.clear()
            store.tick()
        assert job(store).state in table.ACTIVE
        with transaction() as session:
            incoming.commit(session)
    assert finish(store).state == JobState.DONE
    assert {b.redundancy for b in live(store) if b.slots} == {1}


@pytest.mark.sqlite
def test_an_upload_that_ends_behind_the_last_pass_is_not_missed(
    make_store: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was on its way when the pass began, and is visible when it has gone by."""
    store = make_store(ARRAY_LEVEL="raid1")
    table.set_pace(100)
    data, real = bytes(100_000), reshape._Walk._next
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:

        def late(walk: reshape._Walk) -> list[Blob]:
            found = real(walk)
            if not incoming.committed:
                with transaction() as session:
                    incoming.commit(session)
            return found

        monkeypatch.setattr(reshape._Walk, "_next", late)
        reshaping.convert("raid5")
        assert finish(store).state == JobState.DONE
    assert [blob.redundancy for blob in live(store)] == [1]


@pytest.mark.sqlite
def test_a_round_that_began_before_the_job_uses_the_present_map(
    make_store: Make,
) -> None:
    """By the old shape nothing would have to be done."""
    store = make_store(ARRAY_LEVEL="raid1")
    store.put(100_000)
    seen = store.runtime.array()
    reshaping.convert("raid5")
    assert runner.run(seen) == 1
    assert job(store).counts == {"rewritten": 1}
    assert finish(store).state == JobState.DONE
    assert [blob.redundancy for blob in live(store)] == [1]


@pytest.mark.sqlite
def test_a_slot_that_a_file_still_needs_is_not_given_up(files: Callable) -> None:
    """The leaving member is away, and without it one file can't be made."""
    store, contents = files("raid5")
    blob = next(b for b in live(store) if b.size == 100_000)
    reshaping.narrow(3, actor="root")
    store.lose(3)
    slot = next(s for s in blob.layout["slots"] if s != 3)
    path = store.paths(slot, blob.uuid)[0]
    path.write_bytes(bytes(path.stat().st_size))
    store.status()
    done = finish(store)
    assert done.state == JobState.DONE
    assert done.counts["lost"] == 1
    assert "slot 3" in (done.problem or "")
    entry = store.runtime.array().map.entry(3)
    assert entry is not None and entry.leaving
    store.bring_back(3)
    store.settle()
    reshaping.narrow(3, actor="root")
    assert store.array_row().width == 3
    assert finish(store).problem is None
    assert len(store.states()) == 3
    store.member(3).rename(store.folder / "thrown away")
    store.status()
    _same(store, contents)


@pytest.mark.sqlite
def test_files_that_nobody_can_make_are_given_up_by_retiring(files: Callable) -> None:
    store, _ = files("raid5")
    reshaping.narrow(3)
    table.cancel(job(store).id)
    store.lose(3)
    store.status()
    membership.retire(3)
    with pytest.raises(Refused, match="is retired"):
        membership.retire(3)
    reshaping.narrow(3)
    assert finish(store).problem is None
    assert (len(store.states()), store.array_row().width) == (3, 3)


@pytest.mark.sqlite
def test_a_slot_on_its_way_out_gets_no_other_member(files: Callable) -> None:
    store, contents = files("raid5")
    reshaping.narrow(3)
    with pytest.raises(Refused, match="is being emptied"):
        membership.replace(3, "file:members/new")
    assert finish(store).problem is None
    store.settle()
    assert store.states() == ["in_sync"] * 3
    _same(store, contents)


@pytest.mark.sqlite
def test_no_other_shape_before_a_newcomer_has_its_slot(
    files: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = files("raid5")
    monkeypatch.setattr(events, "settle", lambda _: 0)
    membership.replace(3, "file:members/new")
    store.settle()
    with pytest.raises(Refused, match="slot 3 is being replaced\\."):
        reshaping.narrow(3)
    monkeypatch.undo()
    assert store.array_row().width == 4


@pytest.mark.sqlite
def test_a_file_that_differs_from_its_receipt_holds_nothing_up(files: Callable) -> None:
    """What is told of it and what is stored of it differ: people decide."""
    store, contents = files("raid1")
    blob = next(b for b in live(store) if b.slots)
    with transaction() as session:
        session.get_one(Blob, blob.uuid).sha256 = bytes(32)
    reshaping.convert("raid5")
    done = finish(store)
    assert (done.state, done.counts["lost"]) == (JobState.DONE, 1)
    assert [row["blob"] for row in done.report] == [str(blob.uuid)]
    _same(store, contents)
