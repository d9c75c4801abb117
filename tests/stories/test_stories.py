"""Every story in docs/stories, and the example of docs/performance.md, is run as it stands and must print what it says."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import pytest

from ledger.booking.lots import Booking, Leg, Lot, book_leg
from ledger.reports.closed_lots import ClosedLots
from ledger.reports.performance import Performance
from tests.support.pages import MASK, Printed, as_told, check_page

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
STORIES: Final = sorted((DOCS / "stories").glob("[0-9]*.md"))
PERFORMANCE: Final = DOCS / "performance.md"
NO_FIGURES: Final = {
    *("base_currency", "until", "measured_from", "full_days", "periods_per_year", "risk_free", "closed_lots", "notes"),
}
"""What stands beside the figures."""


@pytest.mark.parametrize("page", [*STORIES, PERFORMANCE], ids=lambda page: page.stem)
def test_a_page_prints_what_it_says(page: Path, tmp_path: Path, database_url: str) -> None:
    """Run in an empty folder and an empty ledger, each command prints the text below it; no line there could be another."""
    for one in check_page(page.read_text(encoding="utf-8"), tmp_path, database_url):
        for edited in edits_of(one):
            assert not as_told(edited), edited.told


def edits_of(one: Printed) -> list[Printed]:
    """The block with each of its lines left out, and with each of its figures changed."""
    lines = one.told.splitlines(keepends=True)
    without = ["".join(lines[:number] + lines[number + 1 :]) for number in range(len(lines))]
    changed = [
        f"{one.told[: found.start()]}{9 - int(found[0])}{one.told[found.end() :]}"
        for found in re.finditer(r"\d", one.told)
    ]
    return [replace(one, told=told) for told in without + changed]


@pytest.mark.parametrize(
    ("name", "said", "edited"),
    [
        ("4-transfers.md", "realised                                  300", "realised  301"),
        ("1-missing-purchase.md", MASK, "x"),
    ],
)
def test_an_edited_story_is_found(name: str, said: str, edited: str, tmp_path: Path, database_url: str) -> None:
    """Planted: a figure of the page is changed, or what differs from run to run is claimed to be known."""
    text = (DOCS / "stories" / name).read_text(encoding="utf-8")
    assert said in text
    with pytest.raises(AssertionError, match="instead of"):
        check_page(text.replace(said, edited, 1), tmp_path, database_url)


def test_a_story_told_by_another_program_is_found(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the newest lot is closed first, so the story of transfers sells another coin than it says."""
    monkeypatch.setattr("ledger.projections.holdings.book_leg", newest_first)
    with pytest.raises(AssertionError, match="instead of"):
        check_page((DOCS / "stories" / "4-transfers.md").read_text(encoding="utf-8"), tmp_path, database_url)


def newest_first(leg: Leg, open_lots: Iterable[Lot], *, allow_short: bool = False) -> Booking:
    return book_leg(leg, reversed(list(open_lots)), allow_short=allow_short)


def test_the_list_of_stories_is_complete() -> None:
    """docs/stories/README.md links to every page there, in order."""
    listed = re.findall(r"\]\(([^)/]+\.md)\)", (DOCS / "stories" / "README.md").read_text(encoding="utf-8"))

    assert listed == [page.name for page in STORIES]
    assert len(listed) == 9


def test_every_figure_of_performance_is_defined() -> None:
    """The tables of docs/performance.md define each figure that the program computes, and no other."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    defined = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    figures = {field.name for kind in (Performance, ClosedLots) for field in fields(kind)}
    assert defined == figures - NO_FIGURES
