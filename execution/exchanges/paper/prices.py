"""Prices, steps and rounding of the paper venue. Pure functions; every doubt goes against the order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Protocol

from execution.exchanges.exchange import OrderTicket
from ledger.values import Instrument, Side

LOT: Final = Decimal("0.00000001")
"""The step of quantities and of fees."""

_COARSEST_TICK: Final = Decimal("0.01")
_FINEST_TICK: Final = Decimal("0.0000000001")  # a lot times this is exact at the ledger's 18 places


class Bar(Protocol):
    """A closed candle: the fields needed for fills."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def opened_at(self) -> datetime: ...
    @property
    def closed_at(self) -> datetime: ...
    @property
    def open(self) -> Decimal: ...
    @property
    def high(self) -> Decimal: ...
    @property
    def low(self) -> Decimal: ...
    @property
    def volume(self) -> Decimal: ...


class TopOfBook(Protocol):
    """Best bid and ask at one time."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def bid(self) -> Decimal: ...
    @property
    def ask(self) -> Decimal: ...
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A possible fill at `price`, before impact. A taker pays the spread and moves the price."""

    price: Decimal
    taker: bool


def bar_offer(ticket: OrderTicket, bar: Bar, half_spread: Decimal, fresh: bool) -> Offer | None:
    """Return the candle's offer, or None.

    A market order takes the far side at the open. A limit order needs the price to go through it by a tick: one that
    was already through at the open of its first candle (`fresh`) takes the far side too; a resting one gets its own
    price, even if the candle opens at a better one.
    """
    far = worse(ticket.side, bar.open, half_spread)
    limit = ticket.limit_price
    if limit is None:
        return Offer(far, taker=True)
    if not _through(ticket.side, bar.low if ticket.side is Side.BUY else bar.high, limit):
        return None
    if fresh and within(ticket, far) == far:
        return Offer(far, taker=True)
    return Offer(limit, taker=False)


def stop_offer(ticket: OrderTicket, bar: Bar, half_spread: Decimal) -> Offer | None:
    """Return the offer of a candle that touches the stop price: the far side there, or at an open beyond it."""
    stop = ticket.stop_price
    assert stop is not None, "a stop order has a stop price"
    selling = ticket.side is Side.SELL
    if (bar.low > stop) if selling else (bar.high < stop):
        return None
    price = min(bar.open, stop) if selling else max(bar.open, stop)
    return Offer(worse(ticket.side, price, half_spread), taker=True)


def immediate_offer(ticket: OrderTicket, bar: Bar, half_spread: Decimal) -> Offer | None:
    """Return the offer to a limit order that may not rest: the far side at the open, if within its limit."""
    far = worse(ticket.side, bar.open, half_spread)
    return Offer(far, taker=True) if within(ticket, far) == far else None


def touched(ticket: OrderTicket, quote: TopOfBook) -> bool:
    """Return whether the quote is at the stop price or beyond."""
    stop = ticket.stop_price
    assert stop is not None, "a stop order has a stop price"
    return quote.bid <= stop if ticket.side is Side.SELL else quote.ask >= stop


def quote_offer(ticket: OrderTicket, quote: TopOfBook) -> Offer | None:
    """Return the far side of the book; for a limit order only if it is through the limit by a tick."""
    far = quote.ask if ticket.side is Side.BUY else quote.bid
    if ticket.limit_price is not None and not _through(ticket.side, far, ticket.limit_price):
        return None
    return Offer(worse(ticket.side, far, Decimal(0)), taker=True)


def within(ticket: OrderTicket, price: Decimal) -> Decimal:
    """Return `price`, or the limit if the price is worse."""
    if ticket.limit_price is None:
        return price
    return min(price, ticket.limit_price) if ticket.side is Side.BUY else max(price, ticket.limit_price)


def worse(side: Side, price: Decimal, by: Decimal) -> Decimal:
    """Move `price` against the order by the fraction `by`, rounded to the worse tick (for sales at least one tick)."""
    tick = tick_of(price)
    moved = price * (1 + by) if side is Side.BUY else price * (1 - by)
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    return max((moved / tick).to_integral_value(rounding) * tick, min(tick, price))


def tick_of(price: Decimal) -> Decimal:
    """Return the price step around `price`: a cent, or less where a cent exceeds a ten-thousandth of the price."""
    return min(_COARSEST_TICK, max(Decimal(1).scaleb(price.adjusted() - 5), _FINEST_TICK))


def in_lots(quantity: Decimal) -> Decimal:
    """Round down to whole lots."""
    return (quantity / LOT).to_integral_value(ROUND_FLOOR) * LOT


def round_up(amount: Decimal) -> Decimal:
    """Round up to whole lots, as fees are."""
    return (amount / LOT).to_integral_value(ROUND_CEILING) * LOT


def _through(side: Side, price: Decimal, limit: Decimal) -> bool:
    tick = tick_of(limit)
    return price <= limit - tick if side is Side.BUY else price >= limit + tick
