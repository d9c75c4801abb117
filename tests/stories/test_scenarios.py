"""Scenarios with figures that a trader can check by hand, in `tests/scenarios`, run through the real folds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from ledger.booking.lots import Lot, Match, UnmatchedDisposal
from ledger.events import PortfolioOpened, TradeExecuted
from ledger.events.fields import Fee
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.invariants import broken_invariants
from ledger.rows import Rows
from ledger.values import Asset, Instrument, Side, decimal_text, derived_id

SCENARIOS = sorted(
    path
    for path in (Path(__file__).resolve().parents[1] / "scenarios").glob("*.txt")
    if path.stem != "signal_to_profit"
)  # test_signal_to_profit.py runs that one, which has signals and orders too
BLOCKS = ("there", "applied", "booked", "unmatched", "remains", "totals")
PORTFOLIO = UUID(int=1)
START = datetime(2024, 1, 1, tzinfo=UTC)

APPLIED = re.compile(
    r"(?P<id>\w+) (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d) (?P<side>buy|sell) "
    r"(?P<quantity>\S+) (?P<base>\w+) at (?P<price>\S+) (?P<quote>\w+)"
    r"(?: fee (?P<fee>\S+) (?P<fee_asset>\w+)(?: worth (?P<worth>\S+))?)?(?: rate (?P<rate>\S+))?"
)


@dataclass
class Round:
    """One round of a scenario: the lines of each block, with single spaces."""

    blocks: dict[str, list[str]] = field(default_factory=dict)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_ledger_agrees_with_scenario(path: Path) -> None:
    """The lines below `there`, `booked`, `unmatched`, `remains` and `totals` are those of the ledger."""
    assert differences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_differences_finds_a_changed_figure(path: Path) -> None:
    """Planted: one is added to the last figure of each expected line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    block = ""
    for number, line in enumerate(lines):
        block = line if line in BLOCKS else block
        if block not in ("", "applied") and (figure := re.fullmatch(r"(    (?!#).* )(-?[\d.]+)", line)):
            planted = f"{figure[1]}{decimal_text(Decimal(figure[2]) + 1)}"
            assert differences("\n".join([*lines[:number], planted, *lines[number + 1 :]])) != [], planted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no block",
        "applied\n  b1 yesterday buy 1 BTC at 1 USD",
        "applied\n  b1 2024-01-02 10:00 buy 1 BTC",
        "booked\n  x",
    ],
)
def test_differences_fails_when_the_scenario_is_malformed(text: str) -> None:
    with pytest.raises(AssertionError):
        assert differences(text) == []


def differences(text: str) -> list[tuple[str, list[str], list[str]]]:
    """The differing blocks, each with the lines of the scenario and those of the ledger."""
    book = MemoryBook(lambda: START)
    opened = PortfolioOpened(name="scenario", base_currency=Asset("USD"))
    book.record(PORTFOLIO, [NewEvent(opened, PORTFOLIO, START, "test", PORTFOLIO)])
    names: dict[UUID, str] = {}
    found: list[tuple[str, list[str], list[str]]] = []
    for one in rounds(text):
        found += compared(one, ("there",), book, names)
        for line in one.blocks["applied"]:
            new = applied(line)
            names[new.event_id] = line.split(" ")[0]
            book.record(PORTFOLIO, [new])
        found += compared(one, ("booked", "unmatched", "remains", "totals"), book, names)
    return found


def rounds(text: str) -> list[Round]:
    """The rounds of the scenario; each begins with the same block as the first."""
    found: list[Round] = []
    block: list[str] | None = None
    first = ""
    for line in text.splitlines():
        if line in BLOCKS:
            first = first or line
            if line == first:
                found.append(Round())
            assert line not in found[-1].blocks, f"the block {line} occurs twice in one round"
            block = found[-1].blocks[line] = []
        elif block is not None and line.strip() and not line.lstrip().startswith("#"):
            block.append(" ".join(line.split()))
    assert found, "a scenario needs at least one round"
    assert all("applied" in one.blocks for one in found), "a round without the block applied"
    return found


def compared(
    one: Round, blocks: tuple[str, ...], book: MemoryBook, names: dict[UUID, str]
) -> list[tuple[str, list[str], list[str]]]:
    with book.reading(PORTFOLIO) as reading:
        assert reading.stopped is None, reading.stopped
        assert list(broken_invariants(reading.rows)) == []
        actual = {
            "there": list(open_lots(reading.rows, names)),
            "booked": list(matches(reading.rows, names)),
            "unmatched": list(unmatched(reading.rows, names)),
            "remains": list(open_lots(reading.rows, names)),
            "totals": list(totals(reading.rows)),
        }
    return [
        (block, one.blocks[block], actual[block] or ["nothing"])
        for block in blocks
        if block in one.blocks and sorted(one.blocks[block]) != sorted(actual[block] or ["nothing"])
    ]


def applied(line: str) -> NewEvent:
    """The trade of a line below `applied`."""
    words = APPLIED.fullmatch(line)
    assert words is not None, f"not a trade: {line}"
    worth = Decimal(words["worth"]) if words["worth"] else None
    fees = (Fee(asset=Asset(words["fee_asset"]), amount=Decimal(words["fee"]), value=worth),) if words["fee"] else ()
    event = TradeExecuted(
        account="main",
        venue="paper",
        venue_trade_id=words["id"],
        instrument=Instrument(f"{words['base']}-{words['quote']}"),
        side=Side(words["side"]),
        quantity=Decimal(words["quantity"]),
        price=Decimal(words["price"]),
        fees=fees,
        quote_rate=Decimal(words["rate"] or 1),
    )
    event_id = derived_id("scenario", words["id"])
    return NewEvent(event, event_id, datetime.fromisoformat(f"{words['time']}Z"), "test", event_id)


def open_lots(rows: Rows, names: dict[UUID, str]) -> Iterator[str]:
    for lot in rows.where(Lot):
        yield f"{names[lot.event_id]} {decimal_text(lot.open_quantity)} {lot.asset} cost {decimal_text(lot.open_cost)}"


def matches(rows: Rows, names: dict[UUID, str]) -> Iterator[str]:
    for match in rows.history(Match):
        proceeds, cost, gain = map(decimal_text, (match.proceeds, match.cost_basis, match.realized_pnl))
        parties = f"{names[match.closing_event_id]} from {names[match.opening_event_id]}"
        taken = f"{decimal_text(match.quantity)} {match.asset}"
        yield f"{parties} {taken} proceeds {proceeds} - cost {cost} = gain {gain}"


def unmatched(rows: Rows, names: dict[UUID, str]) -> Iterator[str]:
    for one in rows.history(UnmatchedDisposal):
        quantity, proceeds = decimal_text(one.quantity), decimal_text(one.proceeds)
        yield f"{names[one.event_id]} {quantity} {one.asset} proceeds {proceeds}"


def totals(rows: Rows) -> Iterator[str]:
    for holding in rows.where(Holding):
        gain, cost, fees = map(decimal_text, (holding.realized_pnl, holding.cost_basis, holding.fees))
        yield f"{holding.asset} gain {gain} cost {cost} fees {fees}"
