"""The Exchange port: what the trade service asks of a venue, and what a venue may answer.

Refused and unknown are kept apart above all else: a refusal ends an order; an unknown outcome must be asked about by
client order id and is never simply repeated.
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
    """What is sent. Exactly one size is given: `base_size` in base units or `quote_size` in quote units, fees on top."""

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
    """What is asked of an order, whoever asks."""

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
    """Raises ValueError for terms that contradict each other or are not above 0."""
    if (terms.base_size is None) == (terms.quote_size is None):
        raise ValueError("an order has either a base size or a quote size")
    if (terms.kind == "limit") != (terms.limit_price is not None):
        raise ValueError("a limit order has a limit price, no other order has one")
    if (terms.kind == "stop") != (terms.stop_price is not None):
        raise ValueError("a stop order has a stop price, no other order has one")
    if terms.kind == "stop" and terms.base_size is None:
        raise ValueError("a stop order has a base size")
    if terms.time_in_force is not None and terms.kind != "limit":
        raise ValueError("just a limit order has a time in force")
    numbers = (terms.base_size, terms.quote_size, terms.limit_price, terms.stop_price)
    if any(number is not None and number <= 0 for number in numbers):
        raise ValueError("sizes and prices are greater than 0")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue has the order under this id."""

    venue_order_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue said no: nothing was placed."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer that proves anything: the order may or may not be there."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """What the venue says of an order it has; `state` is its own last word, `filled` in base units."""

    venue_order_id: str
    state: Literal["open", "filled", "expired", "cancelled"]
    filled: Decimal


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Proof that the order is not there and never will be."""

    proof: str


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution at the venue; `venue_trade_id` is unique per account and instrument. Fees are signed, in their assets."""

    venue_trade_id: str
    client_order_id: str
    quantity: Decimal
    price: Decimal
    fees: tuple[Fee, ...]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class SupportedTerms:
    """Which orders a venue takes: market buys sized in base, sales sized in quote, limit orders sized in quote, stop orders
    that become market orders, and times in force of limit orders. Paper takes all of them."""

    venue: str = "paper"
    base_buys: bool = True
    quote_sells: bool = True
    quote_limits: bool = True
    stops: bool = True
    times_in_force: frozenset[TimeInForce] = frozenset({"gtc", "ioc", "fok"})


def unsupported_terms(side: Side, terms: Terms, supported: SupportedTerms) -> str | None:
    """Why the venue takes no order of these terms, in one sentence, or None."""
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
    """What the venue demands of an order: steps of price and size, least size in base, least value in quote, taker fee rate,
    and the terms that it takes."""

    tick: Decimal
    lot: Decimal
    minimum_size: Decimal
    minimum_value: Decimal
    taker_fee: Decimal
    supported: SupportedTerms = SupportedTerms()


class Exchange(Protocol):
    """A venue. Calls may take long and may fail in any way a network fails; answers are one of the values above."""

    venue: str

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        """The venue's rules for the instrument, or None when it does not trade it."""

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        """Places the order once."""

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        """What became of the order."""

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        """The venue has been asked to cancel the order; what has become of it, which may be that it had filled."""

    def fills(self, client_order_id: str) -> list[Fill]:
        """The order's fills the venue still tells of, oldest first."""

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        """These fills of the order are in the ledger's rows: an adapter need not tell of them any longer."""

    def forget(self, client_order_id: str) -> None:
        """The order's end and all its fills are in the log: an adapter need not keep it any longer."""


class VenueUnavailable(DaybookError):
    """The venue could not be read just now. Nothing is lost: asking again later is right."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue tells it, whoever placed it; `filled` in base units, `placed_at` None where it is not told."""

    venue_order_id: str
    client_order_id: str | None
    instrument: Instrument
    side: Side
    state: Literal["open", "filled", "expired", "cancelled"]
    filled: Decimal
    placed_at: datetime | None


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One execution of the account as the venue tells it, whoever placed the order. Fees are signed, in their assets."""

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
    """What the account holds of an asset: free to use, and locked by open orders."""

    free: Decimal
    locked: Decimal


class LiveExchange(Exchange, Protocol):
    """A venue that lives outside this process, with one account there. It has orders, trades and coins we did not make.

    `rules`, `fills` and the reads below raise VenueUnavailable when the venue cannot be read; nothing else escapes.
    `fills` are those of what `find` has seen: ask it first, or there are none.
    """

    account: str

    def remember(self, ticket: OrderTicket, sent_at: datetime, venue_order_id: str | None = None) -> None:
        """The log says that this order was or may have been sent then: from now on it can be asked about."""

    def open_orders(self) -> list[VenueOrder]:
        """All open orders of the account."""

    def own_trades(self, instrument: Instrument, since: datetime) -> list[VenueTrade]:
        """The account's trades in the instrument since then, each once, oldest first."""

    def balances(self) -> Mapping[Asset, Balance]:
        """What the account holds; assets it holds nothing of are left out."""
