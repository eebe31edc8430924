"""An array over buckets at two servers, and a dict, with every fault between them."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from raid import halves
from raid.geometry import Level
from support.bucketmachine import SEGMENT, BucketMachine
from support.buckets import S3Server
from support.faultproxy import HARMLESS, KINDS, FaultProxy
from support.machine import LEAST_FIRED
from support.places import Place
from support.soak import FACTOR

LEVELS = (Level.RAID1, Level.RAID5, Level.RAID6, Level.RAID10)
PARTS = 1 if FACTOR == 1 else 2
"""A soak is played in parts, so that each processor has one."""
CASES = [(level, part) for part in range(PARTS) for level in LEVELS]
STEPS = 50
EXAMPLES = 3 if FACTOR == 1 else 25 * FACTOR
"""So that a soak of 20 takes 200,000 steps."""


@pytest.fixture(scope="module")
def places(
    moto: S3Server, rclone: S3Server, proxies: Callable[[S3Server], FaultProxy]
) -> list[Place]:
    """Two buckets at each server, each behind its proxy."""
    return [Place(proxies(server), server) for server in (moto, rclone) * 2]


@pytest.fixture(scope="module")
def total() -> Iterator[dict[str, Counter[str]]]:
    """Collect what happened; a short case may be of fair weather, all of them not."""
    by_case: dict[str, Counter[str]] = {}
    yield by_case
    if len(by_case) == len(CASES):
        fired = sum(by_case.values(), Counter())
        assert len(set(fired) - set(HARMLESS)) > 3, fired


@pytest.mark.timeout(600 * FACTOR)
@pytest.mark.parametrize(("level", "part"), CASES)
def test_an_array_of_buckets_behaves_like_a_dict(
    level: Level,
    part: int,
    places: list[Place],
    total: dict[str, Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halves, "HALF", SEGMENT)
    fired = total[f"{level} {part}"] = Counter()
    own = {"level": level, "fired": fired, "places": places}
    machine = type(f"Buckets{level.number}", (BucketMachine,), own)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    print(f"{level.value}: {machine.steps} steps, {fired}")
    if FACTOR >= 20:
        assert machine.steps >= EXAMPLES * STEPS
        assert all(fired[kind] >= LEAST_FIRED / len(CASES) for kind in KINDS), fired
