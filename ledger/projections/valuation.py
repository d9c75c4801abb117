"""Marks (the last recorded prices) and the valuation of holdings at them. A holding without a mark has no value, not 0."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from ledger.booking.lots import Split
from ledger.events import Event, MarkRecorded
from ledger.log.envelope import Envelope
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance, base_currency_of, cash_of
from ledger.rows import Change, Row, Rows
from ledger.values import ZERO, floor18, round18


@dataclass(frozen=True, slots=True)
class Mark(Row):
    """`price` of `instrument` in its quote currency, seen at `observed_at` by `source`."""

    table: ClassVar[str] = "marks"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    price: Decimal
    observed_at: datetime
    source: str


class MarksProjection:
    name = "marks"
    version = 1
    events: tuple[type[Event], ...] = (MarkRecorded,)
    rows: tuple[type[Row], ...] = (Mark,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        mark = envelope.event
        if not isinstance(mark, MarkRecorded):
            return []
        known = rows.get(Mark, str(mark.instrument))
        if known is not None and known.observed_at > envelope.occurred_at:
            return []
        return [Mark(str(mark.instrument), mark.price, envelope.occurred_at, mark.source)]


@dataclass(frozen=True, slots=True)
class DayClosing(Row):
    """The last mark of `instrument` on a UTC day before that of its newest mark; 24:00 belongs to the day it ends."""

    table: ClassVar[str] = "day_closings"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    price: Decimal
    observed_at: datetime


class RiskProjection:
    name = "risk"
    version = 1
    events: tuple[type[Event], ...] = (MarkRecorded,)
    rows: tuple[type[Row], ...] = (DayClosing,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        mark, at = envelope.event, envelope.occurred_at
        assert isinstance(mark, MarkRecorded)
        instrument = str(mark.instrument)
        newest, closing = rows.get(Mark, instrument), rows.get(DayClosing, instrument)
        if newest is None:
            return []
        if day_of(at) > day_of(newest.observed_at):
            return [DayClosing(instrument, newest.price, newest.observed_at)]
        late = day_of(at) < day_of(newest.observed_at)
        if late and (closing is None or at >= closing.observed_at):
            return [DayClosing(instrument, mark.price, at)]
        return []


def day_of(at: datetime) -> datetime:
    """Return 00:00 of the UTC day of `at`; 24:00 is the last moment of a day."""
    return (at - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def price_before(rows: Rows, instrument: str, day: datetime) -> Decimal | None:
    """Return the last price up to `day`, 00:00 of the newest day; None when unknown."""
    newest, closing = rows.get(Mark, instrument), rows.get(DayClosing, instrument)
    if newest is not None and newest.observed_at <= day:
        return newest.price
    return None if closing is None else closing.price


# --- valuation ---


@dataclass(frozen=True, slots=True)
class PositionValuation:
    """One position in base currency. `price` and all that depends on it are None without a mark.

    `average_cost` is per open unit, rounded down at 18 places, None without open lots. `cost_basis`, `average_cost` and
    unrealised P&L are None when part of the position has unknown cost. `current_value` is that of the open lots:
    `unmatched_quantity`, disposed of without a lot, is not owed. A price from before a split is converted to new units.
    """

    product_id: str
    quantity: Decimal
    cost_basis: Decimal | None
    average_cost: Decimal | None
    realized_pnl: Decimal
    unmatched_quantity: Decimal
    unmatched_proceeds: Decimal
    unknown_cost_quantity: Decimal
    unknown_cost_proceeds: Decimal
    price: Decimal | None
    price_at: datetime | None
    price_source: str | None
    current_value: Decimal | None
    unrealized_pnl: Decimal | None
    unrealized_pnl_pct: Decimal | None


@dataclass(frozen=True, slots=True)
class PortfolioValuation:
    """A portfolio in base currency. `expenses` are fees outside trades.

    `total_value` is None while an open position has no price, `unrealized_pnl` also while one has no cost.
    """

    base_currency: str
    cash: Decimal
    positions: tuple[PositionValuation, ...]
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    total_value: Decimal | None
    fees: Decimal
    income: Decimal
    expenses: Decimal


def value_portfolio(rows: Rows) -> PortfolioValuation:
    """Value the portfolio at the marks in its rows."""
    base_currency = base_currency_of(rows)
    holdings = list(rows.where(Holding))
    positions = tuple(value_holding(rows, holding, base_currency) for holding in holdings)
    cash = cash_of(rows, base_currency)
    sources: list[Holding | Balance] = [*holdings, *rows.where(Balance, base_currency)]
    values = [one.current_value for one in positions]
    gains = [one.unrealized_pnl for one in positions]
    return PortfolioValuation(
        base_currency=base_currency,
        cash=cash,
        positions=positions,
        realized_pnl=sum((holding.realized_pnl for holding in holdings), ZERO),
        unrealized_pnl=_sum_known(gains),
        total_value=None if (invested := _sum_known(values)) is None else cash + invested,
        fees=sum((holding.fees for holding in holdings), ZERO),
        income=sum((one.income for one in sources), ZERO),
        expenses=sum((one.expenses for one in sources), ZERO),
    )


def value_holding(rows: Rows, holding: Holding, base_currency: str) -> PositionValuation:
    """Value one holding at its last mark."""
    product_id = f"{holding.asset}-{base_currency}"
    mark = rows.get(Mark, product_id)
    price = None if mark is None else price_today(mark, rows.history(Split, holding.asset))
    open_quantity = holding.quantity + holding.unmatched_quantity
    value = _value(open_quantity, price)
    cost = None if holding.unknown_cost_quantity else holding.cost_basis
    gain = None if value is None or cost is None else value - cost
    return PositionValuation(
        product_id=product_id,
        quantity=holding.quantity,
        cost_basis=cost,
        average_cost=floor18(cost / open_quantity) if cost is not None and open_quantity else None,
        realized_pnl=holding.realized_pnl,
        unmatched_quantity=holding.unmatched_quantity,
        unmatched_proceeds=holding.unmatched_proceeds,
        unknown_cost_quantity=holding.unknown_cost_quantity,
        unknown_cost_proceeds=holding.unknown_cost_proceeds,
        price=price,
        price_at=mark.observed_at if mark else None,
        price_source=mark.source if mark else None,
        current_value=value,
        unrealized_pnl=gain,
        unrealized_pnl_pct=round18(gain * 100 / abs(cost)) if gain is not None and cost else None,
    )


def price_today(mark: Mark, splits: Iterable[Split]) -> Decimal:
    """Return the mark's price in units after the splits since; a split at the mark's own time is already in it."""
    price = mark.price
    for split in splits:
        if split.occurred_at > mark.observed_at:
            price = round18(price * split.denominator / split.numerator)
    return price


def _value(quantity: Decimal, price: Decimal | None) -> Decimal | None:
    if price is not None:
        return round18(quantity * price)
    return None if quantity else ZERO


def _sum_known(values: list[Decimal | None]) -> Decimal | None:
    """Return the sum, or None when a value is unknown."""
    known = [value for value in values if value is not None]
    return sum(known, ZERO) if len(known) == len(values) else None
