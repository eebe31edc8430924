"""R19: the tests are tested. The gate tries two mutants, `make mutants` all of them."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.slow import named
from support.soak import seed

ROOT = Path(__file__).resolve().parents[2]
IN_THE_GATE = 2


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(f"tests.mutants.{name}")
    finally:
        sys.path.remove(str(ROOT))


run, table = _load("run"), _load("table")


def test_there_are_enough_and_each_has_its_own_name() -> None:
    names = {mutant.name for mutant in table.MUTANTS}
    assert len(names) == len(table.MUTANTS) >= 30


@pytest.mark.parametrize("mutant", table.MUTANTS, ids=lambda mutant: mutant.name)
def test_its_anchor_stands_in_the_source_once(mutant: table.Mutant) -> None:  # type: ignore[name-defined]
    compile(run.text_of(mutant), mutant.file, "exec")
    for node in mutant.tests.split():
        path, _, test = node.partition("::")
        # Of a file's slow tests a gate takes few: who is to notice is named then.
        assert test or not any(name.startswith(f"{path}::") for name in named())
        assert f"def {test.partition('[')[0]}" in (ROOT / path).read_text()


@pytest.mark.timeout(2 * run.PATIENCE)
def test_a_few_of_them_are_noticed() -> None:
    begun = seed()
    for mutant in random.Random(begun).sample(table.MUTANTS, IN_THE_GATE):
        assert run.is_killed(mutant), f"{mutant.name} survived (seed {begun})"
