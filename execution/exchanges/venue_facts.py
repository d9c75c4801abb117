"""What has to be known of a venue before real money goes there, and what its client does not tell."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import ccxt

from execution.exchange import VenueOrder, VenueTrade
from execution.exchanges.answers import OddAnswer, milliseconds, order_of, part, row_of, rows_of, trade_of

Client: TypeAlias = ccxt.Exchange
"""A ccxt client; it ships no types."""

SINCE_MARGIN: Final = timedelta(minutes=10)
"""Lists are read from so long before an order was sent: the venue's clock is not ours."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The order that is looked for: its client order id, its market as ccxt names it, and when it was sent."""

    client_order_id: str
    symbol: str
    sent_at: datetime

    @property
    def since(self) -> int:
        """In milliseconds, some minutes before it was sent."""
        return milliseconds(self.sent_at - SINCE_MARGIN)


LookUp = Callable[[Client, Asked], list[VenueOrder]]
"""The orders that one source has under that client order id; raises what the client raises, and OddAnswer."""


def _order_by_venue_id(client: Client, venue_order_id: str, asked: Asked) -> VenueOrder:
    return order_of(row_of(client.fetch_order(venue_order_id, asked.symbol)))


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """One venue's declared facts. A venue without them is for paper only.

    `validity` is after how long a request that has not been carried out never will be; None where the venue promises
    nothing: then no order is ever held to be not placed without a person. `order_parameters` make it so.
    `sources` are asked in this order; at least two of them, or nothing is ever proven.
    `quote_buys` says how a market buy by quote is asked for: as ccxt's cost, or as the amount itself,
    in multiples of `quote_step` where the client does not see to that. Own trades come oldest first and go on behind a
    `trade_cursor`, or without one newest first and go back by time.
    """

    venue: str
    hosts: frozenset[str]
    client_id_parameter: str
    client_id_pattern: re.Pattern[str]
    id_scope: Literal["open orders", "lifetime"]
    resend_safe: bool
    validity: timedelta | None
    sources: Mapping[str, LookUp]
    fee_source: Literal["trade", "raw trade", "account activities"]
    trade_id_scope: Literal["instrument", "account"]
    history_window: timedelta | None
    page: int
    trade_cursor: str | None = None
    base_buys: bool = True
    quote_buys: Literal["cost", "amount"] = "cost"
    quote_step: Decimal | None = None
    quote_sells: bool = False
    order_trades: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    has: Mapping[str, bool] = field(default_factory=dict)
    order_parameters: Callable[[datetime], Mapping[str, object]] = lambda now: {}
    trade: Callable[[Mapping[str, object]], VenueTrade] = trade_of
    open_orders: Callable[[Client], list[VenueOrder]] = lambda client: list(
        map(order_of, rows_of(client.fetch_open_orders()))
    )
    by_venue_id: Callable[[Client, str, Asked], VenueOrder] = _order_by_venue_id
    sandbox: bool = False


def with_client_id(orders: object, asked: Asked, page: int | None = None) -> list[VenueOrder]:
    """The orders of a list that carry the client order id. Raises OddAnswer when none does and the list may go on."""
    listed = rows_of(orders)
    found = [order for order in map(order_of, listed) if order.client_order_id == asked.client_order_id]
    goes_on = any(part(row, "info").get("cursor") for row in listed) or (page is not None and len(listed) >= page)
    if not found and goes_on:
        raise OddAnswer(f"the list holds {len(listed)} orders and may go on: what lies beyond is not known")
    return found
