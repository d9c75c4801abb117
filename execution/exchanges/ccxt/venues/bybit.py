"""Bybit spot. The fetch_order of ccxt cannot look up by client order id, so the venue's own routes are used."""

import re
from datetime import timedelta
from typing import Final

from execution.exchanges.ccxt.parsing import OddAnswer, order_of, row_of, rows_of, section
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, with_client_id
from execution.exchanges.exchange import VenueOrder

_PAGE: Final = 100
_LIST: Final = ("result", "list")
_ORDERS: Final = ListAt("orderId", _LIST)
_WINDOW_MS: Final = 5000


def _realtime(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return _listed(client, client.privateGetV5OrderRealtime(_by_client_id(query)), query)


def _history(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return _listed(client, client.privateGetV5OrderHistory(_by_client_id(query)), query)


def _by_venue_id(client: Client, venue_order_id: str, query: OrderQuery) -> VenueOrder:
    parameters = {"category": "spot", "orderId": venue_order_id}
    for fetch in (client.privateGetV5OrderRealtime, client.privateGetV5OrderHistory):
        for row in rows_of(section(fetch(parameters), "result").get("list")):
            return order_of(client.parse_order(row, client.market(query.symbol)))
    raise OddAnswer(f"order {venue_order_id} is missing")


def _by_client_id(query: OrderQuery) -> dict[str, object]:
    return {"category": "spot", "orderLinkId": query.client_order_id}


def _listed(client: Client, answer: dict[str, object], query: OrderQuery) -> list[VenueOrder]:
    rows = rows_of(section(answer, "result").get("list"))
    orders = [client.parse_order(row, client.market(query.symbol)) for row in rows]
    return with_client_id(client, orders, _ORDERS, query)


def _withdraws(client: Client) -> bool:
    permissions = section(section(row_of(client.privateGetV5UserQueryApi()), "result"), "permissions")
    wallet = permissions.get("Wallet")
    if not isinstance(wallet, list):
        raise OddAnswer("the key's permissions have no wallet")
    return "Withdraw" in wallet


BYBIT: Final = VenueFacts(
    venue="bybit",
    hosts=frozenset({"api.bybit.com", "api-testnet.bybit.com"}),
    client_id_parameter="clientOrderId",
    client_id_pattern=re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII),
    id_scope="open orders",  # documented as unique, without a duration
    resend_safe=False,
    validity=timedelta(milliseconds=_WINDOW_MS),
    sources={"realtime": _realtime, "history": _history},
    open_orders_at=_ORDERS,
    trades_at=ListAt("execId", _LIST),
    balances_at=ListAt("coin", _LIST),
    fee_source="trade",
    trade_id_scope="instrument",
    history_window=timedelta(days=7),
    page=_PAGE,
    quote_sells=True,
    times_in_force=frozenset({"gtc", "ioc", "fok"}),
    withdraws=_withdraws,
    order_trades=True,
    by_venue_id=_by_venue_id,
    settings={
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "enableUnifiedMargin": False,
            "enableUnifiedAccount": True,
            "recvWindow": _WINDOW_MS,
        }
    },
    has={"fetchCurrencies": False},
    sandbox=True,
)
