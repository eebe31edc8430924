"""R3: every sequence of up to three of eight operations, and the power goes after
each thing that was made durable: an fsync of a member, a commit of the database.

Most crash bugs of file systems needed no more than three operations on a fresh one. A
crash inside an earlier operation is a shorter sequence, so each sequence is crashed in
its last operation only. The gate takes a random slice, a soak all 584.
"""

import random
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from raid.geometry import Level
from storage.db import db
from support.cases import CASES, begin, do_all, repeatable, states
from support.forks import Send, fork
from support.powerloss import PowerLoss
from support.soak import FACTOR, bound, seed
from support.world import State, World, world

PREFIXES = [names for length in range(3) for names in product(CASES, repeat=length)]
GATE_SEQUENCES = 2
GATE_POINTS = 4
SHARDS = 24
"""A soak is cut into so many tests, so that they run side by side."""


def _prepare(place: World, start: State, names: tuple[str, ...]) -> State:
    """Make the state after the first operations the template of what follows."""
    place.reset(place.template)
    state = start
    with place.opened() as store, repeatable(1):
        for name in names:
            ops = CASES[name](state)
            done, error = do_all(place, store, state, ops)
            assert error is None and done == len(ops), error
            state = states(state, ops)[-1]
    place.keep(place.template.with_name("prefix"))
    return state


def _crash(say: Send, place: World, state: State, name: str, after: int) -> None:
    """Do an operation until so many promises were kept, or to its end."""
    calls = PowerLoss(after)
    pytest.MonkeyPatch().setattr("storage.members.local.SystemCalls", lambda: calls)
    with place.opened() as store, repeatable():
        store.runtime.array()
        event.listen(db.engine, "commit", lambda _: committed(calls))
        calls.promises, calls.die_after_promise = 0, after or None
        calls.dying = calls.kill
        ops = CASES[name](state)
        done, error = do_all(place, store, state, ops)
        assert error is None and done == len(ops), error
        say("promises", calls.promises)
        calls.kill()


def committed(calls: PowerLoss) -> None:
    """The power goes before the commit; after it is before whatever comes next."""
    with calls._lock:
        calls.promise()


def _sequence(place: World, state: State, name: str, fired: Counter[str]) -> None:
    """Crash after every promise of the last operation, and after its end."""
    promises = _one(place, state, name, 0, fired)
    points = list(range(1, (promises or 0) + 1))
    if FACTOR == 1:
        points = random.Random().sample(points, min(GATE_POINTS, len(points)))
    for after in points:
        _one(place, state, name, after, fired)
    fired["sequences"] += 1


def _one(
    place: World, state: State, name: str, after: int, fired: Counter[str]
) -> int | None:
    """Crash once and look at what is left; return the promises of a whole run."""
    place.reset(place.template.with_name("prefix"))
    told = fork(lambda say: _crash(say, place, state, name, after))
    assert told.killed, told
    ended = told.last("promises")
    ops = CASES[name](state)
    allowed = states(state, ops)
    fork(lambda _: _look(place, allowed[-1:] if ended else allowed, ops))
    fired["ended" if ended else "crashed"] += 1
    return int(ended[0]) if ended else None


def _look(place: World, allowed: list[State], ops: list[Any]) -> None:
    with place.opened() as store:
        place.recover(store, allowed, rotten=ops[0].kind == "heal")


@pytest.mark.timeout(120 if FACTOR == 1 else 7200)
@pytest.mark.parametrize("shard", range(1 if FACTOR == 1 else SHARDS))
def test_a_crash_after_anything_durable(shard: int, tmp_path: Path) -> None:
    begun = seed()
    dice = random.Random(begun)
    fired: Counter[str] = Counter()
    prefixes, lasts = PREFIXES[shard::SHARDS], list(CASES)
    if FACTOR == 1:
        prefixes = dice.sample(PREFIXES, GATE_SEQUENCES)
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        start = begin(place)
        for names in prefixes:
            state = _prepare(place, start, names)
            for name in lasts if FACTOR > 1 else dice.sample(lasts, 1):
                try:
                    _sequence(place, state, name, fired)
                except AssertionError as error:
                    raise AssertionError(f"{names} {name}: {error}") from error
    print(bound(f"R3 {shard}", fired["crashed"] + fired["ended"], begun, fired))
    assert fired["crashed"] and fired["ended"]


def test_there_are_584_sequences() -> None:
    assert len(PREFIXES) * len(CASES) == 584
