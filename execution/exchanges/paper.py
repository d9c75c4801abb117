"""The paper venue: simulated fills on real or simulated prices, as honest as candles allow.

A market order fills at the open of the first candle that opens at or after it became effective, on the far side of the
spread, worse by its own impact, and never beyond a share of the candle's volume: the rest waits for the next candle.
A limit order fills only when a later candle trades through its price by a tick. Fees are mandatory.
Its memory is the log: after a restart `restore` brings back the open orders the log knows, and nothing else exists.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Literal, Protocol

from execution.exchange import Accepted, Fill, FoundOrder, InstrumentRules, NotPlaced, OrderTicket, Refused, Unknown
from ledger.events import Fee
from ledger.values import ZERO, Instrument, Side

Balances = Callable[[str, str], Decimal]
"""(account, asset) → what the ledger holds there."""


class Bar(Protocol):
    """A closed candle, as far as fills are concerned."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def opened_at(self) -> datetime: ...
    @property
    def open(self) -> Decimal: ...
    @property
    def high(self) -> Decimal: ...
    @property
    def low(self) -> Decimal: ...
    @property
    def volume(self) -> Decimal: ...


class TopOfBook(Protocol):
    """Best bid and ask at a moment."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def bid(self) -> Decimal: ...
    @property
    def ask(self) -> Decimal: ...
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class PaperTerms:
    """The assumptions beside every paper result. Rates are fractions (0.006 is 0.6 %).

    `impact` is the extra cost of taking the whole volume allowed; `fee_in` says whether buys pay in quote or in what
    they receive; `refuse_rate` and `lost_reply_rate` inject refusals and lost answers, chosen by seed and client
    order id.
    """

    half_spread: Decimal = Decimal("0.0005")
    impact: Decimal = Decimal("0.001")
    volume_share: Decimal = Decimal("0.10")
    taker_fee: Decimal = Decimal("0.006")
    maker_fee: Decimal = Decimal("0.004")
    fee_in: Literal["quote", "received"] = "quote"
    latency: timedelta = timedelta(0)
    refuse_rate: Decimal = ZERO
    lost_reply_rate: Decimal = ZERO
    seed: int = 0


DEFAULT_RULES: Final = InstrumentRules(
    tick=Decimal("0.01"),
    lot=Decimal("0.00000001"),
    minimum_size=Decimal("0.00001"),
    minimum_value=Decimal(1),
    taker_fee=Decimal("0.006"),
)


@dataclass(slots=True)
class _Order:
    """An order at the venue: what is left of it, and what it got."""

    ticket: OrderTicket
    effective_at: datetime
    base_left: Decimal | None
    quote_left: Decimal | None
    filled: Decimal = ZERO
    fill_count: int = 0
    state: Literal["open", "filled", "expired", "cancelled"] = "open"
    fills: list[Fill] = field(default_factory=list)


class PaperExchange:
    """The paper venue for any number of accounts. Not thread-safe: the trade service serialises its calls."""

    venue = "paper"

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        balances: Balances,
        clock: Callable[[], datetime],
        terms: PaperTerms = PaperTerms(),
    ) -> None:
        self.terms = terms
        self._instruments = instruments
        self._balances = balances
        self._clock = clock
        self._orders: dict[str, _Order] = {}

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        if instrument not in self._instruments:
            return None
        return InstrumentRules(
            DEFAULT_RULES.tick,
            DEFAULT_RULES.lot,
            DEFAULT_RULES.minimum_size,
            DEFAULT_RULES.minimum_value,
            self.terms.taker_fee,
        )

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        known = self._orders.get(ticket.client_order_id)
        if known is not None:
            return Refused("duplicate_client_order_id", f"the venue has an order {ticket.client_order_id} already")
        refusal = self._refusal(ticket)
        if refusal is not None:
            return refusal
        effective_at = self._clock() + self.terms.latency
        self._orders[ticket.client_order_id] = _Order(ticket, effective_at, ticket.base_size, ticket.quote_size)
        if self._chosen("lost", ticket.client_order_id, self.terms.lost_reply_rate):
            return Unknown("lost_reply", "the answer was lost on the way (injected)")
        return Accepted(f"paper-{ticket.client_order_id}")

    def restore(
        self, ticket: OrderTicket, placed_at: datetime, filled: Decimal, filled_value: Decimal, fills: int
    ) -> None:
        """The venue has this open order again, as far filled as the log says. `filled_value` is in quote."""
        base_left = None if ticket.base_size is None else ticket.base_size - filled
        quote_left = None if ticket.quote_size is None else ticket.quote_size - filled_value
        order = _Order(ticket, placed_at + self.terms.latency, base_left, quote_left, filled, fills)
        self._orders[ticket.client_order_id] = order

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        order = self._orders.get(client_order_id)
        if order is None:
            return NotPlaced("the paper venue lives in this process and has no such order")
        self._expire(order, self._clock())
        return FoundOrder(f"paper-{client_order_id}", order.state, order.filled)

    def fills(self, client_order_id: str) -> list[Fill]:
        order = self._orders.get(client_order_id)
        return list(order.fills) if order else []

    def forget(self, client_order_id: str) -> None:
        """The order has ended and its fills are in the log: the venue need not keep it."""
        self._orders.pop(client_order_id, None)

    def on_bar(self, bar: Bar) -> None:
        """The candle is closed: what it would have filled is filled, oldest order first, within its volume."""
        left = bar.volume * self.terms.volume_share
        for order in self._open_orders(bar.instrument):
            if order.effective_at > bar.opened_at:
                continue
            self._expire(order, bar.opened_at)
            price = _bar_price(order.ticket, bar, self.terms, DEFAULT_RULES.tick)
            if order.state == "open" and price is not None:
                left -= self._fill(order, price, left, bar.volume * self.terms.volume_share, bar.opened_at)

    def on_quote(self, quote: TopOfBook) -> None:
        """The market stands there now: market orders fill at the far side, limits when it is through their price."""
        for order in self._open_orders(quote.instrument):
            if order.effective_at > quote.at:
                continue
            self._expire(order, quote.at)
            price = _quote_price(order.ticket, quote)
            if order.state == "open" and price is not None:
                self._fill(order, price, None, None, quote.at)

    def _open_orders(self, instrument: Instrument) -> list[_Order]:
        return [one for one in self._orders.values() if one.state == "open" and one.ticket.instrument == instrument]

    def _expire(self, order: _Order, now: datetime) -> None:
        if order.state == "open" and now >= order.ticket.expires_at:
            order.state = "expired"

    def _fill(
        self, order: _Order, price: Decimal, available: Decimal | None, whole: Decimal | None, at: datetime
    ) -> Decimal:
        """Fills what size, volume and balance allow at `price` worsened by impact; returns the base quantity filled."""
        ticket, limit = order.ticket, order.ticket.kind == "limit"
        rate = self.terms.maker_fee if limit else self.terms.taker_fee
        wanted = order.base_left if order.base_left is not None else (order.quote_left or ZERO) / price
        if available is not None:
            wanted = min(wanted, max(available, ZERO))
        if not limit:
            share = wanted / whole if whole else ZERO
            price = _worse(ticket.side, price, self.terms.impact * min(share, Decimal(1)), DEFAULT_RULES.tick)
        quantity = _steps(min(wanted, self._affordable(ticket, price, rate), _capped(order, price)), DEFAULT_RULES.lot)
        if quantity > 0:
            self._book_fill(order, quantity, price, rate, at)
        elif available is None or available > 0:
            order.state = "filled" if order.filled else "cancelled"
        return quantity

    def _book_fill(self, order: _Order, quantity: Decimal, price: Decimal, rate: Decimal, at: datetime) -> None:
        ticket = order.ticket
        order.fill_count += 1
        order.filled += quantity
        if order.base_left is not None:
            order.base_left -= quantity
        if order.quote_left is not None:
            order.quote_left -= quantity * price
        fee = self._fee(ticket, quantity, price, rate)
        trade_id = f"{ticket.client_order_id}-{order.fill_count}"
        order.fills.append(Fill(trade_id, ticket.client_order_id, quantity, price, (fee,), at))
        least = DEFAULT_RULES.lot if order.base_left is not None else DEFAULT_RULES.lot * price
        if (order.base_left if order.base_left is not None else order.quote_left or ZERO) < least:
            order.state = "filled"

    def _fee(self, ticket: OrderTicket, quantity: Decimal, price: Decimal, rate: Decimal) -> Fee:
        if ticket.side is Side.BUY and self.terms.fee_in == "received":
            return Fee(asset=ticket.instrument.base, amount=_up(quantity * rate, DEFAULT_RULES.lot))
        return Fee(asset=ticket.instrument.quote, amount=_up(quantity * price * rate, DEFAULT_RULES.lot))

    def _affordable(self, ticket: OrderTicket, price: Decimal, rate: Decimal) -> Decimal:
        if ticket.side is Side.SELL:
            return self._balances(ticket.account, ticket.instrument.base)
        cash = self._balances(ticket.account, ticket.instrument.quote)
        return max(cash - DEFAULT_RULES.lot, ZERO) / (price * (1 + rate))

    def _refusal(self, ticket: OrderTicket) -> Refused | None:
        if self.rules(ticket.instrument) is None:
            return Refused("unknown_instrument", f"{ticket.instrument} is not traded here")
        size = ticket.base_size or ZERO
        if ticket.base_size is not None and (size < DEFAULT_RULES.minimum_size or size % DEFAULT_RULES.lot):
            return Refused("invalid_size", f"{size} is below {DEFAULT_RULES.minimum_size} or no multiple of the lot")
        if ticket.quote_size is not None and ticket.quote_size < DEFAULT_RULES.minimum_value:
            return Refused(
                "below_minimum", f"{ticket.quote_size} is below the least value {DEFAULT_RULES.minimum_value}"
            )
        asset, needed = (
            (ticket.instrument.base, ticket.base_size)
            if ticket.side is Side.SELL
            else (ticket.instrument.quote, ticket.quote_size)
        )
        held = self._balances(ticket.account, asset)
        if held <= 0 or (needed is not None and held < needed):
            return Refused("insufficient_funds", f"{held} {asset} available in {ticket.account}, {needed} needed")
        if self._chosen("refuse", ticket.client_order_id, self.terms.refuse_rate):
            return Refused("injected", "refused by the paper venue's fault settings")
        return None

    def _chosen(self, what: str, client_order_id: str, rate: Decimal) -> bool:
        digest = hashlib.sha256(f"{self.terms.seed}/{what}/{client_order_id}".encode()).digest()
        return Decimal(int.from_bytes(digest[:8], "big")) < rate * 2**64


def _bar_price(ticket: OrderTicket, bar: Bar, terms: PaperTerms, tick: Decimal) -> Decimal | None:
    """The price before impact at which the candle fills the order, or None when it does not."""
    if ticket.limit_price is None:
        return _worse(ticket.side, bar.open, terms.half_spread, tick)
    if ticket.side is Side.BUY:
        return min(ticket.limit_price, bar.open) if bar.low <= ticket.limit_price - tick else None
    return max(ticket.limit_price, bar.open) if bar.high >= ticket.limit_price + tick else None


def _quote_price(ticket: OrderTicket, quote: TopOfBook) -> Decimal | None:
    far = quote.ask if ticket.side is Side.BUY else quote.bid
    if ticket.limit_price is None:
        return far
    through = far < ticket.limit_price if ticket.side is Side.BUY else far > ticket.limit_price
    return ticket.limit_price if through else None


def _worse(side: Side, price: Decimal, by: Decimal, tick: Decimal) -> Decimal:
    """`price` moved against the order by the fraction `by`, to the next tick on the bad side."""
    moved = price * (1 + by) if side is Side.BUY else price * (1 - by)
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    return max((moved / tick).to_integral_value(rounding) * tick, tick)


def _capped(order: _Order, price: Decimal) -> Decimal:
    """The most the order's own size allows at `price`."""
    return order.base_left if order.base_left is not None else (order.quote_left or ZERO) / price


def _steps(quantity: Decimal, lot: Decimal) -> Decimal:
    return (quantity / lot).to_integral_value(ROUND_FLOOR) * lot


def _up(amount: Decimal, step: Decimal) -> Decimal:
    return (amount / step).to_integral_value(ROUND_CEILING) * step
