"""The commit of an upload: nothing visible before, everything durable after."""

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from raid.errors import ArrayReadOnly, MemberFull, NoSpace
from raid.superblock import StoredState
from storage import blobs, debts, maps, membership, uploads
from storage.db import db, transaction
from storage.errors import Fenced, HoldersGone, WrongDigest, WrongLength
from storage.members.local import LocalMember
from storage.models import (
    ArrayRow,
    Blob,
    BlobState,
    DebtKind,
    MemberRow,
    Upload,
    UploadSegment,
    UploadState,
)
from support.arrays import Body
from support.jobs import finish
from support.soak import FACTOR, steps
from support.store import KIB, MIB, Store, wanted

SIZES = {"empty": 0, "inline": 1000, "combined": 300 * KIB, "segments": 800 * KIB}
BOUNDARIES = [
    *(0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1),
    *(768 * KIB - 1, 768 * KIB, 768 * KIB + 1, 1536 * KIB + 17),
]


class Killed(BaseException):
    """The process ends here."""


class Trap:
    """Raise at the n-th of all the steps of an upload, before or after it."""

    STEPS = (
        (uploads.Log, "begin"),
        (uploads.Log, "next_attempt"),
        (uploads.Log, "segment"),
        (uploads.Log, "sealing"),
        (uploads.Log, "close"),
        (LocalMember, "put"),
        (debts, "lacking"),
        (blobs.Incoming, "commit"),
    )

    def __init__(self, patch: pytest.MonkeyPatch, at: int, after: bool, error: Any):
        self.left, self.after, self.error, self.fired = at, after, error, ""
        for owner, name in self.STEPS:
            patch.setattr(owner, name, self._wrapped(getattr(owner, name), name))

    def _wrapped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            mine = self.left == 0
            if mine and not self.after:
                self._fire(name)
            result = real(*arguments, **named)
            if mine and self.after:
                self._fire(name)
            return result

        return step

    def _fire(self, name: str) -> None:
        self.fired = name
        raise self.error


@pytest.mark.parametrize("size", BOUNDARIES)
@pytest.mark.sqlite
def test_what_was_put_is_read_back(store: Store, size: int) -> None:
    """Every form, at every boundary; its digest is known where it is cheap."""
    blob = store.put(size)
    store.check()
    assert store.rows(Upload) == store.rows(UploadSegment) == store.debts() == []
    assert blob.state == BlobState.LIVE
    assert (blob.sha256 is None) == (size > 768 * KIB)
    assert (
        store.get(blob.uuid, size // 3, size // 2)
        == (store.contents[blob.uuid][size // 3 : size // 2])
    )


def test_all_forms_on_this_database(store: Store) -> None:
    """The rows of every form are kept and found again by another process."""
    for size in SIZES.values():
        store.put(size, sha256=True)
    assert {blob.form for blob in store.rows(Blob)} == {0, 1, 2, 3}
    assert all(blob.sha256 for blob in store.rows(Blob))
    store.restart()
    store.check()


both_ways = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
both_ends = pytest.mark.parametrize("killed", [False, True], ids=["failed", "killed"])


@both_ways
@both_ends
def test_at_every_step_it_is_wholly_undone(
    store: Store, killed: bool, after: bool
) -> None:
    """An error is undone at once; after a kill the worker does it. No trace stays."""
    _interrupt_every_step(store, "segments", killed, after)


@pytest.mark.sqlite
@both_ways
@both_ends
@pytest.mark.parametrize("form", ["empty", "inline", "combined"])
def test_at_every_step_of_a_small_one(
    store: Store, form: str, killed: bool, after: bool
) -> None:
    """The same for blobs of one write per member, which are sealed before it."""
    _interrupt_every_step(store, form, killed, after)


def _interrupt_every_step(store: Store, form: str, killed: bool, after: bool) -> None:
    kept = store.put(5000)
    fired = []
    for at in steps(60):
        with pytest.MonkeyPatch.context() as patch:
            if killed:
                patch.setattr(blobs, "_undo", lambda *_: None)
            trap = Trap(patch, at, after, Killed() if killed else OSError("cut"))
            try:
                store.contents.pop(store.put(SIZES[form]).uuid)
            except (Killed, OSError):
                assert trap.fired
            if not trap.fired:
                break
            fired.append(trap.fired)
        _nothing_is_visible(store, kept)
        if killed:
            store.age_uploads()
            store.settle()
        _no_trace(store)
    store.check()
    assert fired
    if FACTOR > 1:
        assert {"begin", "sealing", "put", "close", "lacking", "commit"} <= set(fired)
        assert ("segment" in fired) == (form == "segments")


def _nothing_is_visible(store: Store, kept: Blob) -> None:
    live = [blob for blob in store.rows(Blob) if blob.state == BlobState.LIVE]
    assert [blob.uuid for blob in live] == [kept.uuid]


def _no_trace(store: Store) -> None:
    assert store.rows(Upload) == store.rows(UploadSegment) == store.debts() == []
    assert len(store.rows(Blob)) == 1
    assert store.leftovers() == set()
    assert not any(path for path in store.folder.glob("*/tmp/*"))
    assert set(store.states()) == {"in_sync"}


def test_an_error_after_the_commit_undoes_nothing(store: Store) -> None:
    """The rows decide: what is committed stays, whatever happens next."""
    data = b"x" * MIB
    with (
        pytest.raises(OSError),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
    ):
        with transaction() as session:
            blob = incoming.commit(session)
        raise OSError("the answer could not be sent")
    assert store.get(blob.uuid) == data


def test_leaving_without_a_commit_undoes(store: Store) -> None:
    """Also without an error."""
    data = b"x" * MIB
    with blobs.receive(wanted(data), Body(data), lambda _: None):
        assert len(store.rows(Upload)) == 1
        assert len(store.objects()) > 0
    assert store.rows(Upload) == store.rows(Blob) == []
    assert store.objects() == set()


def test_a_rolled_back_transaction_undoes(store: Store) -> None:
    """The caller's rows could not be written, so there is no blob either."""
    data = b"x" * 1000
    with (
        pytest.raises(ValueError, match="over quota"),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
        transaction() as session,
    ):
        incoming.commit(session)
        raise ValueError("over quota")
    assert store.rows(Upload) == store.rows(Blob) == store.debts() == []
    assert store.objects() == set()


@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_refusals_come_before_the_blob_can_exist(store: Store, size: int) -> None:
    """Length, digest and room: each is its own error, and leaves nothing."""
    data = b"x" * size

    def full(count: int) -> None:
        assert count == size
        raise RuntimeError("no room")

    for said, admit, error in (
        ({"size": size + 1}, lambda _: None, WrongLength),
        ({"sha256": bytes(32)}, lambda _: None, WrongDigest),
        ({}, full, RuntimeError),
    ):
        with (
            pytest.raises(error),
            blobs.receive(wanted(data, **said), Body(data), admit),
        ):
            raise AssertionError("it was let in")
        assert store.rows(Upload) == store.rows(Blob) == []
        assert store.objects() == set()


def test_a_cut_body_leaves_nothing(store: Store) -> None:
    """The source raises in the middle of a segment."""
    for size in (10, 300 * KIB, 2 * MIB):
        body = Body(b"x" * size, cut=ConnectionError("cut"))
        said = wanted(b"x" * 3 * MIB)
        with (
            pytest.raises(ConnectionError),
            blobs.receive(said, body, lambda _: None),
        ):
            raise AssertionError("it was let in")
    assert store.rows(Upload) == store.rows(Blob) == []
    assert store.objects() == set()


class Paused(Body):
    """A body whose process stands still in the middle, and then goes on."""

    def __init__(self, data: bytes, meanwhile: Callable[[], None], at: int) -> None:
        super().__init__(data, piece=256 * KIB)
        self._meanwhile, self._at = meanwhile, at

    def readinto(self, view: memoryview) -> int:
        self._at -= 1
        if self._at == 0:
            self._meanwhile()
        return super().readinto(view)


@pytest.mark.parametrize("at", [1, 5])
def test_a_process_that_wakes_up_late_is_fenced(store: Store, at: int) -> None:
    """The worker took the upload over; the writer can add no row, and tidies up."""

    def meanwhile() -> None:
        store.age_uploads()
        store.settle()
        assert store.rows(Upload) == []

    data = b"x" * 2 * MIB
    with (
        pytest.raises(Fenced),
        blobs.receive(wanted(data), Paused(data, meanwhile, at), lambda _: None) as it,
        transaction() as session,
    ):
        it.commit(session)
    store.settle()
    assert store.rows(Upload) == store.rows(UploadSegment) == store.rows(Blob) == []
    assert store.objects() == set()


def test_taken_over_between_the_last_byte_and_the_commit(store: Store) -> None:
    """Step 4 compares the attempt, too."""
    data = b"x" * 300 * KIB
    with (
        pytest.raises(Fenced),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
    ):
        store.age_uploads()
        store.settle()
        with transaction() as session:
            incoming.commit(session)
    assert store.rows(Blob) == []
    assert store.objects() == set()


def test_two_writers_of_one_upload(store: Store) -> None:
    """Each attempt can be taken over once; the loser is told at every step."""
    log = uploads.Log(wanted(b""), lambda _: None)
    log.begin()
    assert log.next_attempt() == 1
    assert log.next_attempt() == 2
    late = uploads.Log(wanted(b""), lambda _: None)
    late.blob, late.attempt, late._given, late.segments = log.blob, 1, True, 1
    for step in (late.next_attempt, lambda: late.sealing(0, None)):
        with pytest.raises(Fenced):
            step()
    with pytest.raises(Fenced), transaction() as session:
        late.close(session)
    with transaction() as session:
        log.close(session)
    assert store.rows(Upload) == []


def test_an_upload_that_lives_is_left_alone(store: Store) -> None:
    """It is touched by its process, however long it takes."""
    data = b"x" * 2 * MIB

    def meanwhile() -> None:
        uploads.touch(list(store.runtime.uploads))
        store.settle()
        assert [row.state for row in store.rows(Upload)] == [UploadState.OPEN]

    with (
        blobs.receive(wanted(data), Paused(data, meanwhile, 4), lambda _: None) as it,
        transaction() as session,
    ):
        blob = it.commit(session)
    assert store.get(blob.uuid) == data


@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_a_member_replaced_between_write_and_commit(store: Store, size: int) -> None:
    """Whoever is in a slot at step 4 is owed what it does not have."""
    data = b"x" * size
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:
        fresh = _put_another_in(1)
        with transaction() as session:
            blob = incoming.commit(session)
    owed = store.debts()
    assert owed and {debt.member_uuid for debt in owed} == {fresh}
    kinds = {debt.kind for debt in owed}
    assert kinds == ({"manifest"} if size == 1000 else kinds)
    assert (DebtKind.SHARD in kinds) == (size > 64 * KIB)
    assert store.states()[1:2] != ["in_sync"]
    assert blob.at_risk == (size > 64 * KIB)


def _put_another_in(slot: int) -> UUID:
    """Give a slot to a member that holds nothing; returns its uuid."""
    fresh = uuid4()
    with transaction() as session:
        old = next(row for row in store_members(session) if row.slot == slot)
        old.slot, old.state = None, StoredState.RETIRED
        session.flush()
        session.add(MemberRow(uuid=fresh, slot=slot, url=old.url, state="in_sync"))
        row = session.get(ArrayRow, 1)
        assert row is not None
        row.event += 1
    return fresh


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("size", "too_many"), [(0, 4), (1000, 4), (300 * KIB, 2), (2 * MIB, 2)]
)
def test_who_still_holds_it_decides_at_the_commit(
    store: Store, size: int, too_many: int
) -> None:
    """When too few are left that were written to, it is refused and undone."""
    data, replaced = b"x" * size, 0
    with (
        pytest.raises(HoldersGone, match="Nothing was kept"),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
    ):
        for replaced in range(5):
            with transaction() as session:
                incoming.commit(session)
                session.rollback()
            _put_another_in(replaced)
    assert replaced == too_many
    assert store.rows(Upload) == store.rows(UploadSegment) == []
    assert {blob.state for blob in store.rows(Blob)} <= {BlobState.PURGING}


@pytest.mark.sqlite
@pytest.mark.parametrize("state", ["stale", "faulty"])
def test_who_may_be_read_counts_at_the_commit(store: Store, state: str) -> None:
    """A stale member gives what it has, and a faulty one is not asked."""
    data = b"x" * 2 * MIB
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:
        with transaction() as session:
            locked = maps.lock(session)
            for slot in (1, 2):
                locked.set_state(locked.by_slot()[slot], StoredState(state))
        counts = nullcontext() if state == "stale" else pytest.raises(HoldersGone)
        with counts, transaction() as session:
            incoming.commit(session)
    assert incoming.committed == (state == "stale")


@pytest.mark.sqlite
def test_an_upload_that_outlives_two_replacements_leaves_nothing(store: Store) -> None:
    """Both members were copied before they went, and what came meanwhile was not."""
    data = b"x" * 2 * MIB
    with (
        pytest.raises(HoldersGone),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
    ):
        for slot in (1, 2):
            membership.replace(slot, f"file:members/new{slot}")
            finish(store)
        with transaction() as session:
            incoming.commit(session)
    finish(store)
    assert store.rows(Upload) == store.rows(Blob) == store.debts() == []
    left = [*store.folder.glob("*/o/*/*"), *store.folder.glob("new*/t/*/*")]
    assert left == []


def store_members(session: Any) -> list[MemberRow]:
    """The rows of the members inside a transaction."""
    from sqlalchemy import select

    return list(session.scalars(select(MemberRow)))


def test_full_is_507_only_when_nobody_has_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One full member: the others take the file. All full: no space."""
    real, full, fired = LocalMember.put, {"2"}, []

    def put(self: LocalMember, key: str, parts: Any, **named: Any) -> None:
        if self.path.name in full and not named.get("essential"):
            fired.append(key)
            raise MemberFull(self.label, f"{self.label} is full.")
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    blob = store.put(300 * KIB)
    assert fired
    assert store.paths(2, blob.uuid) == []
    assert store.states() == ["in_sync", "in_sync", "stale", "in_sync"]
    assert not store.rows(Blob)[0].at_risk
    full |= set("013")
    fired.clear()
    with pytest.raises(NoSpace):
        store.put(300 * KIB)
    assert fired
    full.clear()
    store.restart()  # or the members had their rest
    store.settle()
    assert set(store.states()) == {"in_sync"}
    store.put(300 * KIB)
    store.check()
    assert store.debts() == []


def test_a_readonly_array_takes_nothing(store: Store) -> None:
    """Refused before the body, and at step 4 for what was on its way."""
    data = b"x" * 1000
    with (
        pytest.raises(ArrayReadOnly),
        blobs.receive(wanted(data), Body(data), lambda _: None) as incoming,
    ):
        with transaction() as session:
            row = session.get(ArrayRow, 1)
            assert row is not None
            row.readonly = True
        with transaction() as session:
            incoming.commit(session)
    store.runtime.forget_map()
    with pytest.raises(ArrayReadOnly):
        store.put(1000)
    assert store.rows(Blob) == []


def test_what_comes_in_segments_stops_when_the_array_becomes_readonly(
    store: Store,
) -> None:
    """It may have hours to go, and nothing is written to an array that is read-only."""
    data = os.urandom(8 * MIB)
    body, left, refused = Body(data), [], []

    class Watched:
        """The same bytes; after the second MiB somebody makes the array read-only."""

        def readinto(self, view: memoryview) -> int:
            count = body.readinto(view)
            if len(body._data) <= 6 * MIB and not refused:
                membership.set_readonly(True)
                refused.append(True)
            left.append(len(body._data))
            return count

    incoming = blobs.receive(wanted(data), Watched(), lambda _: None)
    with pytest.raises(ArrayReadOnly), incoming:
        pytest.fail("It was let in.")
    assert refused and left[-1] > 4 * MIB
    membership.set_readonly(False)
    store.age_uploads()
    store.settle()
    assert store.objects() == set()
    assert store.rows(Upload) == store.rows(Blob) == []


def test_whoever_comes_late_erases_nothing_that_is_committed_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the upload turn into that of the blob between two questions."""
    data = os.urandom(300 * KIB)
    asked: list[str] = []
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:

        def commit() -> None:
            with store.app.app_context(), transaction() as session:
                incoming.commit(session)

        def meanwhile(*said: Any) -> None:
            if not asked and said[2].startswith("SELECT"):
                asked.append(said[2])
                thread = threading.Thread(target=commit)
                thread.start()
                thread.join()

        monkeypatch.setattr(uploads, "_claim", lambda *_, **__: False)
        event.listen(db.engine, "after_cursor_execute", meanwhile)
        try:
            uploads.undo(store.runtime.array(), incoming.blob, 1, sealed=False)
        finally:
            event.remove(db.engine, "after_cursor_execute", meanwhile)
    assert incoming.committed
    assert store.get(incoming.blob) == data
