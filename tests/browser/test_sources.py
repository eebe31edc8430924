"""What the sources of the pages may not contain, and how large a script may be."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
FORBIDDEN = {
    "inline script": r"<script(?![^>]*\bsrc=)",
    "inline style": r"<style|\sstyle\s*=",
    "event attribute": r"\son[a-z]+\s*=\s*[\"']",
    "script address": r"javascript:",
    "unescaped output": r"\|\s*safe\b|autoescape\s+false",
    "other origin": r"(?:src|href)=[\"']https?://",
}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_needs_an_exception_in_the_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = {what for what, rule in FORBIDDEN.items() if re.search(rule, text, re.I)}
    assert found == set()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_and_write_no_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
    ):
        assert way not in text


def test_every_module_is_reached_and_exists() -> None:
    named = {
        name
        for path in SCRIPTS
        for name in re.findall(r'(?:from|import) "\./([a-z]+\.js)"', path.read_text())
    }
    present = {path.name for path in SCRIPTS}
    assert named <= present
    assert present - named == {"app.js", "theme.js"}


def test_there_are_few_forms_without_a_token() -> None:
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        for form in re.findall(r"<form\b.*?</form>", text, re.S):
            if 'method="dialog"' not in form:
                assert "csrf()" in form, f"{path.name}: {form[:80]}"
