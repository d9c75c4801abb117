"""What we export for beancount, beancount accepts: `bean-check` finds nothing, and its lots and gains are the book's."""

import subprocess
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings

from ledger.booking.lots import Lot, Match
from ledger.exports.beancount import CannotExport, beancount_text
from ledger.log.envelope import Envelope, NewEvent
from ledger.projections.book import MemoryBook
from ledger.rows import Rows
from tests.second_opinions.asking import PYTHON, ask
from tests.support.events import MOVES, START, Step, SteppingClock, Story, batches_of, record_all
from tests.support.generators.random_lives import assets_of, fold_facts, lives
from tests.support.lots_comparison import near

pytestmark = pytest.mark.nightly
STORIES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beancount")


@pytest.mark.parametrize("allow_short", [False, True])
def test_bean_check_accepts_any_story_and_books_the_same(allow_short: bool, folder: Path) -> None:
    """Stories of every kind of event: bean-check as it comes finds no error, and beancount books our matches to 1e-12."""
    stories = list(random_stories(allow_short=allow_short))
    texts = [text_of(rows, log) for rows, log in stories]
    for number, text in enumerate(texts):
        file = folder / f"{number}.beancount"
        file.write_text(text, encoding="utf-8")
        said = subprocess.run(
            [PYTHON.with_name("bean-check"), "--no-cache", file], capture_output=True, text=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, "")
    for (rows, _), answer in zip(stories, ask("ask_beancount.py", texts, folder), strict=True):
        check_booking(rows, answer)


@given(facts=lives())
@settings(max_examples=150)
def test_beancount_books_any_life_as_we_do(facts: list[NewEvent], folder: Path) -> None:
    """Whatever the figures, beancount computing with enough digits books the same lots, matches and gains."""
    rows, log = fold_facts(facts)
    try:
        text = text_of(rows, log)
    except CannotExport:
        assume(False)
        raise
    (answer,) = ask("ask_beancount.py", [text], folder)
    check_booking(rows, answer)


def test_a_wrong_cost_in_the_text_is_found(folder: Path) -> None:
    """Planted: a cost changed in the exported text is an error of beancount or another booking than ours."""
    rows, log = next(random_stories(allow_short=False))
    text = text_of(rows, log)
    (answer,) = ask("ask_beancount.py", [text], folder)
    check_booking(rows, answer)

    (wrong,) = ask("ask_beancount.py", [text.replace("{{", "{{1", 1)], folder)
    with pytest.raises(AssertionError):
        check_booking(rows, wrong)


def random_stories(*, allow_short: bool) -> Iterator[tuple[Rows, list[Envelope]]]:
    for seed in range(STORIES):
        dice = Random(seed)
        story = Story(f"beancount {seed}", allow_short=allow_short)
        moves = [
            Step(
                what=dice.choice(MOVES),
                pick=dice.randrange(31),
                quantity=Decimal(dice.randrange(1, 10**9)) / 10**8,
                price=Decimal(dice.randrange(100, 10**7)) / 100,
                minutes_late=dice.choice((0, 0, 7)),
            )
            for _ in range(80)
        ]
        book = MemoryBook(SteppingClock(START))
        record_all(book, story, batches_of(story, moves))
        with book.reading(story.portfolio_id) as reading:
            assert reading.stopped is None
            yield reading.rows, list(book.log.read(story.portfolio_id))


def text_of(rows: Rows, log: list[Envelope]) -> str:
    return "\n".join(beancount_text(rows, log)) + "\n"


def check_booking(rows: Rows, answer: dict[str, Any]) -> None:
    """The same matches (a split is none) with their gains, and the same open lots."""
    assert answer["errors"] == []
    matches = [match for asset in assets_of(rows) for match in rows.history(Match, asset)]
    splits = {str(one) for one in answer["splits"]}
    booked = [one for one in answer["matches"] if one["sell"] not in splits]
    assert sorted(map(_ours, matches)) == sorted(map(_theirs, booked))
    found = {_ours(match): match for match in matches}
    for one in booked:
        match = found[_theirs(one)]
        assert near(one["cost_basis"], Fraction(match.proceeds if match.short else match.cost_basis))
    gains = sorted(Fraction(one["gain"]) for one in answer["gains"])
    assert gains == sorted(Fraction(one.realized_pnl) for one in matches if one.cost_known and one.kind != "withdrawal")
    lots = {(lot.asset, str(lot.event_id)): lot for asset in assets_of(rows) for lot in rows.where(Lot, asset)}
    assert sorted(lots) == sorted(map(_place, answer["open"]))
    for one in answer["open"]:
        lot = lots[_place(one)]
        assert Fraction(one["quantity"]) == Fraction(-lot.open_quantity if lot.short else lot.open_quantity)
        assert near(str(lot.open_cost), abs(Fraction(one["quantity"])) * Fraction(one["unit"]))


Booked = tuple[str, str, str, Fraction]


def _ours(match: Match) -> Booked:
    return match.asset, str(match.closing_event_id), str(match.opening_event_id), Fraction(match.quantity)


def _theirs(one: dict[str, str]) -> Booked:
    return one["asset"], one["sell"], _place(one)[1], Fraction(one["quantity"])


def _place(one: dict[str, str]) -> tuple[str, str]:
    """The asset and the event that opened the lot; what follows a slash counts its splits."""
    return one["asset"], one["lot"].split("/")[0]
