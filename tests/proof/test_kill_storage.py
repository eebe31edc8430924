"""R1: SIGKILL at a random moment of mixed operations, over four layouts.

Each child is one process life: it looks at what the one before left, lets the worker
put it right, and goes on with random operations until it is killed, which may be in
the middle of the recovery. The parent keeps what was acknowledged.
"""

import random
from collections import Counter
from pathlib import Path

import pytest

from raid.geometry import Level
from support.forks import Send, fork
from support.soak import bound, runs, seed
from support.world import LAYOUTS, Op, State, World, applied, choose, packed, world

RUNS = runs(gate=26, soak=2500)
LIVES = 50
"""After so many lives everything begins anew, so that old stores are met, too."""


def _life(
    told: Send, place: World, dice: random.Random, state: State, before: Op | None
) -> None:
    """Recover, say what was found, then work on until the end."""
    with place.opened() as store:
        allowed = [state] if before is None else [state, applied(state, before)]
        rotten = before is not None and before.kind == "heal"
        found = place.recover(store, allowed, rotten=rotten)
        told("found", allowed.index(found))
        state = found
        while True:
            op = choose(dice, state, place.width)
            told("do", packed(op))
            state = place.do(store, state, op)
            told("did")


@pytest.mark.timeout(120 + RUNS)
@pytest.mark.parametrize(("level", "width"), LAYOUTS)
def test_it_keeps_what_it_acknowledged_when_it_is_killed(
    level: Level, width: int, tmp_path: Path
) -> None:
    begun = seed()
    dice = random.Random(begun)
    fired: Counter[str] = Counter()
    with world(tmp_path / "world", level, width) as place:
        state, pending = State(), None
        for number in range(RUNS):
            if number % LIVES == 0:
                place.reset()
                state, pending = State(), None
            state, pending = _one(place, dice, state, pending, fired, begun)
    told = bound(f"R1 {level.value} x{width}", RUNS, begun, fired)
    print(told)
    assert fired["killed in recovery"], told
    assert fired["killed in upload"] + fired["killed in replace"], told


def _one(
    place: World,
    dice: random.Random,
    state: State,
    pending: Op | None,
    fired: Counter[str],
    begun: int,
) -> tuple[State, Op | None]:
    """Live one life and return what the parent knows after it."""
    early = dice.random() < 0.2
    seconds = dice.uniform(0.005, 0.1) if early else dice.uniform(0, 0.08)
    own = random.Random(dice.randrange(1 << 30))
    before = pending
    try:
        told = fork(
            lambda send: _life(send, place, own, state, before),
            after="" if early else "found",
            seconds=seconds,
        )
    except AssertionError as error:
        raise AssertionError(f"seed {begun}, after {pending}: {error}") from error
    assert told.killed, f"seed {begun}: it ended by itself, {told}"
    fired["lives"] += 1
    for message in told.messages:
        if message[0] == "found":
            if message[1] and pending is not None:
                state = applied(state, pending)
            pending = None
        elif message[0] == "do":
            pending = Op(**message[1])
        else:
            assert pending is not None
            state, pending = applied(state, pending), None
            fired["operations"] += 1
    known = any(message[0] == "found" for message in told.messages)
    what = "recovery" if not known else pending.kind if pending else "between"
    fired[f"killed in {what}"] += 1
    return state, pending
