"""Spares: formatted, told, and taking over when a member is gone for too long."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from raid.array import Array
from raid.errors import MemberFailing
from raid.superblock import StoredState, Superblock
from storage import maps, membership, services, upkeep
from storage.db import transaction
from storage.errors import Refused
from storage.jobs import runner
from storage.journal import exporter
from storage.members.local import LocalMember
from storage.models import Event, JobKind, MemberRow
from storage.runtime import Runtime
from support.jobs import finish, jobs, tick
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)


@pytest.fixture
def eager(make_store: Callable[..., Store]) -> Store:
    """A store whose spares wait for nothing."""
    return make_store(SPARE_GRACE_MINUTES="0")


def test_a_spare_is_told_what_happens(store: Store) -> None:
    uuid = membership.add_spare("file:members/spare")
    membership.fail(1)
    membership.readd(1)
    finish(store)
    paths = sorted((store.folder / "spare").glob("superblock.*"))
    newest = max(paths, key=lambda path: int(path.suffix[1:]))
    block = Superblock.unpack(newest.read_bytes())
    assert (block.member, block.slot) == (uuid, None)
    assert block.event == store.array_row().event
    assert {entry.slot: entry.state for entry in block.members}[None] == "spare"
    status = store.status()
    (spare,) = [member for member in status.members if member.slot is None]
    assert (spare.state, spare.observed, spare.owed) == ("spare", None, 0)
    assert spare.free
    assert status.state == "clean"


@pytest.mark.sqlite
@pytest.mark.parametrize("how", ["lost", "failed", "retired"])
def test_it_takes_over(eager: Store, how: str) -> None:
    for size in SIZES:
        eager.put(size)
    uuid = membership.add_spare("file:members/spare")
    finish(eager)
    if how == "lost":
        eager.lose(2)
        eager.runtime.check_members()
    elif how == "failed":
        membership.fail(2)
    else:
        membership.retire(2)
    finish(eager)
    row = next(row for row in eager.rows(MemberRow) if row.uuid == uuid)
    assert (row.slot, row.state) == (2, "in_sync")
    assert eager.states() == ["in_sync"] * 4
    assert len(jobs(eager, JobKind.REBUILD)) == 1
    eager.lose(0)
    eager.check()


@pytest.mark.sqlite
def test_it_waits_for_the_grace(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour by the clock of the worker; a member that returns begins it anew."""
    now = [1000.0]
    monkeypatch.setattr(upkeep.time, "monotonic", lambda: now[0])
    membership.add_spare("file:members/spare")
    store.lose(2)
    array = _look(store)
    assert upkeep.take_over(array) == 0
    now[0] += 3599
    assert upkeep.take_over(array) == 0
    store.bring_back(2)
    assert upkeep.take_over(_look(store)) == 0
    store.lose(2)
    now[0] += 3599
    assert upkeep.take_over(_look(store)) == 0
    now[0] += 3601
    assert upkeep.take_over(_look(store)) == 1
    assert store.states()[2] == "rebuilding"


@pytest.mark.sqlite
def test_a_member_that_another_host_reaches_is_not_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is this host that is cut off, and its word must not end a member."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(upkeep, "time", clock)
    membership.add_spare("file:members/spare")
    store.lose(2)
    array = _look(store)
    store.bring_back(2)
    for _ in range(3):
        assert upkeep.take_over(array) == 0
        _note_elsewhere(store)
        now[0] += 3601
    assert upkeep.take_over(array) == 0
    now[0] += 3599
    assert upkeep.take_over(array) == 0
    now[0] += 2
    assert upkeep.take_over(array) == 1, "nobody has heard of it for an hour"
    assert store.states()[2] == "rebuilding"


def _note_elsewhere(store: Store) -> None:
    """Let another host, which sees all members, write to the journal."""
    own, other = store.runtime, Runtime(store.app)
    store.app.extensions["holdfast_runtime"] = other
    store.put(1000)
    assert exporter.run(other.array()) > 0
    store.app.extensions["holdfast_runtime"] = own
    other.close()


def _look(store: Store):  # type: ignore[no-untyped-def]
    store.runtime.check_members()
    store.runtime.forget_map()
    return store.runtime.array()


@pytest.mark.sqlite
def test_never_while_more_than_m_are_away(eager: Store) -> None:
    """That is a cable or a network: nothing is thrown away for it."""
    eager.put(2 * MIB)
    membership.add_spare("file:members/spare")
    eager.lose(1)
    eager.lose(2)
    eager.runtime.check_members()
    for _ in range(3):
        tick(eager)
    assert eager.states() == ["in_sync"] * 4
    eager.bring_back(1)
    eager.bring_back(2)
    finish(eager)
    eager.check()
    assert [row.state for row in eager.rows(MemberRow)].count("spare") == 1


@pytest.mark.sqlite
def test_never_while_the_member_may_still_be_needed(
    eager: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being rebuilt needs all others: one that is away is waited for."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    for _ in range(4):
        eager.put(2 * MIB)
    eager.lose(1)
    eager.runtime.check_members()
    membership.replace(1, "file:members/new")
    tick(eager)
    membership.add_spare("file:members/spare")
    eager.lose(2)
    eager.runtime.check_members()
    for _ in range(3):
        tick(eager)
    assert [row.state for row in eager.rows(MemberRow)].count("spare") == 1
    eager.bring_back(2)
    finish(eager)
    assert eager.states() == ["in_sync"] * 4
    eager.check()


@pytest.mark.sqlite
def test_never_for_a_member_that_is_needed_since_a_moment(eager: Store) -> None:
    """Another worker, to which another member is away, changed the map meanwhile."""
    membership.add_spare("file:members/spare")
    finish(eager)
    eager.lose(1)
    seen = _look(eager)
    with transaction() as session:
        locked = maps.lock(session)
        locked.set_state(locked.by_slot()[2], StoredState.STALE)
    with pytest.raises(Refused, match="Slot 1 is needed"):
        upkeep.take_over(seen)
    assert eager.states() == ["in_sync", "in_sync", "stale", "in_sync"]
    eager.bring_back(1)
    finish(eager)
    assert eager.states() == ["in_sync"] * 4


@pytest.mark.sqlite
def test_a_second_worker_leaves_the_spare_that_stepped_in(
    eager: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw the same member gone, and its map is older than the spare's turn."""
    first, second = (
        membership.add_spare(f"file:members/spare{number}") for number in range(2)
    )
    finish(eager)
    eager.lose(1)
    seen = _look(eager)
    assert upkeep.take_over(seen) == 1
    with monkeypatch.context() as patch:
        patch.setattr(eager.runtime, "array", lambda: seen)
        with pytest.raises(Refused, match="Slot 1 has another member by now"):
            upkeep.take_over(seen)
    rows = {row.uuid: (row.slot, row.state) for row in eager.rows(MemberRow)}
    assert rows[first] == (1, "rebuilding")
    assert rows[second] == (None, "spare")
    finish(eager)
    assert eager.states() == ["in_sync"] * 4


@pytest.mark.sqlite
def test_a_spare_that_is_gone_takes_nothing(eager: Store) -> None:
    membership.add_spare("file:members/spare")
    finish(eager)
    (eager.folder / "spare").rename(eager.folder / "elsewhere")
    eager.lose(1)
    eager.runtime.check_members()
    tick(eager)
    assert eager.states() == ["in_sync"] * 4
    (eager.folder / "elsewhere").rename(eager.folder / "spare")
    finish(eager)
    rows = {row.slot: row.url for row in eager.rows(MemberRow)}
    assert rows[1] == "file:members/spare"


def test_killed_between_row_and_superblock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker ends it, or the operator who asks again."""

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    store.put(300 * KIB)
    for number, again in enumerate(("worker", "operator")):
        url = f"file:members/new{number}"
        with monkeypatch.context() as patch:
            patch.setattr(services, "format_member", killed)
            with pytest.raises(Killed):
                membership.replace(1, url)
        row = next(row for row in store.rows(MemberRow) if row.url == url)
        assert (row.state, row.superblock_event) == ("spare", 0)
        if again == "worker":
            monkeypatch.setattr(upkeep, "UNFINISHED", -upkeep.UNFINISHED)
            finish(store)
        membership.replace(1, url)
        finish(store)
        rows = {row.slot: row.url for row in store.rows(MemberRow)}
        assert rows[1] == url
        assert store.states() == ["in_sync"] * 4
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_a_place_that_can_not_be_formatted_is_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self, key, parts, **named):  # type: ignore[no-untyped-def]
        raise MemberFailing(self.label, "It is failing.")

    before = len(store.rows(MemberRow))
    with monkeypatch.context() as patch:
        patch.setattr(LocalMember, "put", full)
        with pytest.raises(Refused, match="failing"):
            membership.add_spare("file:members/spare")
    assert len(store.rows(MemberRow)) == before
    membership.add_spare("file:members/spare")


def test_a_device_that_fails_again_and_again_is_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight times within ten minutes; slowness alone never does it."""
    now = [0.0]
    store.runtime.health._clock = lambda: now[0]
    store.put(300 * KIB)
    health = store.runtime.health
    error = MemberFailing("members/1", "Could not write: it is failing.")
    for _ in range(7):
        health.note(1, error)
        health.note(1, error)  # another thread, the same moment
        now[0] += 70
    assert upkeep.fail_sick(store.runtime.array()) == 0
    health.note(1, error)
    assert upkeep.fail_sick(store.runtime.array()) == 1
    assert store.states()[1] == "faulty"
    (event,) = [e for e in store.rows(Event) if e.word == "member_failed"]
    assert "8 errors" in event.fields["why"] and event.actor is None
    for _ in range(9):
        health.note(2, error)
        now[0] += 70
    assert upkeep.fail_sick(store.runtime.array()) == 0, "it is needed"
    assert store.states()[2] == "in_sync"
    membership.readd(1)
    assert upkeep.fail_sick(store.runtime.array()) == 0
    finish(store)
    assert store.states() == ["in_sync"] * 4


@pytest.mark.sqlite
def test_what_a_replaced_member_did_is_not_its_successors(store: Store) -> None:
    """Who still uses the old one meets its errors, and may fail only that one."""
    store.put(300 * KIB)
    old = _look(store)
    old.health._clock = lambda: now[0]
    now = [0.0]
    error = MemberFailing("members/1", "Could not read: it is failing.")
    membership.replace(1, "file:members/new")
    finish(store)
    own = store.runtime
    for _ in range(9):
        with pytest.raises(MemberFailing), old.using(1):
            raise error
        now[0] += 60
    assert old.health.failures(1) == 9
    assert own.array().health.failures(1) == 0
    assert own.array().health.observed(1) is None
    assert upkeep.fail_sick(own.array()) == 0
    assert upkeep.fail_sick(old) == 0, "another member sits there by now"
    assert store.states() == ["in_sync"] * 4


@pytest.mark.sqlite
def test_what_is_taken_back_is_forgotten_in_every_process(store: Store) -> None:
    """Else a worker would fail it again, for what it did before it was mended."""
    own, other = store.runtime, Runtime(store.app)
    error = MemberFailing("members/1", "Could not write: it is failing.")
    now = [0.0]
    other.health._clock = lambda: now[0]
    for _ in range(8):
        other.health.note(1, error)
        now[0] += 70
    other.health.note(2, error)
    assert upkeep.fail_sick(other.array()) == 1
    other.forget_map()
    assert other.array().map.slots[1].state == StoredState.FAULTY
    assert other.health.failures(1) == 8, "it stays known for as long as it is faulty"
    own.forget_map()
    membership.readd(1)
    other.forget_map()
    assert upkeep.fail_sick(other.array()) == 0
    assert (other.health.failures(1), other.health.observed(1)) == (0, None)
    assert other.health.failures(2) == 1, "the others are as they were"
    finish(store)
    assert store.states() == ["in_sync"] * 4


@pytest.mark.sqlite
def test_what_is_taken_back_while_all_places_are_looked_at_is_forgotten_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A faulty member is away, so every process looks whether it is elsewhere."""
    own, other = store.runtime, Runtime(store.app)
    for _ in range(8):
        other.health.note(1, MemberFailing("members/1", "It is failing."))
        other.health._reach.clear()
    membership.fail(1)
    other.array()
    own.forget_map()
    assert other.health.failures(1) == 8
    real = other._check_beside

    def meanwhile(array: Array) -> None:
        real(array)
        membership.readd(1)

    monkeypatch.setattr(other, "_check_beside", meanwhile)
    monkeypatch.setattr(other, "_assembled_at", time.monotonic() - 60)
    other.check_members()
    other.forget_map()
    assert other.array().map.slots[1].state == StoredState.STALE
    assert other.health.failures(1) == 0


@pytest.mark.sqlite
def test_nothing_steps_in_while_readonly(eager: Store) -> None:
    membership.add_spare("file:members/spare")
    membership.fail(1)
    membership.set_readonly(True)
    tick(eager)
    assert eager.states()[1] == "faulty"
    membership.set_readonly(False)
    finish(eager)
    assert eager.states() == ["in_sync"] * 4
