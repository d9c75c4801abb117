"""The Exchange port: the calls of the trade service to a venue, and their results.

A refusal and an unknown outcome are strictly separate: a refusal ends an order; an order of unknown outcome must be
looked up by client order id and is never sent again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from ledger.errors import DaybookError
from ledger.events.fields import Fee, OrderKind, TimeInForce
from ledger.values import Asset, Instrument, Side


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """An order to send, sized by either `base_size` in base units or `quote_size` in quote units, before fees."""

    client_order_id: str
    account: str
    instrument: Instrument
    side: Side
    kind: OrderKind
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    expires_at: datetime
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None

    def __post_init__(self) -> None:
        check_terms(self)


class Terms(Protocol):
    """The terms of an order."""

    @property
    def kind(self) -> OrderKind: ...
    @property
    def base_size(self) -> Decimal | None: ...
    @property
    def quote_size(self) -> Decimal | None: ...
    @property
    def limit_price(self) -> Decimal | None: ...
    @property
    def stop_price(self) -> Decimal | None: ...
    @property
    def time_in_force(self) -> TimeInForce | None: ...


def check_terms(terms: Terms) -> None:
    """Raise ValueError for contradictory terms, and for sizes and prices not above 0."""
    if (terms.base_size is None) == (terms.quote_size is None):
        raise ValueError("an order needs either a base size or a quote size")
    if (terms.kind == "limit") != (terms.limit_price is not None):
        raise ValueError("a limit order needs a limit price, and no other order may have one")
    if (terms.kind == "stop") != (terms.stop_price is not None):
        raise ValueError("a stop order needs a stop price, and no other order may have one")
    if terms.kind == "stop" and terms.base_size is None:
        raise ValueError("a stop order needs a base size")
    if terms.time_in_force is not None and terms.kind != "limit":
        raise ValueError("only a limit order may have a time in force")
    numbers = (terms.base_size, terms.quote_size, terms.limit_price, terms.stop_price)
    if any(number is not None and number <= 0 for number in numbers):
        raise ValueError("sizes and prices must be greater than 0")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue has the order under this id."""

    venue_order_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue refused the order: nothing was placed."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No conclusive reply: the venue may or may not have the order."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """The state of an order at the venue; `filled` is in base units."""

    venue_order_id: str
    state: Literal["open", "filled", "expired", "cancelled"]
    filled: Decimal


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """The venue does not have the order and never will, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution at the venue; `venue_trade_id` is unique per account and instrument. Rebates are negative fees."""

    venue_trade_id: str
    client_order_id: str
    quantity: Decimal
    price: Decimal
    fees: tuple[Fee, ...]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class SupportedTerms:
    """The orders a venue supports: market buys sized in base, sales sized in quote, limit orders sized in quote, stop
    orders that become market orders, and times in force of limit orders. The defaults are those of paper."""

    venue: str = "paper"
    base_buys: bool = True
    quote_sells: bool = True
    quote_limits: bool = True
    stops: bool = True
    times_in_force: frozenset[TimeInForce] = frozenset({"gtc", "ioc", "fok"})


def unsupported_terms(side: Side, terms: Terms, supported: SupportedTerms) -> str | None:
    """Return the reason, as a sentence, why the venue does not support these terms, or None if it does."""
    if terms.kind == "stop" and not supported.stops:
        return f"{supported.venue} takes no stop orders that become market orders"
    if terms.time_in_force is not None and terms.time_in_force not in supported.times_in_force:
        return f"{supported.venue} takes limit orders {' or '.join(sorted(supported.times_in_force))} only"
    if terms.base_size is not None and terms.kind != "limit" and side is Side.BUY and not supported.base_buys:
        return f"{supported.venue} takes market buys sized in quote only"
    if terms.quote_size is not None and terms.kind == "limit" and not supported.quote_limits:
        return f"{supported.venue} takes limit orders sized in base only"
    if terms.quote_size is not None and side is Side.SELL and not supported.quote_sells:
        return f"{supported.venue} takes sales sized in base only"
    return None


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """The venue's rules for an instrument: price tick, size step, minimum size in base, minimum value in quote, taker fee
    rate, and supported terms."""

    tick: Decimal
    lot: Decimal
    minimum_size: Decimal
    minimum_value: Decimal
    taker_fee: Decimal
    supported: SupportedTerms = SupportedTerms()


class Exchange(Protocol):
    """A venue. Calls may take long and fail like any network call; results are the values above."""

    venue: str

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        """Return the venue's rules for the instrument, or None when it is not traded there."""

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        """Place the order once."""

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        """Look up the order."""

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        """Cancel the order and return its state afterwards; it may have filled meanwhile."""

    def fills(self, client_order_id: str) -> list[Fill]:
        """Return the order's fills that are still available, oldest first."""

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        """Release these fills of the order, which are now in the ledger's rows."""

    def forget(self, client_order_id: str) -> None:
        """Release the order, whose end and fills are all in the log."""


class VenueUnavailable(DaybookError):
    """The venue cannot be read at the moment; retry later."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order at the venue, placed by Daybook or not; `filled` is in base units, `placed_at` None if not reported."""

    venue_order_id: str
    client_order_id: str | None
    instrument: Instrument
    side: Side
    state: Literal["open", "filled", "expired", "cancelled"]
    filled: Decimal
    placed_at: datetime | None


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One execution of the account, of an order placed by Daybook or not. Rebates are negative fees."""

    venue_trade_id: str
    venue_order_id: str
    client_order_id: str | None
    instrument: Instrument
    side: Side
    quantity: Decimal
    price: Decimal
    fees: tuple[Fee, ...]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """The account's balance of an asset: free, and locked by open orders."""

    free: Decimal
    locked: Decimal


class LiveExchange(Exchange, Protocol):
    """A venue outside this process with one account, whose orders, trades and assets need not come from Daybook.

    `rules`, `fills` and the reads below raise VenueUnavailable when the venue cannot be read, and nothing else. `fills`
    returns fills only after `find` has found the order.
    """

    account: str

    def remember(self, ticket: OrderTicket, sent_at: datetime, venue_order_id: str | None = None) -> None:
        """Register an order that, by the log, was or may have been sent, so that it can be looked up."""

    def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the account."""

    def own_trades(self, instrument: Instrument, since: datetime) -> list[VenueTrade]:
        """Return the account's trades in the instrument since then, each once, oldest first."""

    def balances(self) -> Mapping[Asset, Balance]:
        """Return the account's balances other than 0."""
