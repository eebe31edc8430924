"""Lose a member at a step of an operation, end it, read all, and let it come back.

Counted are the calls of one member during an operation; it vanishes at one of them. The
gate takes a few of those steps at random, `make soak` all (figure R8).
"""

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select, update

from raid.errors import RaidError
from storage import membership
from storage.db import db, release, transaction, utcnow
from storage.errors import StorageError
from storage.members.local import LocalMember
from storage.models import Blob, BlobState, MemberRow
from support.jobs import debts_end, finish, jobs, lease_ends
from support.soak import FACTOR
from support.store import KIB, MIB, Store

SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "0")) or random.randrange(1 << 30)
CALLS = ("put", "read", "info", "list", "delete")
GATE = 1
"""So many steps of each operation in the gate."""

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(120 * FACTOR * FACTOR)]


def place(store: Store, slot: int) -> Path:
    """Where the member of a slot is now."""
    url = db.session.scalars(select(MemberRow.url).where(MemberRow.slot == slot)).one()
    release()
    return store.folder / url.rpartition("/")[2]


class Loss:
    """A member that vanishes at its n-th call; 0 only counts."""

    def __init__(self, name: str, nth: int) -> None:
        self.name = name
        self.nth = nth
        self.calls = 0
        self.away: tuple[Path, Path] | None = None
        self._lock = threading.Lock()

    def step(self, member: LocalMember) -> None:
        """Count a call, and take the member away when it is the one.

        A place that is still being formatted is no member yet.
        """
        if member.path.name != self.name or member._admitted is None:
            return
        with self._lock:
            self.calls += 1
            if self.calls == self.nth:
                gone = member.path.with_name(f"{self.name}.gone")
                member.path.rename(gone)
                self.away = (gone, member.path)

    def undo(self) -> None:
        """Bring it back as it was."""
        assert self.away is not None
        gone, home = self.away
        gone.rename(home)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        for call in CALLS:
            patch.setattr(LocalMember, call, self._counted(getattr(LocalMember, call)))

    def _counted(self, real: Callable) -> Callable:  # type: ignore[type-arg]
        def call(member, *arguments, **named):  # type: ignore[no-untyped-def]
            self.step(member)
            return real(member, *arguments, **named)

        return call


def put(store: Store, turn: int) -> None:
    """Store files of every form; one that is refused was never there."""
    for size in (1000, 300 * KIB, 2 * MIB):
        with suppress(RaidError, StorageError):
            store.put(size)


def purge(store: Store, turn: int) -> None:
    """Let go of a file of every form, and do what is due at once."""
    for uuid in list(store.contents)[:2]:
        store.let_go(uuid)
    with transaction() as session:
        session.execute(
            update(Blob)
            .where(Blob.state == BlobState.TOMBSTONED)
            .values(due_at=utcnow())
        )
    store.settle()


def read(store: Store, turn: int) -> None:
    """Read everything."""
    store.runtime.manifests = type(store.runtime.manifests)()
    store.check()


def rebuild(store: Store, turn: int) -> None:
    """Fail slot 3 and fill another one in its place, while it is written to."""
    membership.fail(3, force=True)
    membership.replace(3, f"file:members/new{turn}")
    store.settle()
    with suppress(RaidError, StorageError):
        store.put(300 * KIB)
    store.settle()


def copy(store: Store, turn: int) -> None:
    """Replace slot 3 while its member serves."""
    membership.replace(3, f"file:members/new{turn}")
    store.settle()


def inventory(store: Store, turn: int) -> None:
    """Take a member back, and look at all it holds."""
    membership.fail(1, force=True)
    with suppress(RaidError, StorageError):
        store.put(300 * KIB)
    membership.readd(1)
    store.settle()


OPERATIONS = {
    "put": (put, 1),
    "read": (read, 1),
    "purge": (purge, 1),
    "rebuild, from one that is lost": (rebuild, 1),
    "rebuild, of one that is lost": (rebuild, None),
    "copy, from one that is lost": (copy, 3),
    "copy, to one that is lost": (copy, None),
    "inventory": (inventory, 1),
    "inventory, and another is lost": (inventory, 2),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_lost_and_all_converges(
    store: Store, name: str, record_property: Callable[[str, object], None]
) -> None:
    operation, slot = OPERATIONS[name]
    draw = random.Random(SEED)
    record_property("seed", SEED)
    for size in (1000, 300 * KIB, 2 * MIB):
        store.put(size)
    count = _round(store, operation, slot, 0, 0)
    assert count > 1, "the operation asks the member for something"
    steps = range(1, count + 1)
    chosen = steps if FACTOR > 1 else sorted(draw.sample(steps, min(GATE, count)))
    fired = 0
    for turn, nth in enumerate(chosen, start=1):
        fired += _round(store, operation, slot, nth, turn) >= nth
    if not fired:  # the operation needed fewer calls than when they were counted
        fired = _round(store, operation, slot, 1, len(chosen) + 1)
    assert fired, (SEED, name)


def _round(
    store: Store,
    operation: Callable[[Store, int], None],
    slot: int | None,
    nth: int,
    turn: int,
) -> int:
    """Do the operation once; returns how many calls the member had."""
    victim = f"new{turn}" if slot is None else place(store, slot).name
    loss = Loss(victim, nth)
    with pytest.MonkeyPatch.context() as patch:
        loss.watch(patch)
        operation(store, turn)
    if loss.away is not None:
        if slot is not None:
            _all_is_there(store)
        loss.undo()
    store.restart()
    lease_ends(store)
    debts_end(store)
    finish(store)
    finish(store)
    told = (
        SEED,
        nth,
        turn,
        [(job.kind, job.state, job.problem) for job in jobs(store)],
    )
    assert store.states() == ["in_sync"] * 4, told
    assert store.debts() == [], told
    assert not [blob for blob in store.rows(Blob) if blob.at_risk or blob.damaged], told
    known = {str(blob.uuid) for blob in store.rows(Blob)}
    for one in range(4):
        there = (place(store, one) / "o").rglob("*.*")
        assert {path.name[:36] for path in there} == known, told
    store.check()
    return loss.calls


def _all_is_there(store: Store) -> None:
    """With one member gone, what can't be read now is honest about it."""
    store.runtime.check_members()
    whole = store.status().state == "degraded"
    for uuid, data in store.contents.items():
        try:
            assert store.get(uuid) == data
        except RaidError:
            assert (
                not whole
                or "rebuilding" in store.states()
                or "stale" in (store.states())
            )
