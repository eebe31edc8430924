"""R2: every system call of the members, in each of eight operations, goes wrong once.

The calls of an operation are counted in a run that nothing befalls; then each of them
in turn is the one at which the process is killed, or that fails, or is cut short. The
gate takes a random slice of the points, a soak all of them.
"""

import errno
import os
import random
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raid.geometry import Level
from support.cases import CASES, begin, do_all, repeatable, states
from support.faultycalls import SHORT, FaultyCalls
from support.forks import Send, fork
from support.soak import FACTOR, drawn, seed
from support.world import Op, State, World, world

KILL = -9
FAULTS = {
    "SIGKILL": KILL,
    "EIO": errno.EIO,
    "ENOSPC": errno.ENOSPC,
    "EACCES": errno.EACCES,
    "short": SHORT,
    "EINTR": errno.EINTR,
}
CUT = ("writev", "pread")
"""The calls that can be cut short."""
SLICE = 6
"""How many points of an operation the gate takes."""
NAMES = drawn(CASES, 3)


class Calls(FaultyCalls):
    """The faulty calls of all members together, of which one may be the last."""

    def _is_it(self, name: str) -> bool:
        if self.error == SHORT and name not in CUT:
            return False  # uncounted, as the order of others may be another one now
        mine = super()._is_it(name)
        if mine and self.error == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        return mine


def _install(calls: Calls) -> None:
    """In a child: what it patches goes with it."""
    pytest.MonkeyPatch().setattr("storage.members.local.SystemCalls", lambda: calls)


def _count(say: Send, place: World, state: State, ops: list[Op]) -> None:
    calls = Calls()
    _install(calls)
    with place.opened() as store, repeatable():
        store.runtime.array()
        names: list[str] = []
        calls.count = 0
        real = calls._is_it
        calls._is_it = lambda name: names.append(name) or real(name)  # type: ignore
        done, error = do_all(place, store, state, ops)
        assert error is None and done == len(ops), error
        say("names", names)


def _strike(
    say: Send, place: World, state: State, ops: list[Op], nth: int, error: int
) -> None:
    calls = Calls(0, error)
    _install(calls)
    with place.opened() as store, repeatable():
        store.runtime.array()
        calls.count, calls.nth = 0, nth
        done, failure = do_all(place, store, state, ops)
        say("fired", calls.fired)
        all_states = states(state, ops)
        # One member in trouble is what the array is for.
        assert failure is None or ops[0].kind == "heal", failure
        place.check(store, all_states[done : done + 1])
    with place.opened() as store:
        place.recover(store, all_states[done : done + 1], rotten=True)


def _look(say: Send, place: World, allowed: list[State], rotten: bool) -> None:
    with place.opened() as store:
        place.recover(store, allowed, rotten=rotten)


def _point(
    place: World, state: State, ops: list[Op], nth: int, fault: str
) -> str | None:
    """Do the operation with one fault, and everything that must hold after it."""
    place.reset()
    told = fork(partial(_strike_named, place, state, ops, nth, FAULTS[fault]))
    fired = told.last("fired")
    if told.killed:
        rotten = any(op.kind == "heal" for op in ops)
        fork(partial(_look_named, place, states(state, ops), rotten))
        return "killed"
    return fired[0] if fired else None


def _strike_named(place: World, *rest: Any) -> Any:
    *arguments, say = rest
    _strike(say, place, *arguments)


def _look_named(place: World, allowed: list[State], rotten: bool, say: Send) -> None:
    _look(say, place, allowed, rotten)


def _points(names: list[str]) -> list[tuple[int, str]]:
    """Return each call with each fault; those cut short are numbered on their own."""
    others = [fault for fault in FAULTS if fault != "short"]
    found = [(nth, fault) for nth in range(1, len(names) + 1) for fault in others]
    cut = sum(name in CUT for name in names)
    return found + [(nth, "short") for nth in range(1, cut + 1)]


@pytest.mark.timeout(120 * FACTOR)
@pytest.mark.parametrize("case", NAMES)
def test_any_call_may_go_wrong(case: str, tmp_path: Path) -> None:
    begun = seed()
    fired: Counter[str] = Counter()
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        state = begin(place)
        place.reset()
        ops = CASES[case](state)
        told = fork(lambda say: _count(say, place, state, ops)).last("names")
        assert told is not None
        names: list[str] = told[0]
        points = _points(names)
        chosen = points
        if FACTOR == 1:
            chosen = random.Random(begun).sample(points, min(SLICE, len(points)))
        for nth, fault in chosen:
            what = f"{fault} at call {nth} of {len(names)}"
            try:
                hit = _point(place, state, ops, nth, fault)
            except AssertionError as error:
                raise AssertionError(f"{case}, {what} (seed {begun}): {error}") from (
                    error
                )
            assert hit is not None, f"{case}, {what}: nothing fired (seed {begun})"
            fired[fault] += 1
    print(f"R2 {case}: {len(chosen)} of {len(points)} points, seed {begun}, {fired}")
    assert sum(fired.values()) == len(chosen)
