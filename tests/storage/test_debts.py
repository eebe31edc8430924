"""Members that miss writes, come back and catch up; damage found by readers."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy.exc import OperationalError

from raid.errors import BlobDamaged, BlobUnreachable, MemberFailing
from raid.superblock import Superblock
from storage import damage, debts, events
from storage.db import utcnow
from storage.members.local import LocalMember
from storage.models import ArrayRow, Blob, Debt, DebtKind, Reason
from storage.watch import Keeper
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB)


def _flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def test_a_member_away_and_back(store: Store) -> None:
    """Stale at the first missed write, then rebuilding, then in sync: all events."""
    before = [store.put(size).uuid for size in SIZES]
    event = store.array_row().event
    store.lose(1)
    for size in SIZES:
        store.put(size)
    store.check()
    assert store.states() == ["in_sync", "stale", "in_sync", "in_sync"]
    assert store.array_row().event == event + 1
    owed = store.debts()
    assert {debt.kind for debt in owed} == {DebtKind.MANIFEST}
    assert len(owed) == len(SIZES)
    store.tick()
    assert len(store.debts()) == len(SIZES), "nothing is paid while it is away"
    assert not store.member(1).exists()
    store.bring_back(1)
    store.settle()
    assert store.debts() == []
    assert set(store.states()) == {"in_sync"}
    assert store.array_row().event == event + 3
    store.check()
    _superblocks_tell(store)
    for uuid in [*before, *store.contents]:
        assert store.paths(1, uuid)


def _superblocks_tell(store: Store) -> None:
    """Every member has the newest event and the one before it, and no other."""
    row = store.array_row()
    for slot in range(store.width):
        found = sorted(store.member(slot).glob("superblock.*"), key=_event)
        assert 1 <= len(found) <= 2
        block = Superblock.unpack(found[-1].read_bytes())
        assert (block.event, block.slot) == (row.event, slot)
        states = {entry.slot: entry.state.value for entry in block.members}
        assert [states[one] for one in range(store.width)] == store.states()


def _event(path: Path) -> int:
    return int(path.suffix[1:])


def test_at_risk_until_the_debt_is_paid(make_store: Callable[..., Store]) -> None:
    """With one of two members away there is one copy; the other one is owed."""
    store = make_store(2, ARRAY_LEVEL="raid1")
    store.lose(0)
    for size in SIZES:
        store.put(size)
    assert all(blob.at_risk for blob in store.rows(Blob))
    shards = [debt for debt in store.debts() if debt.kind == DebtKind.SHARD]
    assert len(shards) == 5  # the combined one, and four segments
    assert store.status().at_risk == len(SIZES)
    store.bring_back(0)
    store.settle()
    assert store.debts() == []
    assert not any(blob.at_risk for blob in store.rows(Blob))
    store.lose(1)
    store.check()


def test_refuse_means_refused(make_store: Callable[..., Store]) -> None:
    """DEGRADED_WRITE=refuse: nothing is stored below the promise."""
    from raid.errors import WriteRefused

    store = make_store(2, ARRAY_LEVEL="raid1", DEGRADED_WRITE="refuse")
    store.lose(0)
    store.status()
    with pytest.raises(WriteRefused):
        store.put(1000)
    # On a slow machine the member's turn to be tried again may come in between: then
    # it is refused at the commit, and what was begun is undone.
    assert not [blob for blob in store.rows(Blob) if blob.state == "live"]


@pytest.mark.sqlite
def test_every_member_in_turn(store: Store) -> None:
    """Away, written to, back, paid: whichever it is, nothing is ever missing."""
    for slot in range(4):
        store.put(2 * MIB)
        store.lose(slot)
        for size in SIZES:
            store.put(size)
        store.check()
        store.bring_back(slot)
        store.settle()
        assert store.debts() == []
        assert set(store.states()) == {"in_sync"}
        store.check()


def test_too_many_away_pays_nothing_and_loses_nothing(store: Store) -> None:
    """Two of four: reads say so; when they return, all is as before."""
    wide = store.put(2 * MIB)
    store.lose(0)
    narrow = store.put(2 * MIB)
    store.lose(1)
    objects = store.objects(2) | store.objects(3)
    with pytest.raises(BlobUnreachable):
        store.get(wide.uuid)
    assert store.get(narrow.uuid) == store.contents[narrow.uuid]
    store.settle()
    assert objects == store.objects(2) | store.objects(3)
    assert all(blob.state == "live" for blob in store.rows(Blob))
    assert not any(blob.damaged for blob in store.rows(Blob))
    store.bring_back(0)
    store.bring_back(1)
    store.settle()
    store.check()
    assert store.debts() == []


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_damage_met_by_a_reader_is_repaired(store: Store, size: int) -> None:
    """The right bytes come at once; the worker proves it bad and repairs it."""
    blob = store.put(size)
    for slot in range(4):
        originals = {path: path.read_bytes() for path in store.paths(slot, blob.uuid)}
        for path in originals:
            _flip(path)
        store.runtime.manifests = type(store.runtime.manifests)()
        assert store.get(blob.uuid) == store.contents[blob.uuid]
        noted = store.runtime.take_damage()
        damage.note(noted)
        damage.note(noted)
        assert len(store.debts()) == len({(d.segment, d.role) for d in noted})
        assert {debt.reason for debt in store.debts()} <= {Reason.DAMAGED}
        assert set(store.states()) == {"in_sync"}, "damage makes nobody stale"
        repaired = {(debt.segment, debt.role) for debt in store.debts()}
        store.settle()
        assert store.debts() == []
        same = sum(path.read_bytes() == data for path, data in originals.items())
        assert same >= len(repaired)
        for path, data in originals.items():
            path.write_bytes(data)
    assert any(store.member(slot).glob("quarantine/*") for slot in range(4))


@pytest.mark.sqlite
@pytest.mark.parametrize("who", ["worker", "keeper"])
def test_damage_is_kept_while_the_database_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """It is met once, and nobody may read that file again for years."""
    step = Keeper(store.runtime).step if who == "keeper" else store.tick
    blob = store.put(300 * KIB)
    slot = blob.layout["slots"][0]
    (path,) = store.paths(slot, blob.uuid)
    _flip(path)
    store.check()
    with monkeypatch.context() as away:
        error = OperationalError("INSERT", {}, Exception("database is locked"))
        away.setattr(debts, "add", Mock(side_effect=error))
        with pytest.raises(OperationalError):
            step()
    assert store.debts() == []
    step()
    store.settle()
    assert list(store.member(slot).glob("quarantine/*"))
    assert store.runtime.take_damage() == []


def test_what_is_not_bad_is_left_alone(store: Store) -> None:
    """A debt for an object that is right moves nothing to quarantine."""
    from raid.segments import Damage

    blob = store.put(300 * KIB)
    slots = blob.layout["slots"]
    damage.note(
        [
            Damage(slots[role], blob.uuid, 0, role, "?", "somebody said so")
            for role in (0, 3)
        ]
    )
    assert len(store.debts()) == 2
    before = store.objects()
    store.settle()
    assert store.debts() == []
    assert store.objects() == before
    assert not any(store.folder.glob("*/quarantine/*"))


def test_bad_beyond_repair_is_marked_and_never_emptied(store: Store) -> None:
    """Two bad shards of one segment: said, kept, tried again later; the rest serves."""
    bad, good = store.put(300 * KIB), store.put(300 * KIB)
    paths = [store.paths(slot, bad.uuid)[0] for slot in (0, 1)]
    for path in paths:
        _flip(path)
    with pytest.raises(BlobDamaged):
        store.get(bad.uuid)
    store.settle()
    marked = {blob.uuid: blob.damaged for blob in store.rows(Blob)}
    assert marked == {bad.uuid: True, good.uuid: False}
    assert store.status().damaged == 1
    owed = store.debts()
    assert owed and all(debt.tries and debt.reason == Reason.DAMAGED for debt in owed)
    assert all(path.stat().st_size > 0 for path in paths)
    assert set(store.states()) == {"in_sync"}
    _flip(paths[0])  # the disk comes to its senses
    store.make_due()
    store.settle()
    assert store.debts() == []
    assert store.status().damaged == 0
    store.check()


def test_a_debt_of_a_blob_that_was_let_go_is_void(store: Store) -> None:
    """Nothing is published for a blob that is not live any more."""
    store.lose(2)
    blob = store.put(1000)
    store.let_go(blob.uuid)
    store.bring_back(2)
    store.settle()
    assert store.debts() == []
    assert store.paths(2, blob.uuid) == []
    assert set(store.states()) == {"in_sync"}


def test_a_purge_during_a_repair_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live before publishing, purged after: the repair takes its own write back."""
    store.lose(2)
    blob = store.put(1000)
    store.bring_back(2)
    real, fired = debts.repair.put_manifest, []

    def put(array, slot, manifest):  # type: ignore[no-untyped-def]
        store.let_go(blob.uuid)
        with debts.transaction() as session:
            row = session.get(Blob, blob.uuid)
            assert row is not None
            row.state = "purging"
        fired.append(slot)
        real(array, slot, manifest)

    monkeypatch.setattr(debts.repair, "put_manifest", put)
    array = store.runtime.array()
    store.runtime.check_members()
    events.welcome(array)
    store.runtime.forget_map()
    debts.pay(store.runtime.array())
    assert fired == [2]
    assert store.paths(2, blob.uuid) == []
    assert store.debts() == []


def test_a_member_that_fails_again_while_it_is_paid(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays rebuilding, owes what it owed, and is tried again later."""
    store.lose(3)
    for _ in range(5):
        store.put(1000)
    store.bring_back(3)
    real, calls = LocalMember.put, []

    def put(self, key, parts, **named):  # type: ignore[no-untyped-def]
        if self.path.name == "3" and key.startswith("o/"):
            calls.append(key)
            if len(calls) == 3:
                raise MemberFailing(self.label, "It is failing.")
        real(self, key, parts, **named)

    monkeypatch.setattr(LocalMember, "put", put)
    store.tick()
    assert len(calls) == 3
    assert len(store.debts()) == 3
    assert store.states()[3] == "rebuilding"
    store.restart()
    store.make_due()
    store.settle()
    assert store.debts() == []
    assert store.states()[3] == "in_sync"
    store.check()


def test_stopping_in_the_middle_keeps_count(store: Store) -> None:
    """What was paid is written down, the rest stays owed."""
    store.lose(0)
    for _ in range(6):
        store.put(10)
    store.bring_back(0)
    store.runtime.check_members()
    events.welcome(store.runtime.array())
    store.runtime.forget_map()
    asked = iter([False] * 4 + [True] * 100)
    paid = debts.pay(store.runtime.array(), lambda: next(asked))
    assert 0 < paid < 6
    assert len(store.debts()) == 6 - paid
    store.settle()
    assert store.debts() == []


def test_two_workers_pay_the_same_debt(store: Store) -> None:
    """The second, late after the first was paused, finds it done: no quarantine."""
    store.lose(0)
    store.put(2 * MIB)
    store.bring_back(0)
    store.runtime.check_members()
    array = store.runtime.array()
    events.welcome(array)
    due = debts._claim(array.uuid_of(0)).due
    for _ in range(2):
        for debt in due:
            debts._pay(array, 0, debt)
    assert not any(store.folder.glob("*/quarantine/*"))
    assert len(store.rows(Debt)) == len(due) == 1
    store.make_due()
    store.settle()
    store.check()


def test_events_stand_still_while_readonly(store: Store) -> None:
    """A read-only array changes no stored state and pays nothing."""
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    with debts.transaction() as session:
        row = session.get(ArrayRow, 1)
        assert row is not None
        row.readonly = True
    store.runtime.forget_map()
    objects = store.objects()
    store.settle()
    assert store.objects() == objects
    assert len(store.debts()) == 1
    assert store.states()[1] == "stale"
    store.check()


def test_random_bytes_are_random(store: Store) -> None:
    """The control of these tests: two blobs never have the same bytes."""
    assert os.urandom(32) != os.urandom(32)
    assert store.put(1000).root != store.put(1000).root


def test_two_payers_never_pay_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins while the first is at its first object."""
    store.lose(1)
    for size in SIZES * 2:
        store.put(size)
    store.bring_back(1)
    store.runtime.check_members()
    store.runtime.forget_map()
    events.welcome(store.runtime.array())
    store.runtime.forget_map()
    array, real, paid = store.runtime.array(), debts._pay, []

    def pay(*values: object) -> None:
        paid.append(values[2])
        if len(paid) == 1:
            assert debts.pay(array) == 0
        real(*values)  # type: ignore[arg-type]

    monkeypatch.setattr(debts, "_pay", pay)
    owed = len(store.debts())
    assert owed > 3
    assert debts.pay(array) == owed == len(paid)
    assert store.debts() == []


def test_what_a_payer_did_not_come_to_is_due_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.lose(1)
    for size in SIZES:
        store.put(size)
    store.bring_back(1)
    store.runtime.check_members()
    store.runtime.forget_map()
    events.welcome(store.runtime.array())
    store.runtime.forget_map()
    array, paid, real = store.runtime.array(), [], debts._pay
    monkeypatch.setattr(debts, "_pay", lambda *known: paid.append(real(*known)))
    assert debts.pay(array, lambda: len(paid) == 1) == 1
    assert len(store.debts()) == len(SIZES) - 1
    assert debts.pay(array) == len(SIZES) - 1


def test_what_a_killed_payer_took_is_paid_by_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    store.runtime.check_members()
    store.runtime.forget_map()
    events.welcome(store.runtime.array())
    store.runtime.forget_map()
    (owed,) = store.debts()
    assert len(debts._claim(owed.member_uuid).due) == 1
    array = store.runtime.array()
    assert debts.pay(array) == 0
    later = utcnow() + timedelta(seconds=debts.CLAIM_SECONDS)
    monkeypatch.setattr(debts, "utcnow", lambda: later)
    assert debts.pay(array) == 1
