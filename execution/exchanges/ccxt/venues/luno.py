"""Luno. ccxt drops fees and client order ids, so both are read from the raw reply."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import ccxt

from execution.exchanges.ccxt.parsing import (
    OddAnswer,
    Row,
    fee,
    instrument_of,
    milliseconds,
    number,
    row_of,
    rows_of,
    section,
    text,
    time,
    trade_of,
)
from execution.exchanges.ccxt.venue_facts import Client, ListAt, OrderQuery, VenueFacts, count_rows
from execution.exchanges.exchange import VenueOrder, VenueTrade
from ledger.values import Side

_PAGE: Final = 1000
_LISTED: Final = 1000
_ORDERS: Final = ListAt("order_id", ("orders",))
_TTL_MS: Final = 10_000


def _order(client: Client, query: OrderQuery) -> list[VenueOrder]:
    try:
        return [_order_of(client, _ask(client, "3", "order", {"client_order_id": query.client_order_id}))]
    except ccxt.OrderNotFound:
        return []


def _by_venue_id(client: Client, venue_order_id: str, _: OrderQuery) -> VenueOrder:
    return _order_of(client, _ask(client, "3", "order", {"id": venue_order_id}))


def _closed_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return _listed(client, query, {"closed": "true"})


def _open_orders(client: Client, query: OrderQuery) -> list[VenueOrder]:
    return _listed(client, query, {})


def _listed(client: Client, query: OrderQuery, parameters: Mapping[str, str]) -> list[VenueOrder]:
    """Return the newest orders of a list with the id. Raises OddAnswer when the order may be further back."""
    pair = client.market(query.symbol)["id"]
    answer = _ask(client, "2", "listorders", {**parameters, "pair": pair, "limit": str(_LISTED)})
    count_rows(client, _ORDERS)
    rows = rows_of(answer.get("orders") or [])
    found = [_order_of(client, row) for row in rows if row.get("client_order_id") == query.client_order_id]
    if not found and len(rows) >= _LISTED:
        raise OddAnswer(f"the list is full with {_LISTED} orders: the order may be beyond its end")
    return found


def _all_open_orders(client: Client) -> list[VenueOrder]:
    answer = _ask(client, "2", "listorders", {"limit": str(_LISTED)})
    return [_order_of(client, row) for row in rows_of(answer.get("orders") or [])]


def _ask(client: Client, version: str, route: str, parameters: Mapping[str, str]) -> Row:
    """Return the raw reply of a newer version of a route, which ccxt does not support."""
    with _version(client, version):
        return row_of(client.request(route, ["exchangePrivate"], "GET", dict(parameters)))


@contextmanager
def _version(client: Client, version: str) -> Iterator[None]:
    usual, client.version = client.version, version
    try:
        yield
    finally:
        client.version = usual


def _order_of(client: Client, row: Row) -> VenueOrder:
    """Parse an order of the newer routes. COMPLETE means filled if the whole size is, else cancelled."""
    filled, volume = number(row, "base"), number(row, "limit_volume")
    status = text(row, "status")
    if status not in ("AWAITING", "PENDING", "COMPLETE"):
        raise OddAnswer(f"status is {status[:40]!r}")
    ended: Literal["filled", "cancelled"] = "filled" if filled > 0 and filled >= volume else "cancelled"
    return VenueOrder(
        venue_order_id=text(row, "order_id"),
        client_order_id=text(row, "client_order_id") if row.get("client_order_id") else None,
        instrument=instrument_of(client.safe_symbol(text(row, "pair"))),
        side=Side(text(row, "side").lower()),
        state="open" if status != "COMPLETE" else ended,
        filled=filled,
        placed_at=time(row, "creation_timestamp"),
    )


def _trade(row: Row) -> VenueTrade:
    """Parse an own trade, with fees and client order id from the raw row."""
    raw = section(row, "info")
    known = trade_of({**row, "fee": None, "fees": None})
    instrument = known.instrument
    fees = (*fee(instrument.base, number(raw, "fee_base")), *fee(instrument.quote, number(raw, "fee_counter")))
    return replace(known, fees=fees, client_order_id=str(raw.get("client_order_id") or "") or None)


def _parameters(now: datetime) -> Mapping[str, object]:
    return {"timestamp": milliseconds(now), "ttl": _TTL_MS}


LUNO: Final = VenueFacts(
    venue="luno",
    hosts=frozenset({"api.luno.com"}),
    client_id_parameter="client_order_id",
    client_id_pattern=re.compile(r"[A-Za-z0-9_;,.-]{1,255}", re.ASCII),
    id_scope="lifetime",
    resend_safe=True,
    validity=timedelta(milliseconds=_TTL_MS),
    sources={"order": _order, "open orders": _open_orders, "closed orders": _closed_orders},
    open_orders_at=_ORDERS,
    trades_at=ListAt("sequence", ("trades",)),
    balances_at=ListAt("asset", ("balance",)),
    fee_source="raw trade",
    trade_id_scope="instrument",
    history_window=timedelta(days=100),
    page=_PAGE,
    trade_cursor="after_seq",
    base_buys=False,
    quote_buys="amount",
    quote_step=Decimal("0.01"),
    has={"fetchCurrencies": False},
    order_parameters=_parameters,
    trade=_trade,
    open_orders=_all_open_orders,
    by_venue_id=_by_venue_id,
)
