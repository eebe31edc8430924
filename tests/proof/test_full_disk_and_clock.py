"""R18: disks run full in the middle of a write, and clocks jump by a day.

A full disk is a seam of system calls with so many bytes of room, and no mount is
needed: one tells how full it is, as a disk does; one does not, as a quota does not.
"""

import errno
import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from raid.errors import NoSpace, RaidError
from raid.geometry import Level
from raid.member import RESERVE, Buffer
from storage import clock, uploads
from storage import db as database_module
from storage.errors import StorageError
from storage.members.calls import SystemCalls
from support.store import Store
from support.world import KIB, Op, State, World, choose, world

ROOM = 1536 * KIB


class SmallDisk(SystemCalls):
    """Members with little room; with ``only``, one of them."""

    def __init__(self, *, tells: bool) -> None:
        self.tells = tells
        self.room: int = ROOM
        self.only: str | None = None
        self.fired = 0
        self._paths: dict[int, str] = {}

    def _free(self, path: str) -> int:
        top, _, rest = path.partition("/members/")
        slot = rest.partition("/")[0]
        if self.only not in (None, slot):
            return 1 << 40
        files = Path(top, "members", slot).rglob("*")
        return self.room - sum(f.stat().st_size for f in files if f.is_file())

    def open(self, path: str, flags: int) -> int:
        fd = super().open(path, flags)
        self._paths[fd] = path
        return fd

    def statvfs(self, path: str) -> os.statvfs_result:
        found = list(super().statvfs(path))
        free = self._free(path) + RESERVE if self.tells else 1 << 40
        found[1], found[4] = 1, max(0, free)
        return os.statvfs_result(found)

    def writev(self, fd: int, parts: Sequence[Buffer]) -> int:
        free = self._free(self._paths[fd]) + (RESERVE if self.tells else 0)
        if sum(map(len, parts)) > free:
            self.fired += 1
            if free > 0:
                super().writev(fd, [b"".join(parts)[:free]])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().writev(fd, parts)


def _rested(store: Store) -> None:
    """Let the time pass after which full members are tried again."""
    store.runtime.health._clock = lambda: time.monotonic() + 3600
    store.tick()


def _fill(place: World, store: Store, state: State) -> State:
    """Upload until there is no room, and leave nothing of what did not fit."""
    for number in range(40):
        op = Op("upload", f"{number}.bin", seed=number * 2, size=200 * KIB)
        try:
            state = place.do(store, state, op)
        except (NoSpace, RaidError, StorageError) as error:
            assert isinstance(error, NoSpace), error
            return state
    raise AssertionError("the disks never ran full")


@pytest.mark.parametrize("tells", [True, False], ids=["disk", "quota"])
def test_full_members_refuse_keep_and_go_on_by_themselves(
    tells: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SmallDisk(tells=tells)
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        monkeypatch.setattr("storage.members.local.SystemCalls", lambda: disk)
        with place.opened() as store:
            state = _fill(place, store, State())
            assert len(state) >= 3
            assert disk.fired or tells
            assert place.check(store, [state]) == state
            if not tells:
                disk.room += 64 * KIB  # a tombstone needs no reserve, but some room
            for name in list(state)[:2]:
                for op in (Op("trash", name), Op("purge", name), Op("work")):
                    state = place.do(store, state, op)
            _rested(store)
            store.make_due()
            store.settle()
            state = place.do(store, state, Op("upload", "again", seed=2, size=9_000))
        disk.room *= 10
        with place.opened() as store:
            place.recover(store, [state])


def test_one_full_member_of_three_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SmallDisk(tells=False)
    disk.only, state = "1", State()
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        monkeypatch.setattr("storage.members.local.SystemCalls", lambda: disk)
        with place.opened() as store:
            for number in range(20):
                op = Op("upload", f"{number}.bin", seed=number, size=200 * KIB)
                state = place.do(store, state, op)
            assert disk.fired
            assert place.check(store, [state]) == state
        disk.room *= 10
        with place.opened() as store:
            place.recover(store, [state])


class Shifted(datetime):
    """The time, and a jump that tests make."""

    jump = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        """Return the moment that a clock shows which was set wrongly."""
        return datetime.now(tz) + cls.jump


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_by_a_day_loses_nothing(days: int, tmp_path: Path) -> None:
    """In the middle of an upload, too: that is stored or wholly undone."""
    dice = random.Random(days)
    # What the world patched, too, is put back before the world puts it back.
    with (
        world(tmp_path / "world", Level.RAID5, 3) as place,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr(uploads, "ABANDONED_SECONDS", 30.0)
        monkeypatch.setattr(database_module, "datetime", Shifted)
        state = State()
        with place.opened() as store:
            for _ in range(12):
                op = choose(dice, state, without="away back heal")
                state = place.do(store, state, op)
            monkeypatch.setattr(Shifted, "jump", timedelta(days=days))
            place.settle(store)
            assert place.check(store, [state]) == state
            for _ in range(6):
                op = choose(dice, state, without="away back heal")
                state = place.do(store, state, op)
            late = Op("upload", "late.bin", seed=4, size=1_400 * KIB)
            outcome = _jump_inside(place, store, state, late, -days, monkeypatch)
        # Whatever waits for a moment of the wrong clock is due in the end.
        monkeypatch.setattr(Shifted, "jump", timedelta(days=3))
        monkeypatch.setattr(clock, "_steady", clock.Steady())  # a new process
        with place.opened() as store:
            place.recover(store, [outcome])


def _jump_inside(
    place: World,
    store: Store,
    state: State,
    op: Op,
    days: int,
    monkeypatch: pytest.MonkeyPatch,
) -> State:
    """Let the clock jump, and the worker look, while a segment is recorded."""
    real, fired = uploads.Log.segment, []

    def segment(self: uploads.Log, *rest: object) -> None:
        if not fired:
            fired.append(True)
            monkeypatch.setattr(Shifted, "jump", timedelta(days=days))
            store.tick()
        real(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(uploads.Log, "segment", segment)
    # By the new clock it stood still for days: it may be undone, and then says so.
    with suppress(StorageError):
        state = place.do(store, state, op)
    assert fired
    return state
