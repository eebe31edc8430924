"""R4, the whole storage: the power goes at any call of any member.

The database is durable at its commit (`synchronous=FULL` is SQLite's promise), and the
members are what their fsyncs made of them: everything acknowledged is there, whole and
fully redundant, before the worker has done anything. Some processes are only killed,
and their successors build on writes that no disk has yet.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from raid.geometry import Level
from support.lives import Lives
from support.powerloss import PowerLoss
from support.soak import bound, drawn, runs, seed
from support.world import LAYOUTS, world

RUNS = runs(gate=10, soak=850)
PLACES = drawn(LAYOUTS, 2)
MOST_CALLS = 160
ENOUGH = 100
"""From so many lives on, every way to die has to have happened."""
CONTROLS = drawn(("write", "_sync_name", "_sync_above", "delete"), 2)


def _hook(
    lives: Lives, memory: Path, forgets: tuple[str, ...]
) -> tuple[Callable[[str], None], str]:
    """Return what arms a child, and the way in which it will die."""
    dice = lives.dice
    when = "start" if dice.random() < 0.2 else "found"
    way = "killed" if dice.random() < 0.3 else "power"
    number, own = dice.randrange(1, MOST_CALLS), dice.randrange(1 << 30)
    calls = PowerLoss(own, forgets)

    def arm(word: str) -> None:
        if word == "start":
            calls.remember(memory)
            pytest.MonkeyPatch().setattr(
                "storage.members.local.SystemCalls", lambda: calls
            )
        if word == when:
            calls.die_at = calls.changes + number
            calls.dying = (
                calls.kill if way == "power" else lambda: calls.kill_process(memory)
            )

    return arm, way


def _go_on(lives: Lives, folder: Path, forgets: tuple[str, ...] = ()) -> None:
    memory = folder / "memory"
    for _ in range(RUNS):
        if lives.fresh():
            memory.unlink(missing_ok=True)
        arm, way = _hook(lives, memory, forgets)
        lives.one(arm)
        lives.fired[way] += 1


@pytest.mark.timeout(120 + 8 * RUNS)
@pytest.mark.parametrize(("level", "width"), PLACES)
def test_it_keeps_what_it_acknowledged_when_the_power_goes(
    level: Level, width: int, tmp_path: Path
) -> None:
    begun = seed()
    with world(tmp_path / "world", level, width) as place:
        lives = Lives(place, begun, without="away back")
        _go_on(lives, tmp_path)
    told = bound(f"R4 {level.value} x{width}", RUNS, begun, lives.fired)
    print(told)
    assert RUNS < ENOUGH or min(lives.fired["power"], lives.fired["killed"]), told


@pytest.mark.parametrize("site", CONTROLS)
def test_the_control_finds_each_fsync_that_is_taken_away(
    site: str, tmp_path: Path
) -> None:
    with world(tmp_path / "world", Level.RAID5, 3) as place:
        lives = Lives(place, seed(), without="away back")
        with pytest.raises(AssertionError):
            for _ in range(20):
                _go_on(lives, tmp_path, (site,))
    print(f"{site}: missed in life {lives.fired['lives']}, seed {lives.begun}")
