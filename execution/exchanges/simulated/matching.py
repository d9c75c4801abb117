"""The matching engine of a simulated venue: markets, balances, orders, executions. No HTTP, no faults.

By default a market order fills completely at the venue's price. Prices, balances, shares and splits are set from
outside, so that tests control everything and nothing is random.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from ledger.values import ZERO, Instrument, Side

IdScope = Literal["open orders", "lifetime"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
OrderState = Literal["open", "filled", "cancelled", "expired"]
FeesIn = Literal["received", "quote", "BNB"]
Reason = Literal[
    "unknown_market",
    "bad_size",
    "bad_price",
    "too_small",
    "too_little_value",
    "would_trigger",
    "no_funds",
    "duplicate_id",
    "not_found",
    "not_open",
]


class Rejected(Exception):
    """The venue refuses the request; nothing has changed."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Market:
    """One instrument at the venue: price tick, size step, minimum size in base, minimum value in quote."""

    instrument: Instrument
    tick: Decimal
    lot: Decimal
    minimum_size: Decimal
    minimum_value: Decimal


@dataclass(slots=True)
class Settings:
    """Fill settings: `share` of an order fills immediately, in `splits` executions; the rest waits or expires.

    `fees_in` is the asset of fees: the received one, always the quote, or BNB.
    """

    share: Decimal = Decimal(1)
    splits: int = 1
    rest: Literal["expires", "waits"] = "expires"
    fees_in: FeesIn = "received"
    fee_rate: Decimal = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The terms of a requested order. Sizes are above 0; a market order may be sized in quote."""

    client_order_id: str
    instrument: Instrument
    side: Side
    base_size: Decimal | None
    quote_size: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = "GTC"


@dataclass(slots=True)
class Order:
    """An accepted order. `number` is unique at the venue; `filled` is in base, `value` in quote."""

    number: int
    terms: OrderTerms
    placed_at: datetime
    ended_at: datetime | None = None
    state: OrderState = "open"
    triggered: bool = True
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fees: dict[str, Decimal] = field(default_factory=dict)

    def left(self, price: Decimal, lot: Decimal) -> Decimal:
        """Return the quantity still to fill at `price`, in whole lots."""
        if self.terms.base_size is not None:
            return self.terms.base_size - self.filled
        return in_steps(((self.terms.quote_size or ZERO) - self.value) / price, lot)


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `trade_id` counts from 1 in each market, so ids repeat across markets."""

    trade_id: int
    order: Order
    quantity: Decimal
    price: Decimal
    fee_asset: str
    fee: Decimal
    at: datetime
    maker: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a balance, numbered from 1 for each asset."""

    row: int
    at: datetime
    delta: Decimal
    balance: Decimal
    text: str


@dataclass(slots=True)
class Matching:
    """The state of one simulated venue with one account. Not thread-safe: the server serialises requests."""

    markets: dict[Instrument, Market]
    id_scope: IdScope
    clock: Callable[[], datetime]
    prices: dict[Instrument, Decimal]
    totals: dict[str, Decimal]
    settings: Settings = field(default_factory=Settings)
    orders: list[Order] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    entries: dict[str, list[Entry]] = field(default_factory=dict)

    def place(self, terms: OrderTerms) -> Order:
        """Accept the order and fill what fills immediately. Raises Rejected."""
        self._check(terms)
        order = Order(len(self.orders) + 1, terms, self.clock(), triggered=terms.stop_price is None)
        self.orders.append(order)
        if order.triggered:
            self._meet(order)
        return order

    def cancel(self, order: Order) -> None:
        """Cancel the order. Raises Rejected if it has ended."""
        if order.state != "open":
            raise Rejected("not_open", "the order has ended")
        self._end(order, "cancelled")

    def set_price(self, instrument: Instrument, price: Decimal) -> None:
        """Set the market price and fill the orders waiting for it, oldest first."""
        self.prices[instrument] = price
        for order in self.open_orders(instrument):
            stop = order.terms.stop_price
            if not order.triggered and stop is not None and _beyond(order.terms.side, price, stop):
                order.triggered = True
                self._meet(order)
            elif order.triggered and order.terms.limit_price is not None and self._crosses(order):
                self._execute(order, order.left(order.terms.limit_price, ZERO), order.terms.limit_price, maker=True)

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Fill part of an order at that price, whatever the market price, even after it was cancelled."""
        self._execute(order, quantity, price, maker=True)

    def open_orders(self, instrument: Instrument | None = None) -> list[Order]:
        """Return the open orders, oldest first."""
        return [one for one in self.orders if one.state == "open" and instrument in (None, one.terms.instrument)]

    def by_client_id(self, client_order_id: str) -> list[Order]:
        """Return every order ever placed with this id, oldest first."""
        return [order for order in self.orders if order.terms.client_order_id == client_order_id]

    def locked(self, asset: str) -> Decimal:
        """Return the quantity of an asset locked by open orders."""
        return sum((self._needs(order) for order in self.open_orders() if _pays(order.terms) == asset), ZERO)

    def free(self, asset: str) -> Decimal:
        return self.totals.get(asset, ZERO) - self.locked(asset)

    def deposit(self, asset: str, total: Decimal) -> None:
        """Set the account's balance of an asset to `total`."""
        self._move(asset, total - self.totals.get(asset, ZERO), "Deposit")

    def _check(self, terms: OrderTerms) -> None:
        market = self.markets.get(terms.instrument)
        if market is None:
            raise Rejected("unknown_market", f"{terms.instrument} is not traded here")
        same = self.by_client_id(terms.client_order_id)
        if any(self.id_scope == "lifetime" or order.state == "open" for order in same):
            raise Rejected("duplicate_id", "there is an order with this client order id")
        price = terms.limit_price or self.prices[terms.instrument]
        if price % market.tick and terms.limit_price is not None:
            raise Rejected("bad_price", f"the price is not a multiple of {market.tick}")
        if terms.base_size is not None and terms.base_size % market.lot:
            raise Rejected("bad_size", f"the size is not a multiple of {market.lot}")
        size = terms.base_size if terms.base_size is not None else in_steps(_given(terms) / price, market.lot)
        if size < market.minimum_size:
            raise Rejected("too_small", f"the size is below {market.minimum_size}")
        if size * price < market.minimum_value:
            raise Rejected("too_little_value", f"the value is below {market.minimum_value}")
        if terms.stop_price and _beyond(terms.side, self.prices[terms.instrument], terms.stop_price):
            raise Rejected("would_trigger", "the market is already at the stop price")
        needed = size if terms.side is Side.SELL else (terms.quote_size or size * price)
        if needed > self.free(_pays(terms)):
            raise Rejected("no_funds", "the balance is too small")

    def _meet(self, order: Order) -> None:
        """Fill, rest or end the order, by its terms and the settings."""
        terms, market = order.terms, self.markets[order.terms.instrument]
        price, share = self.prices[terms.instrument], self.settings.share
        if terms.limit_price is not None and not self._crosses(order):
            share = ZERO
        if terms.time_in_force == "FOK" and share < 1:
            share = ZERO
        quantity = in_steps(order.left(price, market.lot) * share, market.lot)
        part = in_steps(quantity / self.settings.splits, market.lot)
        for _ in range(self.settings.splits - 1):
            self._execute(order, part, price, maker=False)
        self._execute(order, quantity - part * (self.settings.splits - 1), price, maker=False)
        market_rests = terms.limit_price is None and self.settings.rest == "waits"
        if order.state == "open" and not market_rests and (terms.limit_price is None or terms.time_in_force != "GTC"):
            self._end(order, "expired")

    def _execute(self, order: Order, quantity: Decimal, price: Decimal, *, maker: bool) -> None:
        if quantity <= 0:
            return
        instrument, side = order.terms.instrument, order.terms.side
        value, market = quantity * price, self.markets[order.terms.instrument]
        sign = 1 if side is Side.BUY else -1
        fee_asset, fee = self._fee(order, quantity, value)
        order.filled, order.value = order.filled + quantity, order.value + value
        order.fees[fee_asset] = order.fees.get(fee_asset, ZERO) + fee
        number = sum(1 for one in self.executions if one.order.terms.instrument == instrument) + 1
        self.executions.append(Execution(number, order, quantity, price, fee_asset, fee, self.clock(), maker))
        self._move(instrument.base, sign * quantity, "Bought" if sign > 0 else "Sold")
        self._move(instrument.quote, -sign * value, "Sold" if sign > 0 else "Bought")
        self._move(fee_asset, -fee, "Trading fee")
        if order.state == "open" and order.left(price, market.lot) <= 0:
            self._end(order, "filled")

    def _fee(self, order: Order, quantity: Decimal, value: Decimal) -> tuple[str, Decimal]:
        instrument, rate = order.terms.instrument, self.settings.fee_rate
        if self.settings.fees_in == "BNB":
            return "BNB", (value * rate / BNB_PRICE).quantize(SATOSHI)
        if self.settings.fees_in == "received" and order.terms.side is Side.BUY:
            return instrument.base, (quantity * rate).quantize(SATOSHI)
        return instrument.quote, (value * rate).quantize(SATOSHI)

    def _move(self, asset: str, delta: Decimal, text: str) -> None:
        if not delta:
            return
        balance = self.totals[asset] = self.totals.get(asset, ZERO) + delta
        rows = self.entries.setdefault(asset, [])
        rows.append(Entry(len(rows) + 1, self.clock(), delta, balance, text))

    def _end(self, order: Order, state: OrderState) -> None:
        order.state, order.ended_at = state, self.clock()

    def _crosses(self, order: Order) -> bool:
        """Return whether the market is at the order's limit or better."""
        limit, price = order.terms.limit_price, self.prices[order.terms.instrument]
        return limit is None or (price <= limit if order.terms.side is Side.BUY else price >= limit)

    def _needs(self, order: Order) -> Decimal:
        """Return the quantity that an open order locks of the asset it pays with."""
        terms = order.terms
        if terms.quote_size is not None:
            return terms.quote_size - order.value
        left = (terms.base_size or ZERO) - order.filled
        price = terms.limit_price or self.prices[terms.instrument]
        return left if terms.side is Side.SELL else left * price


BNB_PRICE: Final = Decimal(600)
SATOSHI: Final = Decimal("0.00000001")


def in_steps(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of `step`."""
    return value - value % step


def _beyond(side: Side, price: Decimal, stop: Decimal) -> bool:
    """Return whether the market is at the stop price or beyond: above for buys, below for sales."""
    return price >= stop if side is Side.BUY else price <= stop


def _given(terms: OrderTerms) -> Decimal:
    return terms.quote_size or ZERO


def _pays(terms: OrderTerms) -> str:
    return terms.instrument.base if terms.side is Side.SELL else terms.instrument.quote
