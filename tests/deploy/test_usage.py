"""What the hour of work says of memory and descriptors, on samples that are known."""

import random

import pytest

from support.usage import MIB, Sample, growth, kept, peak

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
