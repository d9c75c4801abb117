"""The stories in docs/stories and the example of docs/performance.md are run and print the documented output."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import pytest

from ledger.booking.lots import Booking, Leg, Lot, book_leg
from ledger.reports.closed_lots import ClosedLots
from ledger.reports.performance import Performance
from tests.support.documents.pages import MASK, Printed, as_documented, check_file, check_page

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
STORIES: Final = sorted((DOCS / "stories").glob("[0-9]*.md"))
PERFORMANCE: Final = DOCS / "performance.md"
NO_FIGURES: Final = {
    *("base_currency", "until", "measured_from", "full_days", "periods_per_year", "risk_free", "closed_lots", "notes"),
}
"""Fields of the report that are not figures."""


@pytest.mark.generated
@pytest.mark.parametrize(
    "page",
    [*(pytest.param(one, marks=pytest.mark.campaign) for one in STORIES[2:]), *STORIES[:2], PERFORMANCE],
    ids=lambda page: page.stem,
)
def test_page_examples_print_the_documented_output(page: Path, tmp_path: Path, database_url: str) -> None:
    """In an empty folder and ledger each command prints the text below it; an edit of any line would be noticed."""
    for one in check_file(page, tmp_path, database_url):
        for edited in edits_of(one):
            assert not as_documented(edited), edited.documented


def edits_of(one: Printed) -> list[Printed]:
    """The block without each of its lines, and with each of its digits changed."""
    lines = one.documented.splitlines(keepends=True)
    without = ["".join(lines[:number] + lines[number + 1 :]) for number in range(len(lines))]
    changed = [
        f"{one.documented[: found.start()]}{9 - int(found[0])}{one.documented[found.end() :]}"
        for found in re.finditer(r"\d", one.documented)
    ]
    return [replace(one, documented=text) for text in without + changed]


@pytest.mark.parametrize(
    ("name", "documented", "edited"),
    [
        ("4-transfers.md", "realised                                  300", "realised  301"),
        ("1-missing-purchase.md", MASK, "x"),
    ],
)
def test_check_page_finds_an_edited_story(
    name: str, documented: str, edited: str, tmp_path: Path, database_url: str
) -> None:
    """Planted: a figure of the page is changed, or a varying text is replaced by a fixed one."""
    text = (DOCS / "stories" / name).read_text(encoding="utf-8")
    assert documented in text
    with pytest.raises(AssertionError, match="instead of"):
        check_page(text.replace(documented, edited, 1), tmp_path, database_url)


def test_check_page_finds_a_program_that_matches_newest_lots_first(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the newest lot is closed first, so the story of transfers prints another gain."""
    monkeypatch.setattr("ledger.projections.holdings.book_leg", newest_first)
    with pytest.raises(AssertionError, match="instead of"):
        check_page((DOCS / "stories" / "4-transfers.md").read_text(encoding="utf-8"), tmp_path, database_url)


def newest_first(leg: Leg, open_lots: Iterable[Lot], *, allow_short: bool = False) -> Booking:
    return book_leg(leg, reversed(list(open_lots)), allow_short=allow_short)


def test_stories_index_lists_every_story() -> None:
    """docs/stories/README.md links to every page there, in order."""
    listed = re.findall(r"\]\(([^)/]+\.md)\)", (DOCS / "stories" / "README.md").read_text(encoding="utf-8"))

    assert listed == [page.name for page in STORIES]
    assert len(listed) == 9


def test_performance_page_defines_every_figure() -> None:
    """The tables of docs/performance.md define each figure that the program computes, and no other."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    defined = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    figures = {field.name for kind in (Performance, ClosedLots) for field in fields(kind)}
    assert defined == figures - NO_FIGURES
