"""Heads: a member that is behind, and one that is ahead of the database."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import RowMapping, delete, insert, select, update

from auth.models import User
from raid.journal import Entry
from storage import blobs, membership, watch
from storage.db import db, release, transaction, utcnow
from storage.journal import chain, delivery, exporter, heads, snapshots
from storage.members.local import LocalMember
from storage.models import (
    ArrayRow,
    Blob,
    Event,
    JournalEntry,
    MemberRow,
    Outbox,
    Upload,
)
from storage.worker import Worker
from support.arrays import Body
from support.journal import numbers_on, present, replay
from support.store import Store, wanted

pytestmark = pytest.mark.sqlite


@pytest.fixture
def written(store: Store) -> Iterator[Store]:
    """A store whose members hold entries 1 to 5."""
    add(store, 5)
    yield store


def add(store: Store, upto: int) -> None:
    """Write until the journal has so many entries."""
    while store.array_row().journal_number < upto:
        number = store.array_row().journal_number
        if number:
            row = {"id": number, "name": f"u{number}", "name_key": f"u{number}"}
            row |= {"password_hash": "x", "created_at": utcnow()}
            row |= {"is_admin": False, "used_bytes": 0}
            with transaction() as session:
                session.execute(insert(User), [row])
        run(store)


def run(store: Store) -> None:
    store.runtime.forget_map()
    exporter.run(store.runtime.array())


def check(store: Store) -> int:
    store.runtime.forget_map()
    return heads.check(store.runtime.array())


def agree(store: Store) -> str | None:
    store.runtime.forget_map()
    return heads.agree(store.runtime.array())


def journal(store: Store, slot: int) -> Path:
    return store.member(slot) / "c" / "1"


@pytest.mark.parametrize(
    ("numbers", "oldest", "head"),
    [
        ([], 1, 0),
        ([1, 2, 3], 1, 3),
        ([1, 2, 4], 1, 2),
        ([2, 3], 1, 0),
        ([7, 8], 7, 8),
        ([1, 2, 7, 8], 7, 8),
        ([1, 2, 8], 7, 6),
        ([], 7, 6),
    ],
)
def test_a_head_ends_before_the_first_gap(numbers, oldest, head) -> None:
    places = [(2, number) for number in numbers] + [(1, head + 1)]
    assert heads.head_of(places, 2, oldest) == head


def test_members_that_agree_are_left_alone(written: Store) -> None:
    event = written.array_row().event
    assert check(written) == 0
    assert agree(written) is None
    assert (written.states(), written.array_row().event) == (["in_sync"] * 4, event)


@pytest.mark.parametrize("gone", [[5], [3], [1, 2, 3, 4, 5]])
def test_a_member_that_is_behind_is_stale_and_gets_everything_again(
    written: Store, gone: list[int]
) -> None:
    for number in gone:
        (journal(written, 1) / str(number)).unlink()
    sentence = agree(written)
    # A gap is found by the daily look: it is no sign that the database is old.
    assert (sentence is None) == (gone == [3])
    assert "rolled back" in (sentence or "it was rolled back")
    assert check(written) == 1
    assert written.states() == ["in_sync", "stale", "in_sync", "in_sync"]
    row = next(row for row in written.rows(MemberRow) if row.slot == 1)
    assert (row.inventory_due, row.journal_number) == (True, min(gone) - 1)
    assert [row.word for row in written.rows(Event)] == ["member_rolled_back"]
    run(written)
    assert numbers_on(written.member(1)) == [1, 2, 3, 4, 5]
    assert agree(written) is None
    assert check(written) == 0


def test_a_disk_put_back_from_an_old_copy_is_found(written: Store) -> None:
    shutil.copytree(written.member(1), written.folder / "copy")
    add(written, 7)
    shutil.rmtree(written.member(1))
    (written.folder / "copy").rename(written.member(1))
    written.tick()
    assert written.rows(Event)[0].word == "member_rolled_back"
    written.settle()
    run(written)
    assert replay(written.member(1)) == present()


def test_a_delivery_that_began_before_a_rollback_was_found_counts_for_nothing(
    written: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction() as session:
        session.execute(update(User).values(email="x"))
    exporter.export()
    uuid = next(row.uuid for row in written.rows(MemberRow) if row.slot == 1)
    acknowledge, numbers = delivery._acknowledge, []

    def found_meanwhile(outcomes):
        if not numbers:
            (journal(written, 1) / "5").unlink()
            assert heads.mark_rolled_back(uuid, 4)
        acknowledge(outcomes)
        rows = written.rows(MemberRow)
        numbers.append(next(row.journal_number for row in rows if row.slot == 1))

    monkeypatch.setattr(delivery, "_acknowledge", found_meanwhile)
    run(written)
    assert numbers == [4, 6]
    assert numbers_on(written.member(1)) == [1, 2, 3, 4, 5, 6]


def roll_back_database(store: Store, number: int) -> None:
    """Give the database the rows that an old backup would have."""
    kept = next(row for row in store.rows(JournalEntry) if row.number == number)
    with transaction() as session:
        session.execute(delete(JournalEntry).where(JournalEntry.number > number))
        session.execute(update(MemberRow).values(journal_number=number))
        session.execute(
            update(ArrayRow).values(journal_number=number, journal_hash=kept.hash)
        )


def test_a_database_older_than_the_members_is_read_only(written: Store) -> None:
    roll_back_database(written, 3)
    sentence = agree(written)
    assert sentence is not None
    assert "flask array recover" in sentence
    assert heads.is_ahead(written.runtime.array())
    written.tick()
    assert written.array_row().readonly
    assert "flask array recover" in (written.array_row().readonly_why or "")
    assert numbers_on(written.member(0)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("runs", [False, True], ids=["it starts", "it runs"])
def test_a_database_older_than_the_members_undoes_no_upload(
    written: Store, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way when the backup was made has long been acknowledged.

    A worker that runs meanwhile has looked a moment ago, and would not look so soon.
    """
    monkeypatch.setattr("storage.worker.UNDO_SECONDS", 0.0)
    worker = Worker()
    data = os.urandom(300_000)
    with blobs.receive(wanted(data), Body(data), lambda _: None) as incoming:
        (upload,) = [dict(row) for row in rows_of(Upload)]
        with transaction() as session:
            incoming.commit(session)
    run(written)
    if runs:
        for _ in range(2):  # it has listed the journals, and glanced at their ends
            worker.tick()
    held = written.objects()
    roll_back_database(written, 5)
    with transaction() as session:
        session.execute(delete(Blob).where(Blob.uuid == incoming.blob))
        session.execute(delete(Outbox))
        session.execute(insert(Upload), [upload])
    if not runs:
        written.restart()
    written.age_uploads()
    for _ in range(2):
        worker.tick()
        assert held <= written.objects()
    assert written.array_row().readonly
    membership.set_readonly(False)
    worker.tick()
    assert written.array_row().readonly
    assert held <= written.objects()


@pytest.mark.parametrize("notices", [True, False])
def test_a_worker_ends_without_a_word_from_an_older_database(
    written: Store, notices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its last entries would be those of a past that never was."""
    worker = Worker()
    worker.tick()
    roll_back_database(written, 3)
    with transaction() as session:
        session.execute(update(User).values(email="x"))
    if not notices:
        monkeypatch.setattr(chain.Tide, "went_back", lambda _: False)
    worker.stop()
    worker.run()
    assert (written.array_row().journal_number == 3) == notices


def rows_of(model: Any) -> Sequence[RowMapping]:
    """The rows of a table as values."""
    found = db.session.execute(select(model.__table__)).mappings().all()
    release()
    return found


@pytest.mark.threads
def test_the_threads_of_a_process_look_when_it_starts(written: Store) -> None:
    roll_back_database(written, 3)
    watch.start(written.runtime)
    until = time.monotonic() + 20
    while not written.array_row().readonly and time.monotonic() < until:
        time.sleep(0.05)
    assert written.array_row().readonly


def test_a_web_process_looks_for_itself_when_it_starts(written: Store) -> None:
    watcher = watch.Watcher(written.runtime)
    watcher.step()
    assert not written.array_row().readonly
    roll_back_database(written, 3)
    watch.Watcher(written.runtime).step()
    assert written.array_row().readonly


def test_a_web_process_looks_again_when_the_database_went_back(written: Store) -> None:
    watcher = watch.Watcher(written.runtime)
    watcher.step()
    watcher.step()
    roll_back_database(written, 3)
    watcher.step()
    assert written.array_row().readonly


# -- a glance at the ends alone


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What members are asked about their journals: `list`, or a key."""
    found: list[str] = []
    listing, info = LocalMember.list, LocalMember.info

    def listed(self: LocalMember, prefix: str) -> Any:
        if prefix.startswith("c/"):
            found.append("list")
        return listing(self, prefix)

    def looked(self: LocalMember, key: str) -> Any:
        if key.startswith("c/"):
            found.append(key)
        return info(self, key)

    monkeypatch.setattr(LocalMember, "list", listed)
    monkeypatch.setattr(LocalMember, "info", looked)
    return found


def glance(store: Store) -> int:
    store.runtime.forget_map()
    return heads.glance(store.runtime.array())


def test_journals_that_end_where_they_should_are_not_listed(
    written: Store, asked: list[str]
) -> None:
    assert glance(written) == 0
    assert sorted(asked) == sorted(["c/1/5", "c/1/6"] * 4)
    written.lose(3)
    written.runtime.check_members()
    add(written, 6)
    asked.clear()
    assert glance(written) == 0
    assert sorted(asked) == sorted(["c/1/6", "c/1/7"] * 3)


def test_who_asks_whether_all_agree_lists_nothing_while_they_do(
    written: Store, asked: list[str]
) -> None:
    """A sweep asks at each of its steps, of which there may be hundreds."""
    assert agree(written) is None
    assert "list" not in asked
    (journal(written, 1) / "5").unlink()
    assert agree(written) is not None
    assert "list" in asked


def test_a_glance_finds_a_member_that_was_rolled_back(written: Store) -> None:
    for number in (4, 5):
        (journal(written, 1) / str(number)).unlink()
    assert glance(written) == 1
    assert written.states() == ["in_sync", "stale", "in_sync", "in_sync"]
    row = next(row for row in written.rows(MemberRow) if row.slot == 1)
    assert (row.inventory_due, row.journal_number) == (True, 3)


@pytest.mark.parametrize("holder", [0, 3])
def test_a_glance_finds_a_database_that_is_behind_any_member(
    written: Store, holder: int
) -> None:
    for slot in {0, 1, 2, 3} - {holder}:
        (journal(written, slot) / "4").unlink()
        (journal(written, slot) / "5").unlink()
    roll_back_database(written, 3)
    assert glance(written) == 0
    assert written.array_row().readonly


def test_an_entry_that_comes_during_a_glance_is_no_later_one(
    written: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = chain.read
    came: list[int] = []

    def read(connection: Any) -> chain.Tail:
        tail = real(connection)
        if not came:
            came.append(6)
            add(written, 6)
        return tail

    array = written.runtime.array()
    monkeypatch.setattr(chain, "read", read)
    assert heads.look_right(array)
    assert (came, "list" in asked) == ([6], False)
    assert "c/1/6" in asked


def test_a_worker_lists_journals_once_a_day_and_glances_meanwhile(
    written: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("storage.worker.time", clock)
    worker = Worker()
    for _ in range(2):
        worker.tick()
    assert asked.count("list") == 4
    asked.clear()
    for _ in range(3):
        now[0] += 200
        worker.tick()
    assert "list" not in asked
    assert asked.count("c/1/5") == 12
    now[0] += 86_400
    worker.tick()
    assert asked.count("list") == 4


def test_an_entry_of_a_later_incarnation_is_ahead_too(written: Store) -> None:
    late = Entry.unpack((journal(written, 0) / "1").read_bytes())
    later = written.member(2) / "c" / "2"
    later.mkdir()
    (later / "1").write_bytes(late.pack())
    check(written)
    assert written.array_row().readonly


def test_noise_beyond_the_end_is_nobodys_entry(written: Store) -> None:
    (journal(written, 0) / "6").write_bytes(b"noise")
    assert check(written) == 0
    assert agree(written) is None
    add(written, 6)
    assert replay(written.member(0)) == present()


def test_what_is_owed_is_no_agreement_yet(written: Store) -> None:
    written.lose(3)
    written.runtime.check_members()
    add(written, 6)
    assert agree(written) is None  # whoever is away says nothing
    written.bring_back(3)
    written.runtime.check_members()
    sentence = agree(written)
    assert sentence is not None
    assert "owed 1 journal entries" in sentence
    run(written)
    assert agree(written) is None


def test_the_array_read_only_marks_nobody(written: Store) -> None:
    (journal(written, 1) / "5").unlink()
    with transaction() as session:
        session.execute(update(ArrayRow).values(readonly=True))
    row = next(row for row in written.rows(MemberRow) if row.slot == 1)
    assert not heads.mark_rolled_back(row.uuid, 4)
    assert written.states() == ["in_sync"] * 4


# Snapshots and what they make needless ------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a snapshot as soon as twice its size has changed."""
    monkeypatch.setattr(snapshots, "LEAST_BYTES", 0)


def test_older_entries_go_once_every_member_has_the_snapshot(
    written: Store, eager: None
) -> None:
    written.lose(2)
    written.runtime.check_members()
    add(written, 9)
    kept = [row.number for row in written.rows(JournalEntry)]
    assert kept[0] == 1
    assert numbers_on(written.member(0)) == kept
    written.bring_back(2)
    written.runtime.check_members()
    run(written)
    kept = [row.number for row in written.rows(JournalEntry)]
    assert kept[0] > 5
    for slot in range(4):
        assert numbers_on(written.member(slot)) == kept
        assert replay(written.member(slot)) == present()
    assert agree(written) is None


def test_a_failed_member_does_not_keep_old_entries(written: Store, eager: None) -> None:
    with transaction() as session:
        session.execute(
            update(MemberRow).where(MemberRow.slot == 2).values(state="faulty")
        )
    add(written, 9)
    assert written.rows(JournalEntry)[0].number > 5
    assert numbers_on(written.member(2)) == [1, 2, 3, 4, 5]


def test_a_member_without_a_journal_begins_at_the_snapshot(
    written: Store, eager: None
) -> None:
    add(written, 12)
    shutil.rmtree(written.member(1) / "c")
    (written.member(1) / "c").mkdir()
    with transaction() as session:
        session.execute(
            update(MemberRow).where(MemberRow.slot == 1).values(journal_number=0)
        )
    owed = [member.owed for member in written.status().members]
    assert owed == [0, len(written.rows(JournalEntry)), 0, 0]
    run(written)
    assert replay(written.member(1)) == present()
    assert written.status().owed == 0


def test_a_snapshot_in_many_parts_is_one(
    written: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.journal.lines.MAX_BODY", 250)
    assert snapshots.take() == 4
    run(written)
    kept = [row.number for row in written.rows(JournalEntry)]
    assert kept == [6, 7, 8, 9]
    assert replay(written.member(0)) == present()


def test_a_snapshot_that_others_overtook_leaves_nothing(
    written: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.journal.chain.ABANDONED_SECONDS", -1.0)
    store_part = snapshots._store

    def store_and_let_others_write(*args):
        end = store_part(*args)
        with transaction() as session:
            session.execute(update(User).values(email="x"))
        assert exporter.export() == 1
        return end

    monkeypatch.setattr(snapshots, "_store", store_and_let_others_write)
    with pytest.raises(snapshots._Overtaken):
        snapshots.take()
    assert [row.number for row in written.rows(JournalEntry)] == [1, 2, 3, 4, 5, 6]
    run(written)
    assert replay(written.member(0)) == present()


def test_while_a_snapshot_is_made_others_wait(written: Store) -> None:
    start = end = None
    with transaction() as session:
        start = end = snapshots.chain.lock(session)
    end = snapshots._store(start, end, b"", heads.chain.EntryFlag.SNAPSHOT)
    with transaction() as session:
        session.execute(update(User).values(email="x"))
    assert exporter.export() == 0
    assert snapshots.take() == 0
    snapshots._abandon(start)
    assert exporter.export() == 1


def test_a_worker_that_is_stopped_leaves_no_half_of_a_snapshot(
    written: Store, eager: None
) -> None:
    assert snapshots.take(lambda: True) == 0
    assert [row.number for row in written.rows(JournalEntry)] == [1, 2, 3, 4, 5]


def test_what_changes_while_a_snapshot_is_read_comes_after_it(
    written: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_part = snapshots._store

    def store_and_let_people_work(*args):
        end = store_part(*args)
        with transaction() as session:
            session.execute(update(User).values(email="later"))
        return end

    monkeypatch.setattr(snapshots, "_store", store_and_let_people_work)
    assert snapshots.take() == 1
    run(written)
    rows = replay(written.member(0))
    assert rows == present()
    assert {row["email"] for row in rows.values()} == {"later"}
