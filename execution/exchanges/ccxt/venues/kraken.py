"""Kraken spot. The fetch_order of ccxt confuses the client order id with another field, so lists are used instead."""

import re
from datetime import datetime, timedelta
from typing import Final

from execution.exchanges.ccxt.parsing import OddAnswer, row_of, section
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, with_client_id
from execution.exchanges.exchange import VenueOrder
from ledger.values import time_text

_PAGE: Final = 50
_OPEN: Final = ListAt("status", ("result", "open"), keyed=True)
_CLOSED: Final = ListAt("status", ("result", "closed"), keyed=True)
_DEADLINE: Final = timedelta(seconds=10)


def _open_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    orders = client.fetch_open_orders(query.symbol, None, None, {"clientOrderId": query.client_order_id})
    return with_client_id(client, orders, _OPEN, query)


def _closed_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    orders = client.fetch_closed_orders(query.symbol, query.since, None, {"clientOrderId": query.client_order_id})
    return with_client_id(client, orders, _CLOSED, query, _PAGE)


def _withdraws(client: Client) -> bool:
    permissions = section(row_of(client.privatePostGetApiKeyInfo()), "result").get("permissions")
    if not isinstance(permissions, list):
        raise OddAnswer("the key's permissions are not a list")
    return any("withdraw" in str(one).lower() for one in permissions)


def _parameters(now: datetime) -> dict[str, object]:
    return {"deadline": time_text(now + _DEADLINE)}


KRAKEN: Final = VenueFacts(
    venue="kraken",
    hosts=frozenset({"api.kraken.com"}),
    client_id_parameter="clientOrderId",
    client_id_pattern=re.compile(r"[0-9a-f]{32}|[0-9a-f-]{36}|[ -~]{1,18}", re.ASCII),
    id_scope="open orders",
    resend_safe=False,
    validity=_DEADLINE,
    sources={"open orders": _open_orders, "closed orders": _closed_orders},
    open_orders_at=_OPEN,
    trades_at=ListAt("ordertxid", ("result", "trades"), keyed=True),
    balances_at=ListAt("balance", ("result",), keyed=True),
    fee_source="trade",
    trade_id_scope="account",
    history_window=None,
    page=_PAGE,
    stops=True,
    times_in_force=frozenset({"gtc", "ioc"}),
    withdraws=_withdraws,
    has={"fetchCurrencies": False},
    order_parameters=_parameters,
)
