"""R1: SIGKILL at a random moment of mixed operations, over every layout."""

from pathlib import Path

import pytest

from raid.geometry import Level
from support.lives import Lives
from support.soak import bound, drawn, runs, seed
from support.world import LAYOUTS, world

RUNS = runs(gate=16, soak=1700)
PLACES = drawn(LAYOUTS, 2)
ENOUGH = 200
"""From so many lives on, a kill has to have hit everything that takes its time."""


@pytest.mark.timeout(120 + 8 * RUNS)
@pytest.mark.parametrize(("level", "width"), PLACES)
def test_it_keeps_what_it_acknowledged_when_it_is_killed(
    level: Level, width: int, tmp_path: Path
) -> None:
    begun = seed()
    with world(tmp_path / "world", level, width) as place:
        lives = Lives(place, begun)
        for _ in range(RUNS):
            lives.fresh()
            early = lives.dice.random() < 0.2
            beats = lives.dice.uniform(0.2, 6.0)
            after = "" if early else "found"
            lives.one(lambda _: None, after=after, seconds=beats * place.beat)
    told = bound(f"R1 {level.value} x{width}", RUNS, begun, lives.fired)
    print(told)
    if RUNS >= ENOUGH:
        assert lives.fired["died in recovery"], told
        assert lives.fired["died in upload"] and lives.fired["died in replace"], told
    assert lives.fired["lives"] == RUNS
