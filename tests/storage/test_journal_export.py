"""The outbox, its export into entries, and their way to the members."""

import threading

import pytest
from sqlalchemy import delete, insert, text, update

from auth.models import User
from files.models import Entry as FileRow
from raid.errors import MemberFull
from raid.journal import EntryFlag
from storage import maps
from storage.db import db, transaction, utcnow
from storage.journal import chain, delivery, exporter, heads, snapshots, state
from storage.members.local import LocalMember
from storage.models import Blob, Event, JournalEntry, MemberRow, Outbox
from storage.worker import Worker
from support.journal import entries_of, numbers_on, present, replay
from support.store import Store

USERS = User.__table__


def noted(store: Store) -> list[tuple[str, str]]:
    """What waits in the outbox."""
    return sorted((row.name, row.key) for row in store.rows(Outbox))


def forget_noted() -> None:
    with transaction() as session:
        session.execute(delete(Outbox))


def user(number: int) -> dict:
    return {
        "id": number,
        "name": f"u{number}",
        "name_key": f"u{number}",
        "password_hash": "x",
        "is_admin": False,
        "used_bytes": 0,
        "created_at": utcnow(),
    }


def add_users(*numbers: int) -> None:
    with transaction() as session:
        session.execute(insert(USERS), [user(number) for number in numbers])


def run(store: Store) -> int:
    store.runtime.forget_map()
    return exporter.run(store.runtime.array())


def same_on_all(store: Store, slots: range | None = None) -> None:
    """Every member's journal, and no less, gives the rows that there are."""
    for slot in slots or range(store.width):
        assert replay(store.member(slot)) == present()


# The outbox ------------------------------------------------------------------


def test_whatever_writes_lands_in_the_outbox(store: Store) -> None:
    blob = store.put(10)
    key = blob.uuid
    dialect = db.engine.dialect.name
    plain = key.hex if dialect == "sqlite" else str(key)
    assert noted(store) == [("blobs", plain)]
    steps = [
        lambda s: setattr(s.get(Blob, key), "sha256", b"1" * 32),
        lambda s: s.execute(update(Blob).values(state="tombstoned")),
        lambda s: s.execute(text("UPDATE blobs SET share = share + 1")),
        lambda s: s.delete(s.get(Blob, key)),
    ]
    for step in steps:
        forget_noted()
        with transaction() as session:
            step(session)
        assert noted(store) == [("blobs", plain)]


def test_counters_and_times_of_folders_are_not_written_down(store: Store) -> None:
    add_users(1)
    with transaction() as session:
        session.add(FileRow(id="root", owner_id=1, kind=0, name="", sort_key=b""))
    forget_noted()
    with transaction() as session:
        session.execute(update(FileRow).values(files=3, bytes=9, changed_at=utcnow()))
        session.execute(update(USERS).values(used_bytes=9))
        session.execute(update(Blob).values(at_risk=True, damaged=True))
    assert noted(store) == []


def test_a_row_that_gets_another_key_is_noted_under_both(store: Store) -> None:
    add_users(1)
    forget_noted()
    with transaction() as session:
        session.execute(update(USERS).values(id=2))
    assert noted(store) == [("users", "1"), ("users", "2")]


def test_what_is_rolled_back_is_not_noted(store: Store) -> None:
    with pytest.raises(OSError, match="away"), transaction() as session:
        session.execute(insert(USERS), [user(1)])
        raise OSError("away")
    assert noted(store) == []


# Export ----------------------------------------------------------------------


def test_the_first_entry_is_a_snapshot_of_what_was_there_before(store: Store) -> None:
    store.put(10)
    add_users(1, 2)
    run(store)
    (first, _), (second, _) = entries_of(store.member(0))
    assert first.flags == EntryFlag.SNAPSHOT | EntryFlag.FIRST | EntryFlag.LAST
    assert second.flags == EntryFlag.NONE
    same_on_all(store)
    assert store.rows(Outbox) == []
    assert run(store) == 0


def test_rows_come_and_change_and_go(store: Store) -> None:
    run(store)
    add_users(1, 2, 3)
    run(store)
    with transaction() as session:
        session.execute(update(USERS).where(USERS.c.id == 1).values(name="Ähre"))
        session.execute(delete(USERS).where(USERS.c.id == 2))
        session.execute(delete(USERS).where(USERS.c.id == 3))
        session.execute(insert(USERS), [user(3)])
    run(store)
    assert numbers_on(store.member(0)) == [1, 2, 3]
    assert sorted(key for _, key in present()) == ["1", "3"]
    same_on_all(store)


def test_more_than_a_batch_is_applied_whole_or_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store)
    monkeypatch.setattr(exporter, "BATCH", 3)
    add_users(*range(1, 8))
    run(store)
    flags = [entry.flags for entry, _ in entries_of(store.member(0))[1:]]
    assert flags == [EntryFlag.CONTINUES, EntryFlag.CONTINUES, EntryFlag.NONE]
    same_on_all(store)


def test_more_than_an_entry_goes_on_in_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store)
    monkeypatch.setattr("storage.journal.lines.MAX_BODY", 400)
    add_users(*range(1, 8))
    run(store)
    flags = [entry.flags for entry, _ in entries_of(store.member(0))[1:]]
    assert len(flags) > 2
    assert flags[-1] == EntryFlag.NONE
    assert set(flags[:-1]) == {EntryFlag.CONTINUES}
    same_on_all(store)


def test_tables_that_this_release_does_not_know_wait_for_one_that_does(
    store: Store,
) -> None:
    with transaction() as session:
        session.execute(insert(Outbox).values(name="shares", key="1"))
    add_users(1)
    run(store)
    assert noted(store) == [("shares", "1")]
    assert entries_of(store.member(0))[-1][0].flags == EntryFlag.NONE


def test_an_array_that_is_read_only_writes_nothing_down(store: Store) -> None:
    run(store)
    add_users(1)
    maps.note_rollback()
    with pytest.raises(Exception, match="read-only"):
        exporter.export()
    assert noted(store) == [("users", "1")]
    store.settle()
    assert numbers_on(store.member(0)) == [1]


def test_an_uncommitted_change_is_not_lost_behind_later_ones(
    store: Store, database_kind: str
) -> None:
    """Serial numbers are given before the commit, so they come out of order."""
    if database_kind == "sqlite":
        return  # one writer at a time: nothing comes out of order
    run(store)
    with db.engine.connect() as slow:
        slow.execute(insert(USERS), [user(1)])
        add_users(2)
        run(store)
        assert ("users", "1") not in replay(store.member(0))
        slow.commit()
    run(store)
    same_on_all(store)


def test_an_entry_never_holds_half_of_a_transaction(
    store: Store, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between taking from the outbox and reading the rows, somebody commits."""
    if database_kind == "sqlite":
        return  # the exporter is the only writer while it works
    add_users(1, 2)
    run(store)
    with transaction() as session:
        session.execute(update(USERS).where(USERS.c.id == 1).values(name="early"))
    take = exporter._take

    def take_and_let_others_write(session):
        found = take(session)
        with db.engine.begin() as other:
            other.execute(update(USERS).values(email="both@example.com"))
        return found

    monkeypatch.setattr(exporter, "_take", take_and_let_others_write)
    assert exporter.export() == 1
    monkeypatch.setattr(exporter, "_take", take)
    delivery.deliver(store.runtime.array())
    rows = replay(store.member(0))
    assert rows["users", "1"]["name"] == "early"
    assert {row["email"] for row in rows.values()} == {None}
    run(store)
    same_on_all(store)


def test_several_exporters_make_one_chain(store: Store) -> None:
    run(store)
    app, errors = store.app, []

    def export_much() -> None:
        with app.app_context():
            try:
                for _ in range(6):
                    exporter.run(store.runtime.array())
            except Exception as error:
                errors.append(error)

    def write_much(start: int) -> None:
        with app.app_context():
            for number in range(start, start + 12):
                add_users(number)

    threads = [threading.Thread(target=export_much) for _ in range(2)]
    threads += [threading.Thread(target=write_much, args=(n,)) for n in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    run(store)
    assert len(present()) == 24
    same_on_all(store)


# Delivery --------------------------------------------------------------------


def test_a_member_that_was_away_gets_what_it_is_owed(store: Store) -> None:
    run(store)
    store.lose(2)
    store.runtime.check_members()
    for number in range(1, 7):
        add_users(number)
        run(store)
    status = store.status()
    assert [member.owed for member in status.members] == [0, 0, 6, 0]
    assert status.owed == 6
    assert numbers_on(store.folder / "2.away") == [1]
    store.bring_back(2)
    store.settle()
    same_on_all(store)
    assert store.status().owed == 0


def test_an_entry_is_safe_when_one_more_than_m_members_have_it(store: Store) -> None:
    run(store)
    assert state.lag() == state.Lag(0, 0, 0.0)
    add_users(1)
    assert state.lag().rows == 1
    exporter.export()
    lag = state.lag()
    assert (lag.entries, lag.rows) == (1, 0)
    for slot, waits in ((0, 1), (1, 0)):
        with transaction() as session:
            session.execute(
                update(MemberRow).where(MemberRow.slot == slot).values(journal_number=2)
            )
        assert state.lag().entries == waits


def test_falling_late_is_told_once_and_so_is_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store)
    add_users(1)
    assert state.watch() == 0
    monkeypatch.setattr(state, "LATE_SECONDS", -1.0)
    assert [state.watch(), state.watch()] == [1, 0]
    monkeypatch.setattr(state, "LATE_SECONDS", 60.0)
    run(store)
    assert [state.watch(), state.watch()] == [1, 0]
    words = [row.word for row in store.rows(Event)]
    assert words == ["journal_late", "journal_in_time"]


@pytest.mark.sqlite
def test_a_full_member_takes_entries_from_its_reserve(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store)
    met = []

    def full(self, state, size):
        met.append(size)
        raise MemberFull(self.label, "full")

    monkeypatch.setattr(LocalMember, "_keep_reserve", full)
    store.runtime.check_members()
    assert met
    add_users(1)
    run(store)
    same_on_all(store)


@pytest.mark.sqlite
def test_a_rotten_entry_gives_way_and_another_databases_entry_does_not(
    store: Store,
) -> None:
    run(store)
    add_users(1)
    exporter.export()
    rotten = store.member(1) / "c" / "1" / "2"
    rotten.write_bytes(b"noise")
    delivery.deliver(store.runtime.array())
    same_on_all(store)
    add_users(2)
    exporter.export()
    other = store.rows(JournalEntry)[0].data
    (store.member(1) / "c" / "1" / "3").write_bytes(other)
    delivery.deliver(store.runtime.array())
    assert store.array_row().readonly
    assert "flask array recover" in store.array_row().readonly_why
    assert (store.member(1) / "c" / "1" / "3").read_bytes() == other


# Kill ------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


STEPS = {
    "put": (LocalMember, (0, 1, 5, 8, 12)),
    "add": (chain.Tail, (0, 1, 2, 3)),
    "publish": (chain.Tail, (0, 2)),
    "drop_before": (chain, (0,)),
    "_acknowledge": (delivery, (0, 1)),
    "delete": (LocalMember, (0, 3)),
}
KILLS = [(name, nth) for name, (_, numbers) in STEPS.items() for nth in numbers]


@pytest.mark.sqlite
@pytest.mark.parametrize(("name", "nth"), KILLS)
def test_a_kill_at_any_step_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    """It dies at the n-th time of a step of export, delivery, snapshot or pruning."""
    run(store)
    add_users(1, 2)
    monkeypatch.setattr(exporter, "BATCH", 1)
    monkeypatch.setattr(snapshots, "LEAST_BYTES", 0)
    monkeypatch.setattr("storage.journal.lines.MAX_BODY", 250)
    owner = STEPS[name][0]
    call, calls = getattr(owner, name), []

    def step(*args, **kwargs):
        calls.append(name)
        if len(calls) > nth:
            raise Killed
        return call(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, step)
        for number in range(9):
            run(store)
            add_users(100 + number)
    monkeypatch.setattr(chain, "ABANDONED_SECONDS", 0.0)
    store.restart()
    store.settle()
    run(store)
    heads.check(store.runtime.array())
    same_on_all(store)
    kept = [row.number for row in store.rows(JournalEntry)]
    assert all(numbers_on(store.member(slot)) == kept for slot in range(4))
    assert store.states() == ["in_sync"] * 4


def test_a_worker_that_ends_leaves_nothing_behind(store: Store) -> None:
    worker = Worker()
    worker.run_once()
    add_users(1)
    worker.stop()
    worker.run()
    same_on_all(store)
