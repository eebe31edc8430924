"""What the hour of work says of memory and descriptors, on samples that are known."""

import random

import pytest

from support.usage import MIB, Sample, Usage, growth, kept, peak

LOOKS = 720


def _samples(files: list[int], resident: list[float]) -> list[Sample]:
    return [
        Sample(5.0 * number, (7,), round(size * MIB), count, 64)
        for number, (count, size) in enumerate(zip(files, resident, strict=True))
    ]


def test_descriptors_of_a_moment_are_not_kept() -> None:
    """Threads that all ask at once, now and then, in the second half only."""
    dice = random.Random(5)
    files = [37 + dice.randrange(4) for _ in range(LOOKS)]
    for number in range(400, LOOKS, 60):
        files[number] = 69
    samples = _samples(files, [140.0] * LOOKS)
    assert abs(kept(samples)) <= 1
    assert 0.4 < peak(samples) <= 1.0
    files[500] = 120
    assert peak(_samples(files, [140.0] * LOOKS)) > 1.0


@pytest.mark.parametrize("each", [20, 60, 90])
def test_one_that_is_never_closed_shows(each: int) -> None:
    """One for each so many looks, under the noise of requests."""
    dice = random.Random(5)
    files = [37 + dice.randrange(6) + number // each for number in range(LOOKS)]
    assert kept(_samples(files, [140.0] * LOOKS)) > 2


def test_memory_that_is_never_given_back_shows() -> None:
    dice = random.Random(5)
    steady = [140 + dice.random() for _ in range(LOOKS)]
    assert abs(growth(_samples([37] * LOOKS, steady))) < 0.3
    more = [size + number / LOOKS * 5 for number, size in enumerate(steady)]
    assert growth(_samples([37] * LOOKS, more)) == pytest.approx(3.5, abs=0.4)


def test_a_step_of_one_instance_is_no_growth_of_its_kind() -> None:
    """Two that are steady, and one that is larger after a moment of much work."""
    dice = random.Random(5)
    steady = [142 + dice.random() for _ in range(LOOKS)]
    step = [size + 1.5 * (number > LOOKS * 0.8) for number, size in enumerate(steady)]
    usage = Usage([])
    for name, sizes in (("0", steady), ("1", steady), ("2", step)):
        usage.seen[f"{name} worker"] = _samples([37] * LOOKS, sizes)
    assert growth(usage.seen["2 worker"]) > 2.0
    assert growth(usage.together()["worker"]) < 1.5
    leak = [size + number / LOOKS * 5 for number, size in enumerate(steady)]
    for name in "012":
        usage.seen[f"{name} worker"] = _samples([37] * LOOKS, leak)
    assert growth(usage.together()["worker"]) > 2.0
    assert usage.together()["worker"][0].files == 3 * 37
    assert "all worker: +3" in usage.told()[0]
