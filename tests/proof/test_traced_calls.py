"""R2 once more, from outside: the kernel's own answers, forged by strace.

`test_every_call.py` puts its faults into `SystemCalls`. Here the process is traced and
nothing of it is patched, so that a call which went past that seam would be hit as well.
Only a soak runs it: it needs the right to trace (and Debian's package strace).
"""

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from raid.geometry import Level
from storage.members.calls import SystemCalls
from support.cases import CASES, begin, do_all, repeatable, states
from support.forks import Send, fork
from support.soak import runs, seed
from support.world import Op, State, World, world

CALLS = ("writev", "fallocate", "fsync", "rename", "renameat2", "unlink", "mkdir")
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC", "error=EACCES")
TRACED = [name for name in CASES if name not in ("rename", "move")]
"""Renaming and moving are the database's alone."""
POINTS = runs(gate=len(TRACED), soak=306)
PATIENCE = 20.0


def _wait(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def _traced() -> bool:
    """Tell whether every thread of this process has a tracer."""
    told = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    return not any(re.search(r"^TracerPid:\t0$", text, re.M) for text in told)


def _trace(report: Path, *expressions: str) -> None:
    """Trace this process from now on."""
    options = [word for text in expressions for word in ("-e", text)]
    process = str(os.getpid())
    subprocess.Popen(["strace", "-f", "-q", "-o", report, *options, "-p", process])
    _wait(_traced, "strace did not attach")


def _work(
    place: World, state: State, ops: list[Op], report: Path, rules: tuple[str, ...]
) -> Callable[[Send], None]:
    def work(say: Send) -> None:
        # `world` spares its users the fsyncs; here they are what is looked at.
        patch = pytest.MonkeyPatch()
        patch.setattr(SystemCalls, "fsync", lambda self, fd: os.fsync(fd))
        with place.opened() as store, repeatable():
            store.runtime.array()
            _trace(report, *rules)
            done, error = do_all(place, store, state, ops)
            say("done", done, str(error or ""))

    return work


def _report(path: Path) -> str:
    """Return what strace wrote, once it has seen the end of the process."""
    _wait(
        lambda: path.exists() and "+++" in path.read_text().splitlines()[-1:][-1],
        "strace did not end",
    )
    return path.read_text()


def _count(place: World, state: State, ops: list[Op], report: Path) -> Counter[str]:
    """Return how often one thread makes each call at the most."""
    place.reset()
    rules = (f"trace={','.join(CALLS)}",)
    told = fork(_work(place, state, ops, report, rules))
    assert told.last("done") == [len(ops), ""]
    made = Counter(re.findall(r"^(\d+) +(\w+)\(", _report(report), re.M))
    most: Counter[str] = Counter()
    for (_, name), count in made.items():
        most[name] = max(most[name], count)
    return most


def _look(place: World, allowed: list[State], rotten: bool, say: Send) -> None:
    with place.opened() as store:
        place.recover(store, allowed, rotten=rotten)


@pytest.mark.parametrize("case", TRACED)
def test_what_the_kernel_says_may_be_anything(
    case: str, tmp_path: Path, program: Callable[[str, str], str]
) -> None:
    program("strace", "strace")
    begun, fired = seed(), Counter[str]()
    dice = random.Random(begun)
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        state = begin(place)
        ops = CASES[case](state)
        counts = _count(place, state, ops, tmp_path / "count")
        points = [
            (name, number, fault)
            for name, count in counts.items()
            for number in range(1, count + 1)
            for fault in FAULTS
        ]
        share = min(len(points), -(-POINTS // len(TRACED)))
        for point in dice.sample(points, share):
            name, number, fault = point
            report = tmp_path / f"{name}-{number}-{fault}"
            rule = f"inject={name}:{fault}:when={number}"
            place.reset()
            told = fork(_work(place, state, ops, report, (f"trace={name}", rule)))
            text = _report(report)
            assert told.killed or "(INJECTED)" in text, f"{point}: nothing fired"
            ended = told.last("done")
            done = int(ended[0]) if ended else 0
            reached = states(state, ops)
            allowed = reached if told.killed else reached[done : done + 2]
            try:
                fork(partial(_look, place, allowed, ops[0].kind == "heal"))
            except AssertionError as error:
                raise AssertionError(f"{case} {point}, seed {begun}: {error}") from (
                    error
                )
            fired[fault] += 1
    print(f"R2 traced, {case}: {sum(fired.values())} points, seed {begun}, {fired}")
    assert sum(fired.values()) == share
