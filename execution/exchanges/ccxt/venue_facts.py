"""Facts that must be declared for a venue before trading real money there, and that ccxt does not provide."""

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
    """The path of a list in a venue's reply, and a field that each of its rows must have.

    `keyed`: an object by id instead of a list.
    """

    row: str
    path: tuple[str, ...] = ()
    keyed: bool = False


SINCE_MARGIN: Final = timedelta(minutes=10)
"""Lists are read from this long before an order was sent, because clocks differ."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The order to look up: client order id, ccxt symbol, and time of sending."""

    client_order_id: str
    symbol: str
    sent_at: datetime

    @property
    def since(self) -> int:
        """Milliseconds since 1970, some minutes before sending."""
        return milliseconds(self.sent_at - SINCE_MARGIN)


LookUp = Callable[[Client, OrderQuery], list[VenueOrder]]
"""Returns the orders of one source with that client order id. Raises the client's errors, and OddAnswer."""


def _order_by_venue_id(client: Client, venue_order_id: str, query: OrderQuery) -> VenueOrder:
    return order_of(row_of(client.fetch_order(venue_order_id, query.symbol)))


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """Declared facts of one venue. Venues without them are for paper trading only.

    `validity`: the time after which a request not yet carried out never will be, enforced by `order_parameters`; None
    if the venue guarantees nothing, so that only a person can settle a missing order. `sources`: look-ups, tried in
    order; at least two. `quote_buys`: whether a market buy sized in quote is passed to ccxt as cost or as amount, in
    multiples of `quote_step`. `stops`: stop orders that become market orders are supported. `withdraws`: returns whether
    the key may withdraw. Own trades are paged oldest first by `trade_cursor`, or newest first by time without one.
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
        """The supported orders. With ccxt, limit orders are sized in base at every venue."""
        return SupportedTerms(self.venue, self.base_buys, self.quote_sells, False, self.stops, self.times_in_force)


def count_rows(client: Client, at: ListAt) -> int:
    """Count the rows of a list in the venue's last reply; null is an empty list. Raises OddAnswer if it has no list.

    ccxt parses replies that it does not understand, even HTML, as empty lists, which would be false proof.
    """
    answer: object = client.last_json_response
    for name in at.path:
        row = row_of(answer)
        if name not in row:
            raise OddAnswer(f"the reply has no {name}")
        answer = row[name]
    if answer is None and at.path:
        return 0
    rows = answer if isinstance(answer, list) and not at.keyed else None
    if isinstance(answer, dict) and at.keyed:
        rows = list(answer.values())
    if rows is None or any(row_of(each).get(at.row) in (None, "") for each in rows):
        raise OddAnswer(f"{'.'.join(at.path) or 'the reply'} is not the expected list")
    return len(rows)


def with_client_id(
    client: Client, orders: object, at: ListAt, query: OrderQuery, page: int | None = None
) -> list[VenueOrder]:
    """Return the orders with the client order id. Raises OddAnswer when the reply has no list, or when no order has the
    id and the list may continue."""
    count, listed = count_rows(client, at), rows_of(orders)
    found = [order_of(row) for row in listed if row.get("clientOrderId") == query.client_order_id]
    goes_on = any(section(row, "info").get("cursor") for row in listed) or (page is not None and count >= page)
    if not found and goes_on:
        raise OddAnswer(f"the list has {count} orders and may continue: the order may be beyond its end")
    return found
