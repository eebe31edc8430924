"""docs/configuration.md says what the table of settings says."""

import pytest

import config
from deploy.document import PAGE, settings_table, table_of, with_table

TEXT = PAGE.read_text(encoding="utf-8")


def test_it_holds_the_table_of_today() -> None:
    assert table_of(TEXT) == settings_table(), "run: make docs"


def test_writing_it_again_changes_nothing() -> None:
    assert with_table(TEXT) == TEXT


@pytest.mark.parametrize("setting", config.SETTINGS, ids=lambda row: row.name)
def test_every_row_is_complete(setting: config.Setting) -> None:
    assert setting.help
    assert setting.attribute in config.Settings.__dataclass_fields__
    if setting.default is not None:
        setting.parse(setting.default)


def test_there_is_no_attribute_without_a_row() -> None:
    rows = [row.attribute for row in config.SETTINGS]
    assert list(config.Settings.__dataclass_fields__) == rows
