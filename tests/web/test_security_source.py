"""L8: what the linter's rules on security do not see: templates, and keys in the tree.

Pickles, eval, weak digests, SQL out of strings and `Markup` are ruff's (`S` in
pyproject.toml).
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.*"))
UNESCAPED = re.compile(r"\|\s*safe\b|\bautoescape\b|\bMarkup\b")
SECRET = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
)


def _tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_no_template_leaves_anything_unescaped() -> None:
    assert len(TEMPLATES) > 10
    found = [
        f"{path.name}: {match[0]}"
        for path in TEMPLATES
        for match in UNESCAPED.finditer(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["AKIA" + "I" * 16, "-----BEGIN RSA " + "PRIVATE KEY-----"]
)
def test_a_key_would_be_found(text: str) -> None:
    assert SECRET.search(f"key = {text!r}")


def test_no_key_lies_in_the_tree() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0][:12]}"
        for path in _tracked()
        if path.is_file()
        for match in SECRET.finditer(path.read_text(errors="ignore"))
    ]
    assert found == []


def test_no_file_is_sent_by_a_name_that_somebody_chose() -> None:
    """Bytes come out of the array, and assets through Flask's own route."""
    places = [ROOT / name for name in ("auth", "files", "storage", "raid")]
    sources = [path for place in places for path in place.rglob("*.py")]
    assert len(sources) > 50
    senders = re.compile(r"\bsend_(file|from_directory)\b")
    assert [path for path in sources if senders.search(path.read_text())] == []
