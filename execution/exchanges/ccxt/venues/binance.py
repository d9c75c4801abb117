"""Binance spot."""

import re
from datetime import timedelta
from typing import Final

import ccxt

from execution.exchanges.ccxt.parsing import flag, order_of, row_of
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, with_client_id
from execution.exchanges.exchange import VenueOrder

_PAGE: Final = 1000
_ORDERS: Final = ListAt("orderId")
_WINDOW_MS: Final = 5000


def _order(client: Client, query: OrderQuery) -> list[VenueOrder]:
    try:
        return [order_of(row_of(client.fetch_order(None, query.symbol, {"clientOrderId": query.client_order_id})))]
    except ccxt.OrderNotFound:
        return []


def _all_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return with_client_id(client, client.fetch_orders(query.symbol, query.since, _PAGE), _ORDERS, query, _PAGE)


def _open_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return with_client_id(client, client.fetch_open_orders(query.symbol), _ORDERS, query)


BINANCE: Final = VenueFacts(
    venue="binance",
    hosts=frozenset({"api.binance.com", "testnet.binance.vision"}),
    client_id_parameter="clientOrderId",
    client_id_pattern=re.compile(r"[.A-Z:/a-z0-9_-]{1,36}", re.ASCII),
    id_scope="open orders",
    resend_safe=False,
    validity=timedelta(milliseconds=_WINDOW_MS),
    sources={"order": _order, "all orders": _all_orders, "open orders": _open_orders},
    open_orders_at=_ORDERS,
    trades_at=ListAt("id"),
    balances_at=ListAt("asset", ("balances",)),
    fee_source="trade",
    trade_id_scope="instrument",
    history_window=None,
    page=_PAGE,
    trade_cursor="fromId",
    quote_sells=True,
    stops=True,
    times_in_force=frozenset({"gtc", "ioc", "fok"}),
    withdraws=lambda client: flag(row_of(client.sapiGetAccountApiRestrictions()), "enableWithdrawals"),
    order_trades=True,
    settings={
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchMargins": False,
            "fetchCurrencies": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        }
    },
    has={"fetchCurrencies": False},
    order_parameters=lambda now: {"recvWindow": _WINDOW_MS},
    sandbox=True,
)
