"""Workers that wake up late, and members that are there but sick."""

import errno
import os
import threading
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from raid.errors import MemberFull
from storage import blobs, debts, events, maps, services
from storage.db import release, transaction
from storage.members.calls import SystemCalls
from storage.members.local import LocalMember
from storage.models import Blob, DebtKind, Event, Reason
from support.store import KIB, Store

pytestmark = pytest.mark.sqlite


def test_a_late_worker_pays_only_the_debt_that_it_read(store: Store) -> None:
    """SQLite gives the number of a paid debt to the next one."""
    store.lose(1)
    store.put(1000)
    store.bring_back(1)
    store.runtime.check_members()
    events.welcome(store.runtime.array())
    store.runtime.forget_map()
    array = store.runtime.array()
    late = debts._claim(array.uuid_of(1))
    assert late.due
    store.make_due()
    debts.pay(array)
    assert store.debts() == []
    store.lose(2)
    store.runtime.check_members()
    missed = store.put(1000)
    assert [debt.id for debt in store.debts()] == [debt.id for debt in late.due]
    debts._pay_batch(array, 1, late, lambda: False)
    debts._write_down(late)
    assert [debt.blob for debt in store.debts()] == [missed.uuid]
    store.bring_back(2)
    store.settle()
    assert store.debts() == []
    assert store.paths(2, missed.uuid)


def test_a_read_only_member_does_not_stop_purges(
    make_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More blobs than one batch leave the members that can let go of them."""
    store = make_store(PURGE_GRACE_SECONDS="0")
    for _ in range(70):
        store.put(10)
    bad = str(store.member(1))
    refused = _make_read_only(monkeypatch, bad)
    store.restart()
    store.runtime.check_members()
    with transaction() as session:
        blobs.release(session, select(Blob.uuid))
    for _ in range(5):
        store.settle()
    assert refused
    healthy = [n for n in store.objects() if "/o/" in n and not n.startswith("1/")]
    assert healthy == []


def _make_read_only(monkeypatch: pytest.MonkeyPatch, folder: str) -> list[str]:
    refused: list[str] = []
    real_open, real_statvfs = SystemCalls.open, SystemCalls.statvfs
    real_unlink = SystemCalls.unlink

    def refuse(path: str) -> None:
        refused.append(path)
        raise OSError(errno.EROFS, "read-only", path)

    def opened(self, path, flags):
        if path.startswith(folder) and flags & os.O_CREAT:
            refuse(path)
        return real_open(self, path, flags)

    def unlinked(self, path):
        if path.startswith(folder):
            refuse(path)
        return real_unlink(self, path)

    def measured(self, path):
        seen = real_statvfs(self, path)
        if not path.startswith(folder):
            return seen
        refused.append(path)
        return SimpleNamespace(
            f_flag=os.ST_RDONLY,
            f_bavail=seen.f_bavail,
            f_frsize=seen.f_frsize,
            f_blocks=seen.f_blocks,
        )

    monkeypatch.setattr(SystemCalls, "open", opened)
    monkeypatch.setattr(SystemCalls, "unlink", unlinked)
    monkeypatch.setattr(SystemCalls, "statvfs", measured)
    return refused


def test_a_look_that_began_early_installs_no_old_map(store: Store) -> None:
    """An upload that commits meanwhile made an event."""
    own = store.runtime
    store.put(10)
    store.lose(1)
    own.check_members()
    own._assembled_at = -1e9
    before = own.array()
    store.put(1000)
    assert own.array().map.entry(1).state == "stale"
    own._look_elsewhere(before)
    assert own.array().map.event == store.array_row().event
    assert own.array().map.entry(1).state == "stale"


def test_nobody_waits_while_members_are_looked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = store.runtime
    store.put(10)
    store.lose(1)
    own.check_members()
    own._assembled_at = -1e9
    real, slow = SystemCalls.listdir, threading.Event()

    def listed(self, path):
        if path.startswith(str(store.member(2))):
            slow.set()
            time.sleep(2)
        return real(self, path)

    monkeypatch.setattr(SystemCalls, "listdir", listed)

    def look() -> None:
        with store.app.app_context():
            own.check_members()

    thread = threading.Thread(target=look)
    thread.start()
    assert slow.wait(10)
    begun = time.monotonic()
    own.array()
    waited = time.monotonic() - begun
    thread.join()
    assert waited < 1


def test_members_that_return_full_can_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = store.runtime
    kept = store.put(10)
    store.lose(1)
    store.lose(2)
    own.check_members()
    assert own.array().state() == "failed"
    store.bring_back(1)
    store.bring_back(2)

    def full(self, state, size):
        if self.label.endswith(("/1", "/2")):
            raise MemberFull(self.label, "It is full.")

    monkeypatch.setattr(LocalMember, "_keep_reserve", full)
    own._assembled_at = time.monotonic()
    own.check_members()
    assert own.array().state() == "degraded"
    assert [own.health.observed(slot) for slot in (1, 2)] == ["full", "full"]
    assert store.get(kept.uuid) == store.contents[kept.uuid]


def test_an_object_on_a_bad_sector_is_replaced(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.put(300 * KIB)
    path = store.paths(1, blob.uuid)[0]
    bad, real = path.stat().st_ino, SystemCalls.pread
    failed: list[int] = []

    def read(self, fd, length, offset):
        if os.fstat(fd).st_ino == bad:
            failed.append(offset)
            raise OSError(errno.EIO, "a bad sector")
        return real(self, fd, length, offset)

    monkeypatch.setattr(SystemCalls, "pread", read)
    store.restart()
    with transaction() as session:
        debt = {
            "member_uuid": store.runtime.array().uuid_of(1),
            "kind": DebtKind.SHARD,
            "blob": blob.uuid,
            "segment": 0,
            "role": blob.layout["slots"].index(1),
            "attempt": blob.attempt,
            "reason": Reason.DAMAGED,
        }
        debts.add(session, [debt])
    store.settle()
    assert failed
    assert store.debts() == []
    assert path.stat().st_ino != bad


def test_formatting_that_was_cut_at_its_end_goes_on(
    make_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site used the array before the last row was written."""
    store = make_store(members=False)
    formatted: list[object] = []
    real = services.format_member

    class Killed(BaseException):
        pass

    def cut(member, superblock):
        real(member, superblock)
        formatted.append(member)
        if len(formatted) == 4:
            raise Killed

    monkeypatch.setattr(services, "format_member", cut)
    with pytest.raises(Killed):
        services.ensure_array()
    release()
    monkeypatch.setattr(services, "format_member", real)
    store.runtime.check_members()
    store.lose(0)
    store.runtime.check_members()
    store.put(10)
    store.bring_back(0)
    store.restart()
    services.ensure_array()
    store.settle()
    assert store.states() == ["in_sync"] * 4


def test_a_member_that_is_older_stays_so_while_the_database_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = store.runtime
    own.check_members()
    own.rolled_back.add(own.array().uuid_of(1))

    def locked(session: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(maps, "lock", locked)
        with pytest.raises(OperationalError):
            events.welcome(own.array())
    events.welcome(own.array())
    assert "member_older" in [event.word for event in store.rows(Event)]
    assert own.rolled_back == set()
