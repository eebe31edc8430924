"""docs/security.md: every test that it names exists, and every row is held."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([a-z]+/test_\w+\.py)::(test_\w+)`", PAGE)))
ROWS = (
    [f"A{number}" for number in range(1, 17)]
    + [f"S{number}" for number in range(1, 15)]
    + ["I1", "I2", "I13", "I14"]
    + [f"U{number}" for number in (*range(1, 13), 18)]
    + [f"H{number}" for number in (*range(1, 13), 14)]
    + [f"L{number}" for number in range(1, 9)]
)


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_names_tests() -> None:
    """The pattern below would find nothing in an empty page."""
    assert len(NAMED) > 60


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file: str, name: str) -> None:
    """A row is only as good as the test behind it."""
    assert name in _functions(ROOT / "tests" / file)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test_or_a_deviation(row: str) -> None:
    """No row is forgotten."""
    held = PAGE.partition("## Deviations")[0]
    lines = [line for line in held.splitlines() if line.startswith(f"| {row} |")]
    assert len(lines) == 1
    assert "::test_" in lines[0] or "deviation" in lines[0]
