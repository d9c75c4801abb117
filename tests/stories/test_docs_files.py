"""docs/files.md agrees with the program: columns, exports and the example."""

import re
from pathlib import Path
from typing import Final
from uuid import UUID

from ledger.imports.csv_trades import COLUMNS, REQUIRED
from ledger.imports.entries import FileEntries
from ledger.imports.files import table_of
from ledger.imports.formats.registry import EXPORTS
from ledger.imports.plan import plan_of
from ledger.values import Asset

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text(encoding="utf-8")


def table(first: str) -> list[list[str]]:
    """The rows of the table with this first heading."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_files_page_lists_every_column() -> None:
    """Required columns are in the order of the program."""
    rows = table("column")

    assert {row[0].strip("`") for row in rows} == set(COLUMNS)
    assert [row[0].strip("`") for row in rows if row[1] == "yes"] == list(REQUIRED)


def test_files_page_lists_every_export() -> None:
    """Each with columns that the export has."""
    rows = {row[0]: re.findall(r"`([^`]+)`", row[1]) for row in table("export")}

    assert set(rows) == {export.name for export in EXPORTS}
    for export in EXPORTS:
        assert {name.lower() for name in rows[export.name]} <= export.columns


def test_example_of_files_page_is_imported() -> None:
    """Into a portfolio in dollars, without changes."""
    (example,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    content = example.encode()
    entries = FileEntries(table_of(Path("trades.csv"), content), UUID(int=1), Asset("USD"), content, lambda _: None)

    plan = plan_of(entries, lambda _: {})

    assert (plan.rows, plan.new, plan.invalid) == (3, 3, ())
