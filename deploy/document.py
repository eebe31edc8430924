"""Write the table of settings into docs/configuration.md."""

from pathlib import Path

import config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
START = "<!-- settings: written by make docs -->"
END = "<!-- end of settings -->"


def table_of(page: str) -> str:
    """Return the table that stands on the page."""
    return page.partition(START)[2].partition(END)[0].strip()


def with_table(page: str) -> str:
    """Return the page with the table of today."""
    before, rest = page.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{config.markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
