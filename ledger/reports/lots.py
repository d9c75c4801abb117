"""Lots and gains as one report, of a portfolio or of a file of trades: the ledger's own fold, of a file without a database."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NotRequired, TypedDict
from uuid import UUID

from ledger.booking.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.events import PortfolioOpened
from ledger.imports.csv_trades import FileTrade
from ledger.imports.files import FileError, TradeFile
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding, HoldingsProjection
from ledger.projections.portfolio import PortfolioProjection, base_currency_of
from ledger.reports.lot_methods import (
    BESIDE,
    BadChoice,
    Choices,
    Matched,
    Method,
    NamedLot,
    Term,
    acquisition_known,
    matched_by,
    opening_lots,
    term_of,
    too_much,
)
from ledger.reports.trade_names import trade_names
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text, derived_id, time_text

ACTOR: Final = "file"
GIVEN: Final = ("trade", "fee", "expense")
"""The kinds of disposal that bring something; a withdrawal leaves at its cost."""
UNKNOWN: Final = "unknown"
Names = Mapping[str, Sequence[tuple[str, Decimal]]]
"""The lots that are to cover a sale: the sale's id, and ids of lots with quantities."""


class MatchLine(TypedDict):
    """The part of a sale that one lot covered.

    `cost_basis` and `realized_pnl` are "unknown" where the lot's cost is, and with it `term` unless an opening lot
    states when it was acquired.
    """

    lot_id: str
    quantity: str
    proceeds: str
    cost_basis: str
    realized_pnl: str
    term: NotRequired[Term | Literal["unknown"]]


class Sell(TypedDict):
    """A sale. `quantity` is all that was given (fees in the traded asset with it), matched and unmatched.

    `proceeds`, `cost_basis` and `realized_pnl` are of the matched part whose cost is known; `unmatched_*` and
    `unknown_cost_*` appear with such parts, and where all of it is at an unknown cost, `cost_basis` and `realized_pnl`
    are "unknown". A purchase that closes short lots stands here too. `kind` is why it went
    out, where that was no trade: a fee in a third asset, or an expense.
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
    unknown_cost_quantity: NotRequired[str]
    unknown_cost_proceeds: NotRequired[str]
    kind: NotRequired[str]


class OpenLot(TypedDict):
    """What is left of an acquisition; `cost_basis` is of that rest, or "unknown".

    Of a `short` lot, `quantity` is what is owed and `cost_basis` what selling it brought.
    """

    lot_id: str
    instrument: str
    quantity: str
    cost_basis: str
    short: NotRequired[bool]


class Totals(TypedDict):
    """The sums of one instrument; disposals without a lot or a known cost are in none of them but the fees.

    What is owed counts below 0. `open_cost_basis` is of the open lots whose cost is known, "unknown" where it is of none
    of them; `unknown_cost_quantity` is that of the others, and there with them alone.
    """

    realized_pnl: str
    open_quantity: str
    open_cost_basis: str
    fees: str
    unknown_cost_quantity: NotRequired[str]


class LotsReport(TypedDict):
    """All figures are plain decimals as text, money in the quote currency of the instrument."""

    method: str
    sells: list[Sell]
    open_lots: list[OpenLot]
    totals: dict[str, Totals]
    errors: list[FileError]


@dataclass(frozen=True, slots=True)
class View:
    """How the lots are looked at: by a method, with lots named for sales, and a holding period in days for terms."""

    method: Method = Method.FIFO
    names: Names | None = None
    holding_period: int | None = None


def lots_report(trade_file: TradeFile, view: View | None = None) -> LotsReport:
    """The lots of a file, each instrument text on its own; without a view first in, first out. Raises BadChoice.

    Sales and lots stand in order of time; `errors` are those of the file, then one for each sale of more than was held.
    """
    view = view or View()
    ids = {trade.id: derived_id("lots", trade.instrument, trade.id) for trade in trade_file.trades}
    choices = _choices(view.names or {}, ids)
    try:
        books = [_book_of(text, trades, view, choices) for text, trades in _by_instrument(trade_file.trades).items()]
    except BadChoice as bad:
        raise bad.renamed({event_id: repr(name) for name, event_id in ids.items()}) from None
    return _report(books, view, trade_file.errors)


def portfolio_lots_report(rows: Rows, view: View | None = None, product_id: str | None = None) -> LotsReport:
    """The lots of a portfolio by product id (of one, if named), in base currency. Raises BadChoice.

    A trade is called by its venue's id where no other trade has the same, everything else by the id of its event; lots
    may be named by either.
    """
    view = view or View()
    currency = base_currency_of(rows)
    assets = [one.asset for one in rows.where(Holding) if product_id in (None, f"{one.asset}-{currency}")]
    legs = {asset: tuple(rows.history(Leg, asset)) for asset in assets}
    called = trade_names(rows)
    names = {one: called.get(one, str(one)) for asset in assets for one in (leg.event_id for leg in legs[asset])}
    ids = {str(one): one for one in names} | {name: one for one, name in names.items()}
    try:
        choices = _choices_by_asset(_choices(view.names or {}, ids), legs)
        matched = {asset: matched_by(rows, asset, view.method, choices.get(asset)) for asset in assets}
    except BadChoice as bad:
        raise bad.renamed({event_id: repr(name) for event_id, name in names.items()}) from None
    books = [
        _Book(
            f"{asset}-{currency}",
            asset,
            legs[asset],
            matched[asset],
            {leg.event_id: _Named(names[leg.event_id], leg.position) for leg in legs[asset]},
            opening_lots(legs[asset]),
        )
        for asset in assets
    ]
    return _report(books, view, ())


@dataclass(frozen=True, slots=True)
class _Named:
    """What an event is called in the report, and where it stands among those of its time."""

    id: str
    number: int


@dataclass(frozen=True, slots=True)
class _Book:
    """One instrument: its legs in order, what was matched, and the names of its events."""

    instrument: str
    asset: str
    legs: tuple[Leg, ...]
    matched: Matched
    named: Mapping[UUID, _Named]
    opening: Container[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Sale:
    order: tuple[datetime, int]
    line: Sell
    error: FileError | None


@dataclass(frozen=True, slots=True)
class _Rest:
    order: tuple[datetime, int]
    line: OpenLot


def _report(books: Sequence[_Book], view: View, errors: Iterable[FileError]) -> LotsReport:
    sells = sorted((sale for book in books for sale in _sells(book, view)), key=lambda sale: sale.order)
    open_lots = sorted((lot for book in books for lot in _open_lots(book)), key=lambda lot: lot.order)
    return {
        "method": view.method.value,
        "sells": [sale.line for sale in sells],
        "open_lots": [lot.line for lot in open_lots],
        "totals": {book.instrument: _totals(book) for book in books},
        "errors": [*errors, *(sale.error for sale in sells if sale.error)],
    }


def _choices(names: Names, ids: Mapping[str, UUID]) -> Choices:
    """The names as events. Raises BadChoice for one that is none."""
    unknown = next((name for sale, lots in names.items() for name in (sale, *dict(lots)) if name not in ids), None)
    if unknown is not None:
        quoted = repr(unknown).replace("{", "{{").replace("}", "}}")
        raise BadChoice(f"{quoted} was named as a sale or a lot, but there is no such trade")
    return {ids[sale]: tuple(NamedLot(ids[lot], quantity) for lot, quantity in lots) for sale, lots in names.items()}


def _choices_by_asset(choices: Choices, legs: Mapping[str, Sequence[Leg]]) -> Mapping[str, Choices]:
    """The choices of each asset: what an event disposed of there is covered by the lots that are of this asset.

    A lot of an asset that the event did not dispose of is left to the first of those that it did, where it is none.
    Raises BadChoice.
    """
    gave: dict[UUID, list[str]] = defaultdict(list)
    moved: dict[UUID, set[str]] = defaultdict(set)
    for asset, leg in ((asset, leg) for asset, some in legs.items() for leg in some if leg.kind not in BESIDE):
        moved[leg.event_id].add(asset)
        if leg.quantity < 0:
            gave[leg.event_id].append(asset)
    found: dict[str, dict[UUID, list[NamedLot]]] = defaultdict(lambda: defaultdict(list))
    for event_id, lots in choices.items():
        if lots and event_id not in gave:
            raise too_much(event_id)
        for lot in lots:
            assets = [asset for asset in gave[event_id] if asset in moved[lot.event_id]] or gave[event_id]
            found[assets[0]][event_id].append(lot)
    return found


def _by_instrument(trades: Sequence[FileTrade]) -> dict[str, list[FileTrade]]:
    groups: dict[str, list[FileTrade]] = defaultdict(list)
    for trade in trades:
        groups[trade.instrument].append(trade)
    return groups


def _book_of(instrument: str, trades: Sequence[FileTrade], view: View, choices: Choices) -> _Book:
    """The instrument's own portfolio, kept in its quote currency."""
    book = MemoryBook(lambda: trades[-1].time, projections=(PortfolioProjection(), HoldingsProjection()))
    portfolio_id = derived_id("lots", instrument)
    pair = trades[0].event.instrument
    opened = PortfolioOpened(name=instrument, base_currency=pair.quote)
    events = {derived_id("lots", instrument, trade.id): trade for trade in trades}
    first = NewEvent(opened, portfolio_id, trades[0].time, ACTOR, portfolio_id)
    book.record(portfolio_id, [first, *(trade.new_event(event_id, ACTOR) for event_id, trade in events.items())])
    with book.reading(portfolio_id) as reading:
        assert reading.stopped is None, f"{instrument}: {reading.stopped}"
        matched = matched_by(reading.rows, pair.base, view.method, choices)
        named = {event_id: _Named(trade.id, trade.number) for event_id, trade in events.items()}
        return _Book(instrument, pair.base, tuple(reading.rows.history(Leg, pair.base)), matched, named, ())


def _sells(book: _Book, view: View) -> Iterator[_Sale]:
    matches: dict[tuple[int, int], list[Match]] = defaultdict(list)
    for match in book.matched.matches:
        matches[match.closing_position, match.closing_leg].append(match)
    unmatched = {(one.position, one.leg): one for one in book.matched.unmatched}
    for leg in book.legs:
        place = (leg.position, leg.leg)
        sold = leg.quantity < 0 and leg.kind in GIVEN
        if sold or (place in matches and leg.kind != "withdrawal"):
            yield _sale(book, view, leg, matches[place], unmatched.get(place))


def _sale(book: _Book, view: View, leg: Leg, matches: Sequence[Match], unmatched: UnmatchedDisposal | None) -> _Sale:
    named, sold = book.named[leg.event_id], abs(leg.quantity)
    known = [match for match in matches if match.cost_known]
    none_known = bool(matches) and not known
    line: Sell = {
        "id": named.id,
        "instrument": book.instrument,
        "time": time_text(leg.occurred_at),
        "quantity": decimal_text(sold),
        "proceeds": decimal_text(sum((match.proceeds for match in known), ZERO)),
        "cost_basis": UNKNOWN if none_known else decimal_text(sum((match.cost_basis for match in known), ZERO)),
        "realized_pnl": UNKNOWN if none_known else decimal_text(sum((match.realized_pnl for match in known), ZERO)),
        "matches": [_match_line(book, view, match) for match in matches],
    }
    if leg.kind != "trade":
        line["kind"] = leg.kind
    if len(known) < len(matches):
        unknown = [match for match in matches if not match.cost_known]
        line["unknown_cost_quantity"] = decimal_text(sum((match.quantity for match in unknown), ZERO))
        line["unknown_cost_proceeds"] = decimal_text(sum((match.proceeds for match in unknown), ZERO))
    if unmatched is None:
        return _Sale((leg.occurred_at, named.number), line, None)
    # Not the row's own quantity, which later splits have changed.
    missing = sold - sum((match.quantity for match in matches), ZERO)
    line["unmatched_quantity"] = decimal_text(missing)
    line["unmatched_proceeds"] = decimal_text(unmatched.proceeds)
    return _Sale((leg.occurred_at, named.number), line, _oversold(book, named.id, sold, missing))


def _match_line(book: _Book, view: View, match: Match) -> MatchLine:
    line: MatchLine = {
        "lot_id": book.named[match.opening_event_id].id,
        "quantity": decimal_text(match.quantity),
        "proceeds": decimal_text(match.proceeds),
        "cost_basis": decimal_text(match.cost_basis) if match.cost_known else UNKNOWN,
        "realized_pnl": decimal_text(match.realized_pnl) if match.cost_known else UNKNOWN,
    }
    if view.holding_period is not None:
        known = acquisition_known(match, book.opening)
        line["term"] = term_of(match, view.holding_period) if known else "unknown"
    return line


def _oversold(book: _Book, sale_id: str, quantity: Decimal, unmatched: Decimal) -> FileError:
    sold, held, rest = (decimal_text(value) for value in (quantity, quantity - unmatched, unmatched))
    sentence = f"sold {sold} {book.asset} when {held} was held: {rest} is unmatched and kept out of realised P&L"
    return {"id": sale_id, "instrument": book.instrument, "error": sentence}


def _open_lots(book: _Book) -> Iterator[_Rest]:
    for lot in book.matched.open_lots:
        named = book.named[lot.event_id]
        line: OpenLot = {
            "lot_id": named.id,
            "instrument": book.instrument,
            "quantity": decimal_text(lot.open_quantity),
            "cost_basis": decimal_text(lot.open_cost) if lot.cost_known else UNKNOWN,
        }
        if lot.short:
            line["short"] = True
        yield _Rest((lot.opened_at, named.number), line)


def _signed(lot: Lot, value: Decimal) -> Decimal:
    return -value if lot.short else value


def _totals(book: _Book) -> Totals:
    lots = book.matched.open_lots
    known = [lot for lot in lots if lot.cost_known]
    cost = decimal_text(sum((_signed(lot, lot.open_cost) for lot in known), ZERO))
    totals: Totals = {
        "realized_pnl": decimal_text(sum((match.realized_pnl for match in book.matched.matches), ZERO)),
        "open_quantity": decimal_text(sum((_signed(lot, lot.open_quantity) for lot in lots), ZERO)),
        "open_cost_basis": cost if known or not lots else UNKNOWN,
        "fees": decimal_text(sum((leg.fee for leg in book.legs), ZERO)),
    }
    if len(known) < len(lots):
        unknown = sum((_signed(lot, lot.open_quantity) for lot in lots if not lot.cost_known), ZERO)
        totals["unknown_cost_quantity"] = decimal_text(unknown)
    return totals
