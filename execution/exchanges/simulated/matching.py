"""What a simulated venue holds and does behind its door: markets, balances, orders, executions. No HTTP, no faults.

Every market order finds all the volume it wants at the venue's price, unless the settings say otherwise: prices,
balances, shares and splits are set from outside, so that a test says what happens and nothing happens by chance.
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
    """The venue says no; nothing has changed."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Market:
    """One instrument at the venue: steps of price and size, least size in base and least value in quote."""

    instrument: Instrument
    tick: Decimal
    lot: Decimal
    minimum_size: Decimal
    minimum_value: Decimal


@dataclass(slots=True)
class Settings:
    """How orders fill: `share` of an order at once, in `splits` executions; the rest of a market order waits or expires.

    `fees_in` is what fees are paid in: what was received, always the quote, or BNB.
    """

    share: Decimal = Decimal(1)
    splits: int = 1
    rest: Literal["expires", "waits"] = "expires"
    fees_in: FeesIn = "received"
    fee_rate: Decimal = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """An order as it is asked for. Sizes are above 0; a market order may be sized in quote; a stop waits for its price."""

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
    """An order the venue took. `number` is unique at the venue; `filled` is in base, `value` in quote."""

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
        """What is still to be filled at `price`, in whole lots."""
        if self.terms.base_size is not None:
            return self.terms.base_size - self.filled
        return in_steps(((self.terms.quote_size or ZERO) - self.value) / price, lot)


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `trade_id` counts from 1 in each market, so that two markets use the same ids."""

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
    """The inside of one simulated venue with one account. Not thread-safe: the server serialises what reaches it."""

    markets: dict[Instrument, Market]
    id_scope: IdScope
    clock: Callable[[], datetime]
    prices: dict[Instrument, Decimal]
    totals: dict[str, Decimal]
    settings: Settings = field(default_factory=Settings)
    orders: list[Order] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    entries: dict[str, list[Entry]] = field(default_factory=dict)

    def place(self, wanted: OrderTerms) -> Order:
        """The order is taken and filled as far as it fills at once. Raises Rejected."""
        self._check(wanted)
        order = Order(len(self.orders) + 1, wanted, self.clock(), triggered=wanted.stop_price is None)
        self.orders.append(order)
        if order.triggered:
            self._meet(order)
        return order

    def cancel(self, order: Order) -> None:
        """The order fills no further. Raises Rejected when it had ended."""
        if order.state != "open":
            raise Rejected("not_open", "the order has ended")
        self._end(order, "cancelled")

    def set_price(self, instrument: Instrument, price: Decimal) -> None:
        """The market stands there now; orders that were waiting for it fill, oldest first."""
        self.prices[instrument] = price
        for order in self.open_orders(instrument):
            stop = order.terms.stop_price
            if not order.triggered and stop is not None and _beyond(order.terms.side, price, stop):
                order.triggered = True
                self._meet(order)
            elif order.triggered and order.terms.limit_price is not None and self._crosses(order):
                self._execute(order, order.left(order.terms.limit_price, ZERO), order.terms.limit_price, maker=True)

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """So much of an order is filled at that price, whatever the market says, even after it was cancelled."""
        self._execute(order, quantity, price, maker=True)

    def open_orders(self, instrument: Instrument | None = None) -> list[Order]:
        """The orders that may still fill, oldest first."""
        return [one for one in self.orders if one.state == "open" and instrument in (None, one.terms.instrument)]

    def by_client_id(self, client_order_id: str) -> list[Order]:
        """Every order that was ever placed under this id, oldest first."""
        return [order for order in self.orders if order.terms.client_order_id == client_order_id]

    def locked(self, asset: str) -> Decimal:
        """What open orders keep of an asset."""
        return sum((self._needs(order) for order in self.open_orders() if _pays(order.terms) == asset), ZERO)

    def free(self, asset: str) -> Decimal:
        return self.totals.get(asset, ZERO) - self.locked(asset)

    def deposit(self, asset: str, total: Decimal) -> None:
        """The account holds exactly `total` of an asset from now on."""
        self._move(asset, total - self.totals.get(asset, ZERO), "Deposit")

    def _check(self, wanted: OrderTerms) -> None:
        market = self.markets.get(wanted.instrument)
        if market is None:
            raise Rejected("unknown_market", f"{wanted.instrument} is not traded here")
        same = self.by_client_id(wanted.client_order_id)
        if any(self.id_scope == "lifetime" or order.state == "open" for order in same):
            raise Rejected("duplicate_id", "there is an order with this client order id")
        price = wanted.limit_price or self.prices[wanted.instrument]
        if price % market.tick and wanted.limit_price is not None:
            raise Rejected("bad_price", f"the price is not a multiple of {market.tick}")
        if wanted.base_size is not None and wanted.base_size % market.lot:
            raise Rejected("bad_size", f"the size is not a multiple of {market.lot}")
        size = wanted.base_size if wanted.base_size is not None else in_steps(_given(wanted) / price, market.lot)
        if size < market.minimum_size:
            raise Rejected("too_small", f"the size is below {market.minimum_size}")
        if size * price < market.minimum_value:
            raise Rejected("too_little_value", f"the value is below {market.minimum_value}")
        if wanted.stop_price and _beyond(wanted.side, self.prices[wanted.instrument], wanted.stop_price):
            raise Rejected("would_trigger", "the market has reached the stop price already")
        needed = size if wanted.side is Side.SELL else (wanted.quote_size or size * price)
        if needed > self.free(_pays(wanted)):
            raise Rejected("no_funds", "the balance is too small")

    def _meet(self, order: Order) -> None:
        """The order meets the market: it fills, rests, or ends, as its terms and the settings say."""
        wanted, market = order.terms, self.markets[order.terms.instrument]
        price, share = self.prices[wanted.instrument], self.settings.share
        if wanted.limit_price is not None and not self._crosses(order):
            share = ZERO
        if wanted.time_in_force == "FOK" and share < 1:
            share = ZERO
        quantity = in_steps(order.left(price, market.lot) * share, market.lot)
        part = in_steps(quantity / self.settings.splits, market.lot)
        for _ in range(self.settings.splits - 1):
            self._execute(order, part, price, maker=False)
        self._execute(order, quantity - part * (self.settings.splits - 1), price, maker=False)
        market_rests = wanted.limit_price is None and self.settings.rest == "waits"
        if order.state == "open" and not market_rests and (wanted.limit_price is None or wanted.time_in_force != "GTC"):
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
        """Whether the market stands at the order's limit or better."""
        limit, price = order.terms.limit_price, self.prices[order.terms.instrument]
        return limit is None or (price <= limit if order.terms.side is Side.BUY else price >= limit)

    def _needs(self, order: Order) -> Decimal:
        """What an open order keeps of the asset it pays with."""
        wanted = order.terms
        if wanted.quote_size is not None:
            return wanted.quote_size - order.value
        left = (wanted.base_size or ZERO) - order.filled
        price = wanted.limit_price or self.prices[wanted.instrument]
        return left if wanted.side is Side.SELL else left * price


BNB_PRICE: Final = Decimal(600)
SATOSHI: Final = Decimal("0.00000001")


def in_steps(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return value - value % step


def _beyond(side: Side, price: Decimal, stop: Decimal) -> bool:
    """Whether the market has reached the price that sets off a stop: above for buys, below for sales."""
    return price >= stop if side is Side.BUY else price <= stop


def _given(wanted: OrderTerms) -> Decimal:
    return wanted.quote_size or ZERO


def _pays(wanted: OrderTerms) -> str:
    return wanted.instrument.base if wanted.side is Side.SELL else wanted.instrument.quote
