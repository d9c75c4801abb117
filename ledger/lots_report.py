"""The lots and gains of a file of trades: the ledger's own fold over a log in memory, no database."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NotRequired, TypedDict
from uuid import UUID

from ledger.book import MemoryBook
from ledger.envelope import NewEvent
from ledger.events import PortfolioOpened
from ledger.files import FileError, TradeFile
from ledger.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.projections.holdings import Holding, HoldingsProjection
from ledger.projections.portfolio import PortfolioProjection
from ledger.rows import Rows
from ledger.trade_rows import FileTrade
from ledger.values import ZERO, Side, decimal_text, derived_id, time_text

ACTOR = "file"


class MatchLine(TypedDict):
    """The part of a sale that one lot covered."""

    lot_id: str
    quantity: str
    proceeds: str
    cost_basis: str
    realized_pnl: str


class Sell(TypedDict):
    """A sale. `quantity` is all that was given (fees in the traded asset with it), matched and unmatched.

    `proceeds`, `cost_basis` and `realized_pnl` are of the matched part; `unmatched_*` appear with such a part.
    """

    id: str
    instrument: str
    time: str
    quantity: str
    proceeds: str
    cost_basis: str
    realized_pnl: str
    matches: list[MatchLine]
    unmatched_quantity: NotRequired[str]
    unmatched_proceeds: NotRequired[str]


class OpenLot(TypedDict):
    """What is left of an acquisition; `cost_basis` is of that rest."""

    lot_id: str
    instrument: str
    quantity: str
    cost_basis: str


class Totals(TypedDict):
    """The sums of one instrument in its quote currency; unmatched disposals are in none of them but the fees."""

    realized_pnl: str
    open_quantity: str
    open_cost_basis: str
    fees: str


class LotsReport(TypedDict):
    """All figures are plain decimals as text, money in the quote currency of the instrument."""

    method: Literal["fifo"]
    sells: list[Sell]
    open_lots: list[OpenLot]
    totals: dict[str, Totals]
    errors: list[FileError]


def lots_report(trade_file: TradeFile) -> LotsReport:
    """Sales with their matches, open lots and totals, first in first out, each instrument text on its own.

    Sales and lots stand in order of time; `errors` are those of the file, then one for each sale of more than was held.
    """
    books = [_book_of(text, trades) for text, trades in _by_instrument(trade_file.trades).items()]
    sells = sorted((sale for book in books for sale in _sells(book)), key=lambda sale: sale.order)
    open_lots = sorted((lot for book in books for lot in _open_lots(book)), key=lambda lot: lot.order)
    return {
        "method": "fifo",
        "sells": [sale.line for sale in sells],
        "open_lots": [lot.line for lot in open_lots],
        "totals": {book.instrument: _totals(book) for book in books},
        "errors": [*trade_file.errors, *(sale.error for sale in sells if sale.error)],
    }


@dataclass(frozen=True, slots=True)
class _Book:
    """One instrument: its rows after all its trades, and the trades by the ids of their events."""

    instrument: str
    trades: dict[UUID, FileTrade]
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Sale:
    order: tuple[datetime, int]
    line: Sell
    error: FileError | None


@dataclass(frozen=True, slots=True)
class _Rest:
    order: tuple[datetime, int]
    line: OpenLot


def _by_instrument(trades: Sequence[FileTrade]) -> dict[str, list[FileTrade]]:
    groups: dict[str, list[FileTrade]] = defaultdict(list)
    for trade in trades:
        groups[trade.instrument].append(trade)
    return groups


def _book_of(instrument: str, trades: Sequence[FileTrade]) -> _Book:
    """The instrument's own portfolio, kept in its quote currency."""
    book = MemoryBook(lambda: trades[-1].time, projections=(PortfolioProjection(), HoldingsProjection()))
    portfolio_id = derived_id("lots", instrument)
    opened = PortfolioOpened(name=instrument, base_currency=trades[0].event.instrument.quote)
    named = {derived_id("lots", instrument, trade.id): trade for trade in trades}
    first = NewEvent(opened, portfolio_id, trades[0].time, ACTOR, portfolio_id)
    book.record(portfolio_id, [first, *(trade.new_event(event_id, ACTOR) for event_id, trade in named.items())])
    with book.reading(portfolio_id) as reading:
        assert reading.stopped is None, f"{instrument}: {reading.stopped}"
        return _Book(instrument, named, reading.rows)


def _sells(book: _Book) -> Iterator[_Sale]:
    matches: dict[UUID, list[Match]] = defaultdict(list)
    for match in book.rows.history(Match):
        matches[match.closing_event_id].append(match)
    unmatched = {one.event_id: one for one in book.rows.history(UnmatchedDisposal)}
    for leg in book.rows.history(Leg):
        trade = book.trades[leg.event_id]
        if trade.event.side is Side.SELL:
            yield _sale(book, trade, -leg.quantity, matches[leg.event_id], unmatched.get(leg.event_id))


def _sale(
    book: _Book, trade: FileTrade, quantity: Decimal, matches: Sequence[Match], unmatched: UnmatchedDisposal | None
) -> _Sale:
    line: Sell = {
        "id": trade.id,
        "instrument": trade.instrument,
        "time": time_text(trade.time),
        "quantity": decimal_text(quantity),
        "proceeds": decimal_text(sum((match.proceeds for match in matches), ZERO)),
        "cost_basis": decimal_text(sum((match.cost_basis for match in matches), ZERO)),
        "realized_pnl": decimal_text(sum((match.realized_pnl for match in matches), ZERO)),
        "matches": [_match_line(book, match) for match in matches],
    }
    if unmatched is None:
        return _Sale((trade.time, trade.number), line, None)
    line["unmatched_quantity"] = decimal_text(unmatched.quantity)
    line["unmatched_proceeds"] = decimal_text(unmatched.proceeds)
    return _Sale((trade.time, trade.number), line, _oversold(trade, quantity, unmatched.quantity))


def _match_line(book: _Book, match: Match) -> MatchLine:
    return {
        "lot_id": book.trades[match.opening_event_id].id,
        "quantity": decimal_text(match.quantity),
        "proceeds": decimal_text(match.proceeds),
        "cost_basis": decimal_text(match.cost_basis),
        "realized_pnl": decimal_text(match.realized_pnl),
    }


def _oversold(trade: FileTrade, quantity: Decimal, unmatched: Decimal) -> FileError:
    asset = trade.event.instrument.base
    sold, held, rest = (decimal_text(value) for value in (quantity, quantity - unmatched, unmatched))
    sentence = f"sold {sold} {asset} when {held} was held: {rest} is unmatched and kept out of realized_pnl"
    return {"id": trade.id, "instrument": trade.instrument, "error": sentence}


def _open_lots(book: _Book) -> Iterator[_Rest]:
    for lot in book.rows.where(Lot):
        trade = book.trades[lot.event_id]
        line: OpenLot = {
            "lot_id": trade.id,
            "instrument": trade.instrument,
            "quantity": decimal_text(lot.open_quantity),
            "cost_basis": decimal_text(lot.open_cost),
        }
        yield _Rest((trade.time, trade.number), line)


def _totals(book: _Book) -> Totals:
    holding = next(book.rows.where(Holding))
    open_quantity = sum((lot.open_quantity for lot in book.rows.where(Lot)), ZERO)
    return {
        "realized_pnl": decimal_text(holding.realized_pnl),
        "open_quantity": decimal_text(open_quantity),
        "open_cost_basis": decimal_text(holding.cost_basis),
        "fees": decimal_text(holding.fees),
    }
