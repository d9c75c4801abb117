"""The examples of docs/migrate.md are run and print the documented output; its tables match the program."""

import re
from pathlib import Path

import pytest

from migrations.legacy.check.formulas import MEASURES
from migrations.legacy.translate.comparison import CAUSES
from tests.migrations.test_legacy_commands import write_sample
from tests.support.documents.pages import check_file, check_page

FILE = Path(__file__).resolve().parents[2] / "docs" / "migrate.md"
PAGE = FILE.read_text(encoding="utf-8")


@pytest.mark.generated
def test_migration_examples_print_the_documented_output(tmp_path: Path, database_url: str) -> None:
    """Each command, run in a folder with the sample, prints the text below it."""
    write_sample(tmp_path / "trading.db")
    check_file(FILE, tmp_path, database_url)


def test_check_page_finds_an_edited_figure(tmp_path: Path, database_url: str) -> None:
    """Planted: the page promises another profit."""
    write_sample(tmp_path / "trading.db")
    assert "17.84" in PAGE
    with pytest.raises(AssertionError, match="instead of"):
        check_page(PAGE.replace("17.84", "17.85"), tmp_path, database_url)


def test_migration_page_defines_every_formula_and_cause() -> None:
    """The tables of the page define each formula and each cause that the report can name, and no other."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*MEASURES, *CAUSES} - {"unexplained"}
