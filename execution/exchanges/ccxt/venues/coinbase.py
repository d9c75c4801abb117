"""Coinbase. The client order id must be passed under the venue's own name; ccxt replaces any other by a random one."""

import re
from datetime import timedelta
from typing import Final

from execution.exchanges.ccxt.parsing import flag, row_of
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, with_client_id
from execution.exchanges.exchange import VenueOrder

_PAGE: Final = 100
_ORDERS: Final = ListAt("order_id", ("orders",))


def _orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return with_client_id(client, client.fetch_orders(query.symbol, query.since, _PAGE), _ORDERS, query, _PAGE)


def _open_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return with_client_id(client, client.fetch_open_orders(query.symbol, None, _PAGE), _ORDERS, query, _PAGE)


COINBASE: Final = VenueFacts(
    venue="coinbase",
    hosts=frozenset({"api.coinbase.com"}),
    client_id_parameter="client_order_id",
    client_id_pattern=re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII),
    id_scope="lifetime",
    resend_safe=True,
    validity=timedelta(seconds=120),  # lifetime of the token that signs a request
    sources={"orders": _orders, "open orders": _open_orders},
    open_orders_at=_ORDERS,
    trades_at=ListAt("trade_id", ("fills",)),
    balances_at=ListAt("uuid", ("accounts",)),
    fee_source="trade",
    trade_id_scope="account",
    history_window=None,
    page=_PAGE,
    base_buys=False,
    times_in_force=frozenset({"gtc", "ioc", "fok"}),
    withdraws=lambda client: flag(row_of(client.v3PrivateGetBrokerageKeyPermissions()), "can_transfer"),
    has={"fetchCurrencies": False},
)
