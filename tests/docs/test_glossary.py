"""docs/glossary.md and storage/glossary.py are one; and code uses no other words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import ERRORS
from deploy.document import GLOSSARY, glossary_page
from raid.array import ArrayState
from raid.errors import MemberError, RaidError
from raid.superblock import StoredState
from storage import glossary
from storage.errors import StorageError
from storage.models import JobKind, JobState

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "storage").rglob("*.py"))


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Yield every call that notes an event, with its word."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = ast.unparse(node.func)
            if called == "history.note":
                yield path.name, node.args[1]


def spoken() -> set[str]:
    """Return every event word that stands anywhere in the code as a constant."""
    words = set()
    for path in MODULES:
        if path.name == "glossary.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    return words


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def test_the_page_is_the_glossary_of_today() -> None:
    assert GLOSSARY.read_text("utf-8") == glossary_page(), "run: make docs"


def test_every_event_that_is_noted_is_explained() -> None:
    found = [(path, word) for path, word in calls() if isinstance(word, ast.Constant)]
    assert len(found) > 3
    unknown = {(path, w.value) for path, w in found if w.value not in glossary.EVENTS}
    assert unknown == set()


def test_every_event_that_is_explained_is_noted() -> None:
    assert set(glossary.EVENTS) - spoken() == set()


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (ArrayState, glossary.ARRAY_STATES),
        (StoredState, glossary.STORED_STATES),
        (JobKind, glossary.JOBS),
        (JobState, glossary.JOB_STATES),
    ],
)
def test_every_state_and_job_is_explained(words, terms) -> None:
    assert {word.value for word in words} == set(terms)


def test_every_observed_state_is_explained() -> None:
    seen = {one.word for one in below(MemberError) if getattr(one, "word", None)}
    assert seen <= set(glossary.OBSERVED_STATES)


def test_every_error_is_explained() -> None:
    codes = {
        code
        for kind, (_, code) in ERRORS.items()
        if issubclass(kind, RaidError | StorageError)
    }
    ours = [one for one in below(StorageError) if one.__module__[:8] == "storage."]
    codes |= {one.code for one in ours}  # type: ignore[attr-defined]
    assert codes - set(glossary.ERRORS) == set()


@pytest.mark.parametrize(
    "term",
    [term for _, _, terms in glossary.TABLES for term in terms.values()],
    ids=lambda term: term.word,
)
def test_every_meaning_is_a_sentence(term: glossary.Term) -> None:
    assert term.meaning[0].isupper() and term.meaning.endswith(".")
    assert "|" not in term.meaning
    if isinstance(term, glossary.EventTerm):
        assert term.says and "|" not in term.says
