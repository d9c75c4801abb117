"""Lots report: sales, matches and open lots of a portfolio or of a file of trades, by the ledger's own fold."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Final, TypeVar
from uuid import UUID

from ledger.booking.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.events import PortfolioOpened
from ledger.imports.trade_file import FileError, FileTrade, TradeFile
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding, HoldingsProjection
from ledger.projections.portfolio import PortfolioProjection, base_currency_of
from ledger.reports.lot_methods import (
    SECONDARY,
    BadChoice,
    Choices,
    ChosenLot,
    Matched,
    Method,
    Term,
    acquisition_known,
    matched_by,
    opening_lots,
    term_of,
    too_much,
)
from ledger.reports.trade_names import trade_names
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text, derived_id

ACTOR: Final = "file"
SALES: Final = ("trade", "fee", "expense")
"""Kinds of disposals with proceeds; withdrawals are at cost."""
Names = Mapping[str, Sequence[tuple[str, Decimal]]]
"""Lots chosen for sales: lot ids and quantities by sale id."""
_Line = TypeVar("_Line")


@dataclass(frozen=True, slots=True)
class LotMatch:
    """The part of a sale covered by one lot.

    `cost_basis` and `realized_pnl` are None if the lot's cost is unknown. `term` is None without a holding period, and if
    the cost is unknown unless an opening lot states the time of acquisition.
    """

    lot_id: str
    quantity: Decimal
    proceeds: Decimal
    cost_basis: Decimal | None
    realized_pnl: Decimal | None
    term: Term | None = None


@dataclass(frozen=True, slots=True)
class LotSale:
    """A sale, or a purchase that closed short lots.

    `quantity` is the whole disposal (fees in the traded asset included), matched and unmatched. `proceeds`, `cost_basis`
    and `realized_pnl` cover the matched part with a known cost; the last two are None where no matched lot has one.
    `unknown_cost_*` and `unmatched_*` are None unless there is such a part. `kind` is the kind of disposal: `trade`, a
    `fee` in a third asset, or an `expense`.
    """

    id: str
    instrument: str
    time: datetime
    quantity: Decimal
    proceeds: Decimal
    cost_basis: Decimal | None
    realized_pnl: Decimal | None
    matches: tuple[LotMatch, ...]
    kind: str = "trade"
    unknown_cost_quantity: Decimal | None = None
    unknown_cost_proceeds: Decimal | None = None
    unmatched_quantity: Decimal | None = None
    unmatched_proceeds: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OpenLot:
    """The open part of a lot with its cost basis, None if unknown.

    Of a `short` lot, `quantity` is the units owed and `cost_basis` the proceeds of selling them.
    """

    lot_id: str
    instrument: str
    quantity: Decimal
    cost_basis: Decimal | None
    short: bool = False


@dataclass(frozen=True, slots=True)
class LotTotals:
    """Sums of one instrument. Disposals without a lot or a known cost only count in `fees`; short lots are negative.

    `open_cost_basis` covers open lots of known cost, None if there are only others; `unknown_cost_quantity` is the quantity
    of the others, None without any.
    """

    realized_pnl: Decimal
    open_quantity: Decimal
    open_cost_basis: Decimal | None
    fees: Decimal
    unknown_cost_quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LotsReport:
    """Sales and open lots in order of time, totals by instrument. Money is in the quote currency of the instrument."""

    method: Method
    holding_period: int | None
    sells: tuple[LotSale, ...]
    open_lots: tuple[OpenLot, ...]
    totals: Mapping[str, LotTotals]
    errors: tuple[FileError, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Options of a report: method, lots chosen for sales, and holding period in days for terms."""

    method: Method = Method.FIFO
    names: Names | None = None
    holding_period: int | None = None


def lots_report(trade_file: TradeFile, view: View | None = None) -> LotsReport:
    """Return the lots of a file, each instrument separately; FIFO by default. Raises BadChoice.

    Sales and lots are in order of time; `errors` are those of the file, then one per oversold sale.
    """
    view = view or View()
    ids = {trade.fill.id: derived_id("lots", trade.instrument, trade.fill.id) for trade in trade_file.trades}
    choices = _choices(view.names or {}, ids)
    try:
        books = [_book_of(text, trades, view, choices) for text, trades in _by_instrument(trade_file.trades).items()]
    except BadChoice as bad:
        raise bad.renamed({event_id: repr(name) for name, event_id in ids.items()}) from None
    return _report(books, view, trade_file.errors)


def portfolio_lots_report(rows: Rows, view: View | None = None, product_id: str | None = None) -> LotsReport:
    """Return the lots of a portfolio by product id (one, if given), in base currency. Raises BadChoice.

    Trades are listed by their venue's id if it is unique, other events by event id; lots may be chosen by either.
    """
    view = view or View()
    currency = base_currency_of(rows)
    assets = [one.asset for one in rows.where(Holding) if product_id in (None, f"{one.asset}-{currency}")]
    legs = {asset: tuple(rows.history(Leg, asset)) for asset in assets}
    venue_ids = trade_names(rows)
    names = {one: venue_ids.get(one, str(one)) for asset in assets for one in (leg.event_id for leg in legs[asset])}
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
    """The name of an event in the report, and its place among simultaneous ones."""

    id: str
    number: int


@dataclass(frozen=True, slots=True)
class _Book:
    """One instrument: its legs in order, matches, and the names of its events."""

    instrument: str
    asset: str
    legs: tuple[Leg, ...]
    matched: Matched
    named: Mapping[UUID, _Named]
    opening: Container[tuple[int, int]]


_Order = tuple[datetime, int]


def _report(books: Sequence[_Book], view: View, errors: Iterable[FileError]) -> LotsReport:
    sells = _in_order(sale for book in books for sale in _sells(book, view))
    assets = {book.instrument: book.asset for book in books}
    oversold = [
        _oversold(sale, assets[sale.instrument], unmatched)
        for sale in sells
        if (unmatched := sale.unmatched_quantity) is not None
    ]
    return LotsReport(
        method=view.method,
        holding_period=view.holding_period,
        sells=sells,
        open_lots=_in_order(lot for book in books for lot in _open_lots(book)),
        totals={book.instrument: _totals(book) for book in books},
        errors=(*errors, *oversold),
    )


def _in_order(found: Iterable[tuple[_Order, _Line]]) -> tuple[_Line, ...]:
    return tuple(line for _, line in sorted(found, key=itemgetter(0)))


def _choices(names: Names, ids: Mapping[str, UUID]) -> Choices:
    """Convert names to event ids. Raises BadChoice for unknown names."""
    unknown = next((name for sale, lots in names.items() for name in (sale, *dict(lots)) if name not in ids), None)
    if unknown is not None:
        quoted = repr(unknown).replace("{", "{{").replace("}", "}}")
        raise BadChoice(f"no trade {quoted}, chosen as a sale or a lot")
    return {ids[sale]: tuple(ChosenLot(ids[lot], quantity) for lot, quantity in lots) for sale, lots in names.items()}


def _choices_by_asset(choices: Choices, legs: Mapping[str, Sequence[Leg]]) -> Mapping[str, Choices]:
    """Group the choices by asset: a disposal is covered by lots of the same asset.

    A lot of an asset that the event did not dispose of is assigned to the first asset that it did, where it is refused.
    Raises BadChoice.
    """
    disposed: dict[UUID, list[str]] = defaultdict(list)
    moved: dict[UUID, set[str]] = defaultdict(set)
    for asset, leg in ((asset, leg) for asset, some in legs.items() for leg in some if leg.kind not in SECONDARY):
        moved[leg.event_id].add(asset)
        if leg.quantity < 0:
            disposed[leg.event_id].append(asset)
    found: dict[str, dict[UUID, list[ChosenLot]]] = defaultdict(lambda: defaultdict(list))
    for event_id, lots in choices.items():
        if lots and event_id not in disposed:
            raise too_much(event_id)
        for lot in lots:
            assets = [asset for asset in disposed[event_id] if asset in moved[lot.event_id]] or disposed[event_id]
            found[assets[0]][event_id].append(lot)
    return found


def _by_instrument(trades: Sequence[FileTrade]) -> dict[str, list[FileTrade]]:
    groups: dict[str, list[FileTrade]] = defaultdict(list)
    for trade in trades:
        groups[trade.instrument].append(trade)
    return groups


def _book_of(instrument: str, trades: Sequence[FileTrade], view: View, choices: Choices) -> _Book:
    """Fold an instrument's trades in a portfolio of its own, in its quote currency."""
    book = MemoryBook(lambda: trades[-1].fill.time, projections=(PortfolioProjection(), HoldingsProjection()))
    portfolio_id = derived_id("lots", instrument)
    pair = trades[0].event.instrument
    opened = PortfolioOpened(name=instrument, base_currency=pair.quote)
    ids = {derived_id("lots", instrument, trade.fill.id): trade for trade in trades}
    first = NewEvent(opened, portfolio_id, trades[0].fill.time, ACTOR, portfolio_id)
    rest = (NewEvent(one.event, event_id, one.fill.time, ACTOR, event_id) for event_id, one in ids.items())
    book.record(portfolio_id, [first, *rest])
    with book.reading(portfolio_id) as reading:
        assert reading.stopped is None, f"{instrument}: {reading.stopped}"
        matched = matched_by(reading.rows, pair.base, view.method, choices)
        named = {event_id: _Named(trade.fill.id, trade.number) for event_id, trade in ids.items()}
        return _Book(instrument, pair.base, tuple(reading.rows.history(Leg, pair.base)), matched, named, ())


def _sells(book: _Book, view: View) -> Iterator[tuple[_Order, LotSale]]:
    matches: dict[tuple[int, int], list[Match]] = defaultdict(list)
    for match in book.matched.matches:
        matches[match.closing_position, match.closing_leg].append(match)
    unmatched = {(one.position, one.leg): one for one in book.matched.unmatched}
    for leg in book.legs:
        place = (leg.position, leg.leg)
        sold = leg.quantity < 0 and leg.kind in SALES
        if sold or (place in matches and leg.kind != "withdrawal"):
            order = (leg.occurred_at, book.named[leg.event_id].number)
            yield order, _sale(book, view, leg, matches[place], unmatched.get(place))


def _sale(book: _Book, view: View, leg: Leg, matches: Sequence[Match], unmatched: UnmatchedDisposal | None) -> LotSale:
    sold = abs(leg.quantity)
    known = [match for match in matches if match.cost_known]
    unknown = [match for match in matches if not match.cost_known]
    nothing_known = unknown and not known
    return LotSale(
        id=book.named[leg.event_id].id,
        instrument=book.instrument,
        time=leg.occurred_at,
        quantity=sold,
        proceeds=_sum(match.proceeds for match in known),
        cost_basis=None if nothing_known else _sum(match.cost_basis for match in known),
        realized_pnl=None if nothing_known else _sum(match.realized_pnl for match in known),
        matches=tuple(_match(book, view, match) for match in matches),
        kind=leg.kind,
        unknown_cost_quantity=_sum(match.quantity for match in unknown) if unknown else None,
        unknown_cost_proceeds=_sum(match.proceeds for match in unknown) if unknown else None,
        # Not the quantity of the row, which counts units after later splits.
        unmatched_quantity=sold - _sum(match.quantity for match in matches) if unmatched else None,
        unmatched_proceeds=unmatched.proceeds if unmatched else None,
    )


def _match(book: _Book, view: View, match: Match) -> LotMatch:
    period = view.holding_period
    return LotMatch(
        lot_id=book.named[match.opening_event_id].id,
        quantity=match.quantity,
        proceeds=match.proceeds,
        cost_basis=match.cost_basis if match.cost_known else None,
        realized_pnl=match.realized_pnl if match.cost_known else None,
        term=term_of(match, period) if period is not None and acquisition_known(match, book.opening) else None,
    )


def _oversold(sale: LotSale, asset: str, unmatched: Decimal) -> FileError:
    sold, held, rest = (decimal_text(value) for value in (sale.quantity, sale.quantity - unmatched, unmatched))
    sentence = f"sold {sold} {asset} with {held} held: {rest} unmatched, excluded from realised P&L"
    return {"id": sale.id, "instrument": sale.instrument, "error": sentence}


def _open_lots(book: _Book) -> Iterator[tuple[_Order, OpenLot]]:
    for lot in book.matched.open_lots:
        named, cost = book.named[lot.event_id], lot.open_cost if lot.cost_known else None
        yield (lot.opened_at, named.number), OpenLot(named.id, book.instrument, lot.open_quantity, cost, lot.short)


def _totals(book: _Book) -> LotTotals:
    lots = book.matched.open_lots
    known = [lot for lot in lots if lot.cost_known]
    unknown = [lot for lot in lots if not lot.cost_known]
    return LotTotals(
        realized_pnl=_sum(match.realized_pnl for match in book.matched.matches),
        open_quantity=_sum(_signed(lot, lot.open_quantity) for lot in lots),
        open_cost_basis=_sum(_signed(lot, lot.open_cost) for lot in known) if known or not lots else None,
        fees=_sum(leg.fee for leg in book.legs),
        unknown_cost_quantity=_sum(_signed(lot, lot.open_quantity) for lot in unknown) if unknown else None,
    )


def _signed(lot: Lot, value: Decimal) -> Decimal:
    return -value if lot.short else value


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
