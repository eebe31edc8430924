"""The list of tests that a gate takes a share of."""

import ast
from pathlib import Path

import conftest
import pytest

from support import slow, soak

ROOT = slow.FILE.parent.parent


def test_it_names_tests_that_exist() -> None:
    """A name that nobody has would take nothing out, and tell nobody."""
    files: dict[str, set[str]] = {}
    for name in slow.named():
        files.setdefault(name.partition("::")[0], set()).add(name.partition("::")[2])
    for file, names in files.items():
        nodes = ast.walk(ast.parse(Path(ROOT, file).read_text()))
        there = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        assert names <= there, f"{file}: {sorted(names - there)}"
    assert not [name for name in slow.named() if name.startswith(slow.EACH_TIME)]


def test_a_share_of_them_is_drawn_and_all_others_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soak, "WHOLE", False)
    named = slow.named()
    cases = [f"{name}[{case}]" for name in named for case in "abc"]
    taken = sum(conftest._is_taken(case, named) for case in cases)
    assert slow.SHARE / 2 < taken / len(cases) < slow.SHARE * 2
    assert conftest._is_taken("tests/raid/test_geometry.py::test_other[a]", named)
    monkeypatch.setattr(soak, "WHOLE", True)
    assert all(conftest._is_taken(case, named) for case in cases)


def test_the_list_is_made_of_what_pytest_says() -> None:
    said = """
    2.00s call     tests/web/test_a.py::test_long[one]
    1.50s setup    tests/web/test_a.py::test_long[one]
    2.00s call     tests/web/test_a.py::test_short[one]
    2.00s call     tests/web/test_a.py::test_short[two]
    9.00s call     tests/proof/test_b.py::test_always
    """
    assert slow.found(said.splitlines()) == ["tests/web/test_a.py::test_long"]
