"""The paper venue: conservative simulated fills on real or simulated prices.

A market order fills at the open of the first candle that opens at or after it became effective, on the far side of the
spread, worse by its own impact, and up to a share of the candle's volume: the rest waits for the next candle.
A limit order fills only when a later candle trades through its price by a tick. Fees are mandatory.
The venue stores nothing: after a restart `restore` recreates the open orders of the log.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from execution.exchanges.exchange import (
    Accepted,
    Fill,
    FoundOrder,
    InstrumentRules,
    NotPlaced,
    OrderTicket,
    Refused,
    Unknown,
)
from execution.exchanges.paper.prices import (
    LOT,
    Bar,
    Offer,
    TopOfBook,
    bar_offer,
    immediate_offer,
    in_lots,
    quote_offer,
    round_up,
    stop_offer,
    tick_of,
    touched,
    within,
    worse,
)
from ledger.events.fields import Fee
from ledger.values import ZERO, Instrument, Side, decimal_text

Balances = Callable[[str, str], Decimal]
"""(account, asset) → the balance in the ledger's rows."""

MINIMUM_SIZE: Final = Decimal("0.00001")
MINIMUM_VALUE: Final = Decimal(1)
DUST: Final = 10 * LOT
"""An order sized in quote is complete when its rest would buy less than this."""


@dataclass(frozen=True, slots=True)
class PaperTerms:
    """The assumptions behind paper results. Rates are fractions (0.006 is 0.6 %); fees are above 0 unless `free`.

    `impact` is the extra cost of taking the whole allowed volume; `fee_in` is the asset in which buys pay fees;
    `refuse_rate` and `lost_reply_rate` inject refusals and lost replies, chosen by seed and client order id. Raises
    ValueError for impossible terms.
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
    free: bool = False

    def __post_init__(self) -> None:
        fees = (self.taker_fee, self.maker_fee)
        if not all(0 <= rate < 1 for rate in fees) or not (all(fees) or self.free):
            raise ValueError("fees are mandatory: each rate must be above 0 and below 1")
        rates = (self.half_spread, self.impact, self.refuse_rate, self.lost_reply_rate)
        if not all(0 <= rate <= 1 for rate in rates) or self.half_spread + self.impact >= 1:
            raise ValueError("rates must be fractions between 0 and 1")
        if not 0 < self.volume_share <= 1 or self.latency < timedelta(0):
            raise ValueError("the share of volume must be above 0 and at most 1, and latency not negative")

    def describe(self) -> tuple[str, ...]:
        """Return the assumptions as sentences to show with a result."""
        where = "in quote" if self.fee_in == "quote" else "in what a buy receives, in quote on sales"
        faults = f"{_percent(self.refuse_rate)} refused, {_percent(self.lost_reply_rate)} lost replies"
        return (
            f"market orders fill at the next candle's open, {_percent(self.half_spread)} worse for the spread",
            f"taking all the volume that may be taken costs another {_percent(self.impact)}, less costs a part of it",
            f"a candle fills at most {_percent(self.volume_share)} of its volume; the rest waits or expires",
            "limit orders fill when a later candle trades through their price by a tick",
            f"fees of {_percent(self.taker_fee)} (taker) and {_percent(self.maker_fee)} (maker), {where}, rounded up",
            f"orders take effect {decimal_text(Decimal(str(self.latency.total_seconds())))} s after they are sent",
            f"injected faults: {faults}, seed {self.seed}",
        )


@dataclass(slots=True)
class _Order:
    """An order at the venue: its open rest, and the fills not yet in the ledger."""

    ticket: OrderTicket
    effective_at: datetime
    base_left: Decimal | None
    quote_left: Decimal | None
    filled: Decimal = ZERO
    fill_count: int = 0
    state: Literal["open", "filled", "expired", "cancelled"] = "open"
    fills: list[Fill] = field(default_factory=list)
    triggered: bool = False

    @property
    def waits(self) -> bool:
        """True until the stop price is touched."""
        return self.ticket.stop_price is not None and not self.triggered

    @property
    def immediate(self) -> bool:
        """True for an order that ends after its first candle or quote."""
        return self.ticket.time_in_force in ("ioc", "fok")

    def left_at(self, price: Decimal) -> Decimal:
        """Return the quantity still to fill at `price`, in whole lots."""
        if self.base_left is not None:
            return in_lots(self.base_left)
        size = in_lots((self.quote_left or ZERO) / price)
        return size if size >= DUST else ZERO


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
        self._seen_until: dict[Instrument, datetime] = {}
        self._prices: dict[Instrument, Decimal] = {}
        self._used_volume: dict[Instrument, Decimal] = {}

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        if instrument not in self._instruments:
            return None
        tick = tick_of(self._prices.get(instrument, Decimal(1000)))
        return InstrumentRules(tick, LOT, MINIMUM_SIZE, MINIMUM_VALUE, self.terms.taker_fee)

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        if ticket.client_order_id in self._orders:
            return Unknown("duplicate_client_order_id", f"the venue has an order {ticket.client_order_id} already")
        refusal = self._refusal(ticket)
        if refusal is not None:
            return refusal
        effective_at = self._clock() + self.terms.latency
        self._orders[ticket.client_order_id] = _Order(ticket, effective_at, ticket.base_size, ticket.quote_size)
        if self._chosen("lost", ticket.client_order_id, self.terms.lost_reply_rate):
            return Unknown("lost_reply", "the answer was lost on the way (injected)")
        return Accepted(f"paper-{ticket.client_order_id}")

    def restore(
        self,
        ticket: OrderTicket,
        placed_at: datetime,
        filled: Decimal,
        filled_value: Decimal,
        fills: int,
        seen_until: datetime | None = None,
    ) -> None:
        """Recreate an open order with the fills in the log. `filled_value` is in quote.

        Candles of the instrument that opened at or before `seen_until` fill nothing: their fills are in the log.
        """
        base_left = None if ticket.base_size is None else ticket.base_size - filled
        quote_left = None if ticket.quote_size is None else ticket.quote_size - filled_value
        order = _Order(ticket, placed_at + self.terms.latency, base_left, quote_left, filled, fills)
        order.state = "filled" if base_left is not None and base_left <= 0 else "open"
        order.triggered = filled > 0
        if filled:
            _end_if_immediate(order)  # its one candle or quote is over
        self._orders[ticket.client_order_id] = order
        if seen_until is not None:
            # A manual entry may lie ahead of the market; it must not keep candles from being processed.
            until = min(seen_until, self._clock())
            self._seen_until[ticket.instrument] = max(until, self._seen_until.get(ticket.instrument, until))

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        order = self._orders.get(client_order_id)
        if order is None:
            return NotPlaced("the paper venue lives in this process and has no such order")
        _expire(order, self._clock())
        return FoundOrder(f"paper-{client_order_id}", order.state, order.filled)

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        found = self.find(client_order_id)
        if isinstance(found, FoundOrder) and found.state == "open":
            self._orders[client_order_id].state = "cancelled"
        return self.find(client_order_id)

    def fills(self, client_order_id: str) -> list[Fill]:
        order = self._orders.get(client_order_id)
        return list(order.fills) if order else []

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        order = self._orders.get(client_order_id)
        if order is not None:
            order.fills = [fill for fill in order.fills if fill.venue_trade_id not in venue_trade_ids]

    def forget(self, client_order_id: str) -> None:
        self._orders.pop(client_order_id, None)

    def on_bar(self, bar: Bar) -> None:
        """Fill orders by a closed candle, oldest order first, within its volume.

        A candle not later than the last one is ignored.
        """
        seen_until = self._seen_until.get(bar.instrument)
        if seen_until is not None and bar.opened_at <= seen_until:
            return
        self._seen_until[bar.instrument], self._prices[bar.instrument] = bar.opened_at, bar.open
        allowed, taken = in_lots(bar.volume * self.terms.volume_share), ZERO
        for order in self._orders_at(bar.instrument, bar.opened_at):
            offer = _bar_offer(order, bar, self.terms.half_spread)
            if offer is not None:
                taken += self._fill(order, offer, allowed, taken, bar.opened_at)
            _end_if_immediate(order)
        self._used_volume[bar.instrument] = taken

    def on_touch(self, client_order_id: str, bar: Bar, offer: Offer) -> None:
        """Fill an order at the price it was waiting for, within the last candle, as if it had been in the market.

        It uses the volume of the candle that others left; the rest stays open.
        """
        order = self._orders.get(client_order_id)
        if order is None or order.state != "open" or self._seen_until.get(bar.instrument) != bar.opened_at:
            return
        if bar.instrument not in self._used_volume:
            return  # the candle was processed before a restart: the volume that others left is unknown
        allowed, taken = in_lots(bar.volume * self.terms.volume_share), self._used_volume[bar.instrument]
        self._used_volume[bar.instrument] = taken + self._fill(order, offer, allowed, taken, bar.closed_at)

    def on_quote(self, quote: TopOfBook) -> None:
        """Fill orders by a quote: market orders at the far side, limit orders when it is through their price."""
        self._prices[quote.instrument] = quote.bid
        for order in self._orders_at(quote.instrument, quote.at):
            order.triggered = (order.waits and touched(order.ticket, quote)) or order.triggered
            offer = None if order.waits else quote_offer(order.ticket, quote)
            if offer is not None:
                self._fill(order, offer, None, ZERO, quote.at)
            _end_if_immediate(order)

    def _orders_at(self, instrument: Instrument, now: datetime) -> list[_Order]:
        """Return the instrument's open orders in effect at that time, oldest first."""
        orders = [one for one in self._orders.values() if one.ticket.instrument == instrument]
        for order in orders:
            _expire(order, now)
        return [order for order in orders if order.state == "open" and order.effective_at <= now]

    def _fill(self, order: _Order, offer: Offer, allowed: Decimal | None, taken: Decimal, at: datetime) -> Decimal:
        """Fill what size, volume and balance allow at the offer's price plus impact; return the base quantity.

        Ends an order that is complete, and one that the account can no longer pay for.
        """
        room = order.left_at(offer.price) if allowed is None else allowed - taken
        if room <= 0 and order.left_at(offer.price) > 0:
            return ZERO  # the candle's volume is used up: wait for the next one
        price = self._with_impact(order, offer, allowed, taken + min(order.left_at(offer.price), room))
        rate = self.terms.taker_fee if offer.taker else self.terms.maker_fee
        wanted = min(order.left_at(price), room)
        quantity = min(wanted, self._payable(order.ticket, price, rate))
        if order.ticket.time_in_force == "fok" and quantity < order.left_at(price):
            return ZERO
        fee = self._fee(order.ticket, quantity, price, rate)
        if quantity <= 0 or not self._bearable(order.ticket, quantity, price, fee):
            order.state = "cancelled" if wanted > 0 or not order.filled else "filled"
            return ZERO
        self._add_fill(order, quantity, price, fee, at)
        return quantity

    def _with_impact(self, order: _Order, offer: Offer, allowed: Decimal | None, taken: Decimal) -> Decimal:
        """Return the offer's price, for a taker worsened by the share of the allowed volume used, including this order."""
        if not offer.taker or not allowed:
            return offer.price
        share = min(taken / allowed, Decimal(1))
        return within(order.ticket, worse(order.ticket.side, offer.price, self.terms.impact * share))

    def _add_fill(self, order: _Order, quantity: Decimal, price: Decimal, fee: Fee, at: datetime) -> None:
        ticket = order.ticket
        order.fill_count += 1
        order.filled += quantity
        if order.base_left is not None:
            order.base_left -= quantity
        if order.quote_left is not None:
            order.quote_left -= quantity * price
        trade_id = f"{ticket.client_order_id}-{order.fill_count}"
        order.fills.append(Fill(trade_id, ticket.client_order_id, quantity, price, (fee,), at))
        if order.left_at(price) <= 0:
            order.state = "filled"

    def _fee(self, ticket: OrderTicket, quantity: Decimal, price: Decimal, rate: Decimal) -> Fee:
        if ticket.side is Side.BUY and self.terms.fee_in == "received":
            return Fee(asset=ticket.instrument.base, amount=round_up(quantity * rate))
        return Fee(asset=ticket.instrument.quote, amount=round_up(quantity * price * rate))

    def _payable(self, ticket: OrderTicket, price: Decimal, rate: Decimal) -> Decimal:
        """Return the base quantity that the account can deliver, or pay for including the fee and its rounding."""
        if ticket.side is Side.SELL:
            return in_lots(max(self._available(ticket.account, ticket.instrument.base), ZERO))
        cash = self._available(ticket.account, ticket.instrument.quote)
        return in_lots(max(cash - LOT, ZERO) / (price * (1 + rate)))

    def _bearable(self, ticket: OrderTicket, quantity: Decimal, price: Decimal, fee: Fee) -> bool:
        """Return whether the fill exceeds its fee: dust can be worth less than the smallest fee."""
        if fee.asset == ticket.instrument.base:
            return quantity > fee.amount
        cash = self._available(ticket.account, ticket.instrument.quote)
        return ticket.side is Side.BUY or cash + quantity * price >= fee.amount

    def _available(self, account: str, asset: str) -> Decimal:
        """Return the account's balance: that of the ledger, and the fills not yet in it."""
        orders = [one for one in self._orders.values() if one.ticket.account == account]
        pending = (_change(one.ticket, fill, asset) for one in orders for fill in one.fills)
        return self._balances(account, asset) + sum(pending, ZERO)

    def _refusal(self, ticket: OrderTicket) -> Refused | None:
        size, value, limit = ticket.base_size, ticket.quote_size, ticket.limit_price or ticket.stop_price
        if ticket.instrument not in self._instruments:
            return Refused("unknown_instrument", f"{ticket.instrument} is not traded here")
        if size is not None and (size < MINIMUM_SIZE or size % LOT):
            return Refused("invalid_size", f"{size} is below {MINIMUM_SIZE} or no multiple of the lot {LOT}")
        if value is not None and value < MINIMUM_VALUE:
            return Refused("below_minimum", f"{value} is below the least value {MINIMUM_VALUE}")
        if limit is not None and limit % tick_of(limit):
            return Refused("invalid_price", f"{limit} is no multiple of the tick {tick_of(limit)}")
        selling = ticket.side is Side.SELL
        asset = ticket.instrument.base if selling else ticket.instrument.quote
        available, needed = self._available(ticket.account, asset), size if selling else value
        if available <= 0 or (needed is not None and available < needed):
            return Refused("insufficient_funds", f"{available} {asset} available in {ticket.account}, {needed} needed")
        if self._chosen("refuse", ticket.client_order_id, self.terms.refuse_rate):
            return Refused("injected", "refused by the paper venue's fault settings")
        return None

    def _chosen(self, fault: str, client_order_id: str, rate: Decimal) -> bool:
        digest = hashlib.sha256(f"{self.terms.seed}/{fault}/{client_order_id}".encode()).digest()
        return Decimal(int.from_bytes(digest[:8], "big")) < rate * 2**64


def _bar_offer(order: _Order, bar: Bar, half_spread: Decimal) -> Offer | None:
    """Return the candle's offer to the order; a stop order whose price it touches becomes a market order."""
    if order.waits:
        offer = stop_offer(order.ticket, bar, half_spread)
        order.triggered = offer is not None
        return offer
    if order.immediate:
        return immediate_offer(order.ticket, bar, half_spread)
    fresh = bar.opened_at - order.effective_at < bar.closed_at - bar.opened_at
    return bar_offer(order.ticket, bar, half_spread, fresh)


def _end_if_immediate(order: _Order) -> None:
    if order.immediate and order.state == "open":
        order.state = "expired"


def _expire(order: _Order, now: datetime) -> None:
    if order.state == "open" and now >= order.ticket.expires_at:
        order.state = "expired"


def _change(ticket: OrderTicket, fill: Fill, asset: str) -> Decimal:
    """Return the change of the account's balance of the asset by the fill and its fees."""
    sign = 1 if ticket.side is Side.BUY else -1
    moved = -sum((fee.amount for fee in fill.fees if fee.asset == asset), ZERO)
    if asset == ticket.instrument.base:
        return moved + sign * fill.quantity
    return moved - sign * fill.quantity * fill.price if asset == ticket.instrument.quote else moved


def _percent(rate: Decimal) -> str:
    return f"{decimal_text(rate * 100)} %"
