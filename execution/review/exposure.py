"""How the portfolio stands: what it is worth, and what has lately come of its trades. Read once for each verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Final
from uuid import UUID

from execution.review.state import DecisionState
from ledger.booking.lots import Leg, Match, Split
from ledger.projections.orders import OrderView
from ledger.projections.valuation import PortfolioValuation, PositionValuation, price_before, value_portfolio
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, round18

LOOKS_BACK: Final = timedelta(days=7)
"""Drawdown, habits and baselines are told from so much of the past."""

TRADED: Final = ("trade", "fee")
"""The kinds of leg that were paid for, or brought something."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What one disposal gained in all; lots of unknown cost are left out."""

    event_id: UUID
    closed_at: datetime
    gain: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """Values in base currency, times in order. `today` is 00:00 UTC of the day at which we decide.

    `legs`, `matches` and `closings` are those of trades since `LOOKS_BACK` before it. `gain_today` is what the portfolio
    gained since `today`, open positions at marks, those of before from the price that the day before ended with.
    """

    today: datetime
    worth: PortfolioValuation
    gain_today: Decimal
    legs: tuple[Leg, ...]
    matches: tuple[Match, ...]
    closings: tuple[Closing, ...]

    @property
    def total(self) -> Decimal:
        """Cash and positions; one without a price counts at what it cost."""
        return self.worth.cash + sum((_value(one) for one in self.worth.positions), ZERO)

    def held(self, instrument: Instrument) -> Decimal:
        """What the position in the instrument is worth."""
        return sum((_value(one) for one in self.worth.positions if one.product_id == str(instrument)), ZERO)

    @property
    def invested(self) -> Decimal:
        """What all positions are worth."""
        return self.total - self.worth.cash

    @property
    def closed_today(self) -> tuple[Closing, ...]:
        return tuple(one for one in self.closings if one.closed_at >= self.today)

    @property
    def traded_today(self) -> tuple[Leg, ...]:
        return tuple(one for one in self.legs if one.occurred_at >= self.today)


def standing_of(state: DecisionState) -> Standing:
    """How the portfolio stands at the state's time."""
    today = state.now.replace(hour=0, minute=0, second=0, microsecond=0)
    worth, legs, matches = value_portfolio(state.rows), list[Leg](), list[Match]()
    gain = ZERO
    for position in worth.positions:
        asset, start = position.product_id.removesuffix(f"-{worth.base_currency}"), today - LOOKS_BACK
        traded = [leg for leg in state.rows.since(Leg, asset, start) if leg.kind == "trade"]
        closed = [
            match for match in state.rows.since(Match, asset, start) if match.kind == "trade" and match.cost_known
        ]
        gain += _gain(state.rows, asset, position, today, closed)
        legs += traded
        matches += closed
    matches.sort(key=lambda one: (one.closed_at, one.closing_position, one.closing_leg))
    legs.sort(key=lambda one: (one.occurred_at, one.position, one.leg))
    return Standing(today, worth, gain, tuple(legs), tuple(matches), tuple(_closings(matches)))


def gained_since(rows: Rows, start: datetime, worth: PortfolioValuation) -> Decimal:
    """What closing positions has gained since `start`, whatever is open now; lots of unknown cost are left out."""
    assets = [one.product_id.removesuffix(f"-{worth.base_currency}") for one in worth.positions]
    return sum((match.realized_pnl for asset in assets for match in rows.since(Match, asset, start)), ZERO)


def pending_buys(state: DecisionState, instrument: Instrument | None = None) -> Decimal:
    """What open orders to buy may still spend, in this instrument or in all."""
    orders = state.open_orders(None if instrument is None else str(instrument))
    return sum((_still_to_spend(one, state) for one in orders if one.side == "buy"), ZERO)


def _still_to_spend(order: OrderView, state: DecisionState) -> Decimal:
    mark = state.mark(Instrument(order.instrument))
    price = order.limit_price or order.stop_price or (mark.price if mark else Decimal(1))
    size = order.quote_size if order.quote_size is not None else (order.base_size or ZERO) * price
    return max(size - order.filled_value, ZERO)


def _value(position: PositionValuation) -> Decimal:
    return position.current_value if position.current_value is not None else position.cost_basis or ZERO


def _gain(rows: Rows, asset: str, position: PositionValuation, today: datetime, closed: Iterable[Match]) -> Decimal:
    """What the position gained today: by marks, or where they cannot tell (none, a split) by what was closed.

    What came in or went out otherwise than by a trade gains nothing by itself.
    """
    price = position.price
    if price is None or any(rows.since(Split, asset, today)):
        return sum((match.realized_pnl for match in closed if match.closed_at >= today), ZERO)
    before = price_before(rows, position.product_id, today) or price
    held, gain = position.quantity + position.unmatched_quantity, ZERO
    for leg in rows.since(Leg, asset, today):
        worth = leg.value if leg.kind in TRADED else abs(leg.quantity) * price
        gain += -worth if leg.quantity > 0 else worth
        held -= leg.quantity
    now = (position.quantity + position.unmatched_quantity) * price
    return round18(gain + now - held * before)


def _closings(matches: list[Match]) -> list[Closing]:
    found = []
    for event_id, group in groupby(matches, key=lambda one: one.closing_event_id):
        parts = list(group)
        gain = sum((one.realized_pnl for one in parts), ZERO)
        found.append(Closing(event_id, parts[0].closed_at, gain, sum((one.proceeds for one in parts), ZERO)))
    return found


def streak(closings: Iterable[Closing], *, won: bool) -> list[Closing]:
    """The newest closings in a row that gained (or lost), newest first; one that did neither ends the row."""
    found: list[Closing] = []
    for one in reversed(list(closings)):
        if one.gain == 0 or (one.gain > 0) is not won:
            break
        found.append(one)
    return found
