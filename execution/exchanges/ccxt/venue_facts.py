"""What has to be known of a venue before real money goes there, and what its client does not tell."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import ccxt

from execution.exchanges.ccxt.parsing import OddAnswer, milliseconds, order_of, row_of, rows_of, section, trade_of
from execution.exchanges.exchange import SupportedTerms, VenueOrder, VenueTrade
from ledger.events.fields import TimeInForce

Client: TypeAlias = ccxt.Exchange
"""A ccxt client; it ships no types."""


@dataclass(frozen=True, slots=True)
class ListAt:
    """Where in a venue's answer a list stands, names from the outside in, and a part that each of its rows must have.

    `keyed` when it is an object by id instead of a list.
    """

    row: str
    path: tuple[str, ...] = ()
    keyed: bool = False


SINCE_MARGIN: Final = timedelta(minutes=10)
"""Lists are read from so long before an order was sent: the venue's clock is not ours."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The order that is looked for: its client order id, its market as ccxt names it, and when it was sent."""

    client_order_id: str
    symbol: str
    sent_at: datetime

    @property
    def since(self) -> int:
        """In milliseconds, some minutes before it was sent."""
        return milliseconds(self.sent_at - SINCE_MARGIN)


LookUp = Callable[[Client, OrderQuery], list[VenueOrder]]
"""The orders that one source has under that client order id; raises what the client raises, and OddAnswer."""


def _order_by_venue_id(client: Client, venue_order_id: str, asked: OrderQuery) -> VenueOrder:
    return order_of(row_of(client.fetch_order(venue_order_id, asked.symbol)))


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """One venue's declared facts. A venue without them is for paper only.

    `validity` is after how long a request that has not been carried out never will be; None where the venue promises
    nothing: then no order is ever held to be not placed without a person. `order_parameters` make it so.
    `sources` are asked in this order; at least two of them, or nothing is ever proven.
    `quote_buys` says how a market buy by quote is asked for: as ccxt's cost, or as the amount itself,
    in multiples of `quote_step` where the client does not see to that. `stops`: it takes stop orders that become market
    orders. `withdraws` asks whether the key may withdraw, where the venue tells. Own trades come oldest first and go on behind a
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
    open_orders_at: ListAt
    trades_at: ListAt
    balances_at: ListAt
    fee_source: Literal["trade", "raw trade", "account activities"]
    trade_id_scope: Literal["instrument", "account"]
    history_window: timedelta | None
    page: int
    trade_cursor: str | None = None
    base_buys: bool = True
    quote_buys: Literal["cost", "amount"] = "cost"
    quote_step: Decimal | None = None
    quote_sells: bool = False
    stops: bool = False
    times_in_force: frozenset[TimeInForce] = frozenset({"gtc"})
    withdraws: Callable[[Client], bool] | None = None
    order_trades: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    has: Mapping[str, bool] = field(default_factory=dict)
    order_parameters: Callable[[datetime], Mapping[str, object]] = lambda now: {}
    trade: Callable[[Mapping[str, object]], VenueTrade] = trade_of
    open_orders: Callable[[Client], list[VenueOrder]] = lambda client: list(
        map(order_of, rows_of(client.fetch_open_orders()))
    )
    by_venue_id: Callable[[Client, str, OrderQuery], VenueOrder] = _order_by_venue_id
    sandbox: bool = False

    @property
    def supported(self) -> SupportedTerms:
        """The orders that the venue takes; through the client limit orders are sized in base everywhere."""
        return SupportedTerms(self.venue, self.base_buys, self.quote_sells, False, self.stops, self.times_in_force)


def count_rows(client: Client, at: ListAt) -> int:
    """How many rows the venue's last answer holds there; null is an empty list. Raises OddAnswer for any other answer.

    A client takes whatever it does not understand, a page of HTML too, for an empty list: that would be false proof.
    """
    answer: object = client.last_json_response
    for name in at.path:
        row = row_of(answer)
        if name not in row:
            raise OddAnswer(f"the answer has no {name}")
        answer = row[name]
    if answer is None and at.path:
        return 0
    rows = answer if isinstance(answer, list) and not at.keyed else None
    if isinstance(answer, dict) and at.keyed:
        rows = list(answer.values())
    if rows is None or any(row_of(each).get(at.row) in (None, "") for each in rows):
        raise OddAnswer(f"{'.'.join(at.path) or 'the answer'} is no list of what was asked for")
    return len(rows)


def with_client_id(
    client: Client, orders: object, at: ListAt, asked: OrderQuery, page: int | None = None
) -> list[VenueOrder]:
    """The orders that carry the client order id. Raises OddAnswer when the venue's answer holds no list where it should,
    and when no order carries the id and the list may go on."""
    told, listed = count_rows(client, at), rows_of(orders)
    found = [order_of(row) for row in listed if row.get("clientOrderId") == asked.client_order_id]
    goes_on = any(section(row, "info").get("cursor") for row in listed) or (page is not None and told >= page)
    if not found and goes_on:
        raise OddAnswer(f"the list holds {told} orders and may go on: what lies beyond is not known")
    return found
