"""R4, one member: the power goes at any call, and what was acknowledged is there.

Each life formats a member, stores, replaces and removes objects, is killed now and
then (which keeps the page cache), and at last loses its power. The controls take the
product's fsyncs away one by one: each of them must be missed.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from raid.assemble import format_member, inspect
from raid.errors import MemberError, ObjectMissing
from raid.geometry import Level
from raid.keys import superblock_key
from storage.members.local import LocalMember
from storage.members.temporary import temporary_name
from support.arrays import map_of, superblock_of
from support.powerloss import SITES, PowerCut, PowerLoss
from support.soak import bound, runs, seed

NOBODY = 1 << 30
"""The number of a process that can't be."""
LIVES = runs(gate=150, soak=5000)
MAP = map_of(Level.RAID1, ["a", "b"])
KEYS = [
    f"o/{aa}/{aa}cdef00-0000-4000-8000-{n:012}.m1" for aa in ("ab", "cd") for n in "12"
] + ["t/ab/abcdef00-0000-4000-8000-000000000003"]


@pytest.fixture(autouse=True)
def _files_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let temporary files look as if their process had gone, as it has."""

    def name() -> str:
        return temporary_name().replace(str(os.getpid()), str(NOBODY), 1)

    monkeypatch.setattr("storage.members.local.temporary_name", name)


class Life:
    """One life of a member, and what it acknowledged."""

    def __init__(self, path: Path, begun: int, forgets: tuple[str, ...] = ()) -> None:
        self.path = path
        self.dice = random.Random(begun)
        self.calls = PowerLoss(begun, forgets)
        self.formatted = False
        self.held: dict[str, set[bytes | None]] = {}
        self.aside: list[bytes] = []
        self.done: Counter[str] = Counter()
        self.member = LocalMember(path, self.calls)

    def live(self) -> None:
        """Work until the power goes."""
        power = self.dice.randrange(1, 90)
        killed = self.dice.randrange(1, 90)
        for end in sorted({killed, power} if killed < power else {power}):
            self.calls.die_at, self.calls.dead = end, False
            try:
                for _ in range(20):
                    self._step()
            except PowerCut:
                self.done["power" if end == power else "killed"] += 1
            self.calls.dead = False
            self.member = LocalMember(self.path, self.calls)
            if self.formatted:
                self.member._admitted = MAP.array, MAP.slots[0].member
        self.calls.crash()

    def _step(self) -> None:
        if not self.formatted:
            self._format()
            return
        key = self.dice.choice(KEYS)
        now = self.held.get(key, {None})
        what = self.dice.choice(("put", "put", "put", "delete", "replace"))
        if what == "put":
            self._put(key, now)
        elif what == "replace":
            self._replace(key, now)
        else:
            self.held[key] = now | {None}
            self.member.delete(key)
            self.held[key] = {None}
        self.done[what] += 1

    def _format(self) -> None:
        """Format as `storage.services` does, also when somebody was killed at it."""
        found = inspect(self.member).superblock
        if found is None:
            format_member(self.member, superblock_of(MAP, 0))
        else:
            self.member.admit(found.array, found.member)
            self.member.put(superblock_key(1, 1), [found.pack()], essential=True)
        self.formatted = True

    def _put(self, key: str, now: set[bytes | None]) -> None:
        """Store an object; after a kill the same bytes are stored once more."""
        known = [data for data in now if data is not None]
        data = known[0] if known else self.dice.randbytes(self.dice.randrange(9000))
        if len(known) > 1:
            return
        self.held[key] = now | {data}
        self.member.put(key, [data])
        self.held[key] = {data}

    def _replace(self, key: str, now: set[bytes | None]) -> None:
        data = self.dice.randbytes(self.dice.randrange(1, 9000))
        sure = next(iter(now)) if len(now) == 1 else None
        self.held[key] = now | {data, None}
        self.member.put(key, [data], replace=True)
        self.held[key] = {data}
        if sure is not None and sure != data:
            self.aside.append(sure)

    def problems(self) -> Iterator[str]:
        """Look at what is left; nothing is the answer of a disk that kept its word."""
        if not self.formatted:
            return
        member = LocalMember(self.path)
        try:
            member._admitted = MAP.array, MAP.slots[0].member
            member.check()
        except MemberError as error:
            yield f"the member is gone: {error}"
            return
        for key, allowed in self.held.items():
            try:
                found = member.read(key)
            except ObjectMissing:
                found = None
            if found not in allowed:
                what = "absent" if found is None else "other bytes"
                yield f"{key} is {what}; {len(allowed)} states were possible"
        kept = [path.read_bytes() for path in self.path.glob("quarantine/*")]
        yield from ("a bad object is gone" for data in self.aside if data not in kept)


def test_it_keeps_what_it_acknowledged_when_the_power_goes(tmp_path: Path) -> None:
    begun = seed()
    fired: Counter[str] = Counter()
    for number in range(LIVES):
        life = Life(tmp_path / str(number), begun + number)
        life.live()
        assert list(life.problems()) == [], f"seed {begun + number}"
        fired += life.done
    print(bound("R4 one member", LIVES, begun, fired))
    assert fired["power"] and fired["killed"] and fired["replace"] and fired["delete"]


@pytest.mark.parametrize("site", SITES)
def test_the_control_finds_each_fsync_that_is_taken_away(
    site: str, tmp_path: Path
) -> None:
    begun, forgot = seed(), 0
    for number in range(1000):
        life = Life(tmp_path / str(number), begun + number, (site,))
        life.live()
        forgot += life.calls.forgot
        if list(life.problems()):
            assert forgot
            return
    raise AssertionError(f"nobody missed the fsync of {site} (seed {begun}, {forgot})")


def test_a_directory_that_a_killed_writer_made_is_made_durable(tmp_path: Path) -> None:
    """The next writer finds it there, and the power goes after its acknowledgement."""
    for number in range(20):
        life = Life(tmp_path / str(number), number)
        life._format()
        calls = life.calls
        calls.die_at = calls.changes + 6  # open, write, sync, rename, mkdir, rename
        with pytest.raises(PowerCut):
            life.member.put(KEYS[0], [b"never acknowledged"])
        calls.dead = False
        folder = KEYS[0].rpartition("/")[0]
        assert (life.path / folder).is_dir() and not list(
            (life.path / folder).iterdir()
        )
        again = LocalMember(life.path, calls)
        again.admit(MAP.array, MAP.slots[0].member)
        again.put(KEYS[1], [b"acknowledged"])
        calls.crash()
        assert LocalMember(life.path).read(KEYS[1]) == b"acknowledged"


def test_a_killed_writer_leaves_nothing_that_is_listed(tmp_path: Path) -> None:
    """Killed at each of its calls: the object is there, whole, or nothing is."""
    for number in range(1, 9):
        life = Life(tmp_path / str(number), number)
        life._format()
        life.calls.die_at = life.calls.changes + number
        try:
            life.member.put(KEYS[0], [b"x" * 9000])
        except PowerCut:
            life.done["killed"] += 1
        found = [(info.key, info.size) for info in LocalMember(life.path).list("o/")]
        assert found in ([], [(KEYS[0], 9000)])


def test_what_was_replaced_is_in_quarantine(tmp_path: Path) -> None:
    """Also when the power goes after that: nothing is repaired by emptying it."""
    for number in range(10):
        life = Life(tmp_path / str(number), number)
        life._format()
        life.member.put(KEYS[0], [b"bad"])
        life.member.put(KEYS[0], [b"good"], replace=True)
        life.calls.crash()
        kept = [path.read_bytes() for path in (life.path / "quarantine").iterdir()]
        assert kept == [b"bad"]


def test_what_a_killed_sweep_moved_aside_stays_aside(tmp_path: Path) -> None:
    """It is asked for again, finds nothing, and only then counts as done."""
    for number in range(20):
        life = Life(tmp_path / str(number), number)
        life._format()
        life.member.put(KEYS[0], [b"an orphan"])
        calls = life.calls
        calls.die_at = calls.changes + 3  # rename, fsync of quarantine, fsync
        with pytest.raises(PowerCut):
            life.member.set_aside(KEYS[0])
        calls.dead = False
        again = LocalMember(life.path, calls)
        again.admit(MAP.array, MAP.slots[0].member)
        again.set_aside(KEYS[0])
        calls.crash()
        assert list(LocalMember(life.path).list("o/")) == []
