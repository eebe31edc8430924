"""A member that is lost for good is rebuilt; what comes of it, what can go wrong."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from raid.errors import BlobUnreachable
from storage import membership
from storage.db import release, transaction, utcnow
from storage.jobs import filling, runner, table
from storage.members.local import LocalMember
from storage.models import Blob, Debt, JobKind, JobState, MemberRow, Reason
from storage.runtime import runtime
from storage.worker import Worker
from support.faulty import flip
from support.jobs import active, debts_end, finish, jobs, lease_ends, tick
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)
LAYOUTS = (("raid1", 2), ("raid5", 4), ("raid6", 5), ("raid10", 4))


class Killed(BaseException):
    """The process ends here."""


def files(member: Path) -> dict[str, bytes]:
    """Every object of a member and what it holds."""
    found = (path for path in (member / "o").rglob("*") if path.is_file())
    return {str(path.relative_to(member)): path.read_bytes() for path in found}


def lose_for_good(store: Store, slot: int) -> dict[str, bytes]:
    """A disk dies; returns what it held."""
    held = files(store.member(slot))
    store.lose(slot)
    store.runtime.check_members()
    return held


@pytest.mark.sqlite
@pytest.mark.parametrize(("level", "width"), LAYOUTS)
def test_it_ends_byte_for_byte_as_if_nothing_had_happened(
    make_store: Callable[..., Store], level: str, width: int
) -> None:
    store = make_store(width, ARRAY_LEVEL=level)
    for size in (*SIZES, *SIZES):
        store.put(size)
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    assert store.states()[1] == "rebuilding"
    finish(store)
    assert files(store.folder / "new") == held
    assert store.states() == ["in_sync"] * width
    (job,) = jobs(store, JobKind.REBUILD)
    assert (job.state, job.counts, job.report) == (
        JobState.DONE,
        {"given": len(held)},
        [],
    )
    assert job.done_bytes == job.total_bytes == sum(map(len, held.values()))
    assert job.done_objects == job.total_objects == len(store.contents)
    assert not any(store.folder.glob("*/quarantine/*"))
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_every_slot_of_two_parities_from_every_pair(
    make_store: Callable[..., Store],
) -> None:
    """With a second member away, q is among what is read."""
    store = make_store(4, ARRAY_LEVEL="raid6")
    for size in SIZES:
        store.put(size)
    for slot in range(4):
        other = (slot + 1) % 4
        held = files(store.member(slot))
        store.lose(slot)
        away = store.member(other)
        store.runtime.check_members()
        membership.replace(slot, f"file:members/{slot}")
        away.rename(store.folder / "gone")
        store.runtime.check_members()
        finish(store)
        assert files(store.member(slot)) == held
        (store.folder / "gone").rename(away)
        finish(store)
        assert store.states() == ["in_sync"] * 4


def test_a_kill_in_the_middle_and_another_instance_goes_on(
    store: Store, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published is kept, by its size alone; nothing is made twice."""
    for size in SIZES * 3:
        store.put(size)
    held = lose_for_good(store, 2)
    membership.replace(2, "file:members/new")
    puts = _count_puts(monkeypatch, "new", kill_at=5)
    with pytest.raises(Killed):
        tick(store)
    store.restart()  # its threads end, whatever they were at
    assert len(puts) >= 5
    there = files(store.folder / "new")
    assert 0 < len(there) < len(held)
    lease_ends(store)
    release()
    puts.clear()
    other = make_app()
    with other.app_context():
        second = Store(other)
        second.contents = store.contents
        finish(second)
        assert files(store.folder / "new") == held
        assert set(puts) == set(held) - set(there)
        (job,) = jobs(second, JobKind.REBUILD)
        assert job.takeovers == 1
        assert job.counts["kept"] + job.counts["given"] >= len(held)
        assert second.states() == ["in_sync"] * 4
        second.check()


def _count_puts(
    monkeypatch: pytest.MonkeyPatch, name: str, kill_at: int = 0
) -> list[str]:
    """Note the objects that are stored on a member, and die at one of them."""
    real, puts, lock, killed = LocalMember.put, [], threading.Lock(), []

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        if self.path.name == name and key.startswith("o/"):
            with lock:
                puts.append(key)
                if len(puts) == kill_at and not killed:
                    killed.append(key)
                    raise Killed
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    return puts


@pytest.mark.sqlite
def test_a_step_is_short_and_the_cursor_goes_on_inside_a_blob(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many segments is no reason to lose its work at a kill."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    store.put(4 * MIB)
    held = lose_for_good(store, 0)
    assert len(held) > 4
    membership.replace(0, "file:members/new")
    puts = _count_puts(monkeypatch, "new")
    cursors = set()
    for _ in range(len(held)):
        tick(store)
        cursors.update(job.cursor for job in jobs(store))
    assert len(cursors) == len(held)
    assert len(puts) == len(held)
    finish(store)
    assert files(store.folder / "new") == held


def test_a_worker_that_stood_still_is_fenced(
    store: Store, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes up in the middle of its step, after another one has ended the job."""
    for size in SIZES * 2:
        store.put(size)
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    real, paused, go_on = LocalMember.put, threading.Event(), threading.Event()
    first = threading.Lock()

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        late = self.path.name == "new" and key.startswith("o/")
        if late and not paused.is_set() and first.acquire(blocking=False):
            paused.set()
            assert go_on.wait(60)
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    thread = threading.Thread(target=_tick_in_thread, args=(store.app,))
    thread.start()
    try:
        assert paused.wait(60)
        lease_ends(store)
        other = make_app()
        with other.app_context():
            second = Store(other)
            second.contents = store.contents
            finish(second)
            (job,) = jobs(second, JobKind.REBUILD)
            assert (job.state, job.takeovers) == (JobState.DONE, 1)
            counts = dict(job.counts)
            gone = next(iter(second.contents))
            _purge(second, gone)
            held = {key: data for key, data in held.items() if str(gone) not in key}
    finally:
        go_on.set()
        thread.join(60)
    (job,) = jobs(store, JobKind.REBUILD)
    assert (job.state, dict(job.counts)) == (JobState.DONE, counts)
    assert files(store.folder / "new") == held
    assert not any(store.folder.glob("*/quarantine/*"))
    finish(store)
    assert store.states() == ["in_sync"] * 4
    store.check()


def _tick_in_thread(app: Flask) -> None:
    with app.app_context():
        Worker().tick()


def _purge(store: Store, uuid: object) -> None:
    """Let go of a blob, let its grace end, and purge it from every member."""
    _purge_one_round(store, uuid)
    finish(store)
    assert uuid not in {blob.uuid for blob in store.rows(Blob)}


@pytest.mark.sqlite
def test_writes_and_deletes_while_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New files go to the new member at once; what is deleted meanwhile stays so."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    old = [store.put(size).uuid for size in SIZES * 3]
    lose_for_good(store, 3)
    membership.replace(3, "file:members/new")
    for number, uuid in enumerate(old[::2]):
        tick(store)
        assert active(store), "the rebuild is still on its way"
        store.put(SIZES[number % 4])
        _purge_one_round(store, uuid)
    finish(store)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert store.debts() == []
    left = {blob.uuid.hex for blob in store.rows(Blob)}
    assert left == {uuid.hex for uuid in store.contents}
    there = {Path(key).name.partition(".")[0] for key in files(store.folder / "new")}
    assert {name.replace("-", "") for name in there} <= left
    store.lose(0)
    store.check()


def _purge_one_round(store: Store, uuid: object) -> None:
    """Let go of a blob, and let its grace end."""
    store.let_go(uuid)  # type: ignore[arg-type]
    with transaction() as session:
        session.execute(update(Blob).where(Blob.uuid == uuid).values(due_at=utcnow()))


@pytest.mark.sqlite
def test_a_purge_between_reading_and_publishing_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step takes back what it stored of a blob that is not live any more."""
    blob = store.put(300 * KIB)
    lose_for_good(store, 0)
    membership.replace(0, "file:members/new")
    real, fired = LocalMember.put, []

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        if self.path.name == "new" and str(blob.uuid) in key:
            fired.append(key)
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    real_take_back = filling.supply.take_back_dead

    def purged_first(array, slot, given):  # type: ignore[no-untyped-def]
        _purge_rows(blob.uuid)
        return real_take_back(array, slot, given)

    monkeypatch.setattr(filling.supply, "take_back_dead", purged_first)
    own = runtime()
    own.rests.clear()
    runner.run(own.array())
    assert len(fired) == 1
    assert files(store.folder / "new") == {}


def _purge_rows(uuid: object) -> None:
    with transaction() as session:
        session.execute(
            update(Blob).where(Blob.uuid == uuid).values(state="purging"),
            execution_options={"synchronize_session": False},
        )


@pytest.mark.sqlite
def test_a_bad_source_is_never_copied_on(make_store: Callable[..., Store]) -> None:
    """Raid6: a bad shard is found by what comes out, named, and made good."""
    store = make_store(5, ARRAY_LEVEL="raid6")
    blob = store.put(2 * MIB)
    originals = files(store.member(2))
    # Data are read whatever is rebuilt; a parity only where it is needed.
    bad = next(path for path in store.paths(2, blob.uuid) if path.suffix[:2] == ".d")
    bad.write_bytes(flip(bad.read_bytes(), 8 * (bad.stat().st_size - 20)))
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    finish(store)
    assert files(store.folder / "new") == held
    assert files(store.member(2)) == originals
    assert list(store.member(2).glob("quarantine/*"))
    assert store.states() == ["in_sync"] * 5
    store.check()


def test_it_goes_on_past_what_is_lost_and_says_so(store: Store) -> None:
    """Raid5: with another shard bad, one file is lost; the others are whole again."""
    bad, good = store.put(300 * KIB), store.put(300 * KIB)
    wide = store.put(2 * MIB)
    path = store.paths(2, bad.uuid)[0]
    right = path.read_bytes()
    path.write_bytes(flip(right, 8 * (len(right) - 20)))
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    finish(store)
    (job,) = jobs(store, JobKind.REBUILD)
    assert job.state == JobState.DONE
    assert [row["blob"] for row in job.report] == [bad.uuid.hex]
    assert "damaged" in job.report[0]["why"]
    marked = {blob.uuid: blob.damaged for blob in store.rows(Blob)}
    assert marked == {bad.uuid: True, good.uuid: False, wide.uuid: False}
    assert store.states() == ["in_sync"] * 4
    found = files(store.folder / "new")
    assert found == {key: held[key] for key in found}
    assert {str(bad.uuid)} == {Path(k).name[:36] for k in set(held) - set(found)}
    assert {debt.reason for debt in store.debts()} == {Reason.DAMAGED}
    path.write_bytes(right)  # somebody finds the right bytes
    debts_end(store)
    finish(store)
    assert store.debts() == []
    assert not any(blob.damaged for blob in store.rows(Blob))
    assert files(store.folder / "new") == held
    store.check()


@pytest.mark.sqlite
def test_a_second_loss_is_an_honest_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reported lost while a member may come back, and then all heals."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    wide = [store.put(2 * MIB).uuid for _ in range(4)]
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    for _ in range(3):
        tick(store)
    store.lose(2)
    store.runtime.check_members()
    for _ in range(3):
        tick(store)
    (job,) = active(store)
    assert "away" in job.problem and job.report == []
    errors = 0
    for uuid in wide:
        try:
            assert store.get(uuid) == store.contents[uuid]
        except BlobUnreachable:
            errors += 1
    assert errors
    assert not any(blob.damaged for blob in store.rows(Blob))
    assert all(blob.state == "live" for blob in store.rows(Blob))
    store.bring_back(2)
    finish(store)
    assert files(store.folder / "new") == held
    assert store.states() == ["in_sync"] * 4
    store.check()


@pytest.mark.sqlite
def test_a_cancelled_rebuild_does_not_count_as_done(store: Store) -> None:
    """The member stays out of sync until somebody asks again."""
    for size in SIZES:
        store.put(size)
    held = lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    (job,) = active(store)
    assert table.cancel(job.id)
    finish(store)
    assert store.states()[1] == "rebuilding"
    assert membership.rebuild(actor="root") != [job.id]
    finish(store)
    assert store.states()[1] == "in_sync"
    assert files(store.folder / "new") == held


@pytest.mark.sqlite
def test_a_replaced_member_that_comes_back_is_named_and_not_used(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    blob = store.put(300 * KIB)
    lose_for_good(store, 1)
    membership.replace(1, "file:members/new")
    finish(store)
    store.bring_back(1)
    before = files(store.member(1))
    store.let_go(blob.uuid)
    _purge(store, store.put(1000).uuid)
    store.restart()
    store.runtime.check_members()
    assert "retired or replaced; it is not used" in caplog.text
    finish(store)
    assert files(store.member(1)) == before, "it is neither read nor written"
    rows = {row.url: row for row in store.rows(MemberRow)}
    assert rows["file:members/1"].state == "retired"
    assert store.states() == ["in_sync"] * 4
    assert store.rows(Debt) == []
