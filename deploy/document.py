"""Write what docs/configuration.md and docs/glossary.md take from the code."""

from collections.abc import Mapping
from pathlib import Path

import config
from storage import glossary

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "configuration.md"
START = "<!-- settings: written by make docs -->"
END = "<!-- end of settings -->"
GLOSSARY = DOCS / "glossary.md"
_HEAD = """# Words of the array

Every state, job, event and error of the array, as the page, the commands, the log and
the documents say it. `make docs` writes this page out of `storage/glossary.py`; the
other words (slot, segment, shard, debt and so on) are explained in
[architecture.md](architecture.md) and [on-disk-format.md](on-disk-format.md).
"""


def settings_table() -> str:
    """Return the table of docs/configuration.md as it should be."""
    lines = ["| name | default | meaning |", "|---|---|---|"]
    for row in config.SETTINGS:
        default = "unset" if row.default is None else f"`{row.default}`"
        lines.append(f"| `{row.variable}` | {default} | {row.help} |")
    return "\n".join(lines)


def table_of(page: str) -> str:
    """Return the table that stands on the page."""
    return page.partition(START)[2].partition(END)[0].strip()


def with_table(page: str) -> str:
    """Return the page with the table of today."""
    before, rest = page.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{settings_table()}\n\n{END}{after}"


def glossary_page() -> str:
    """Return docs/glossary.md as it should be."""
    parts = [_HEAD]
    for title, about, terms in glossary.TABLES:
        parts.append(f"## {title}\n\n{about}\n\n{_rows(terms)}\n")
    return "\n".join(parts)


def _rows(terms: Mapping[str, glossary.Term]) -> str:
    """Return a table; an event's sentence stands beside its meaning."""
    events = any(isinstance(term, glossary.EventTerm) for term in terms.values())
    head = ["word", "meaning", "sentence"] if events else ["word", "meaning"]
    lines = [_line(head), _line(["---"] * len(head))]
    for term in terms.values():
        cells = [f"`{term.word}`", term.meaning]
        if isinstance(term, glossary.EventTerm):
            cells.append(term.says + (" (a warning)" if term.warns else ""))
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    GLOSSARY.write_text(glossary_page(), encoding="utf-8")
