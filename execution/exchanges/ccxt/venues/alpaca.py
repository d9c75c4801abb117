"""Alpaca's crypto pairs, paper and live. Fills carry no fees: they follow as account activities."""

import re
from typing import Final

import ccxt

from execution.exchanges.ccxt.parsing import order_of, row_of
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, with_client_id
from execution.exchanges.exchange import VenueOrder

_PAGE: Final = 500
_ORDERS: Final = ListAt("id")
_NOT_FOUND: Final = "40410000"


def _order(client: Client, query: OrderQuery) -> list[VenueOrder]:
    route, parameters = "v2/orders:by_client_order_id", {"client_order_id": query.client_order_id}
    try:
        raw = client.request(route, ["trader", "private"], "GET", parameters)
    except ccxt.InvalidOrder as error:
        if _NOT_FOUND in str(error):
            return []
        raise
    return [order_of(row_of(client.parse_order(raw)))]


def _orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return with_client_id(client, client.fetch_orders(query.symbol, query.since, _PAGE), _ORDERS, query, _PAGE)


ALPACA: Final = VenueFacts(
    venue="alpaca",
    hosts=frozenset({"api.alpaca.markets", "paper-api.alpaca.markets", "data.alpaca.markets"}),
    client_id_parameter="clientOrderId",
    client_id_pattern=re.compile(r"[!-~]{1,48}", re.ASCII),
    id_scope="lifetime",
    resend_safe=True,
    validity=None,
    sources={"order": _order, "orders": _orders},
    open_orders_at=_ORDERS,
    trades_at=ListAt("id"),
    balances_at=ListAt("symbol"),
    fee_source="account activities",
    trade_id_scope="account",
    history_window=None,
    page=100,
    quote_sells=True,
    times_in_force=frozenset({"gtc", "ioc"}),
    sandbox=True,
)
