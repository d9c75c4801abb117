"""The venue of a crash campaign, which survives, and the comparison of a ledger with it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine

from ledger.events import SignalApproved, TradeExecuted
from ledger.postgres.book import PostgresBook
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import Balance, DifferenceView
from ledger.replay.verify import verify_portfolio
from ledger.values import ZERO
from tests.campaigns.crash_program import Scene, VenueTime


class Venue:
    """`daybook venue` as it is installed, and its control."""

    def __init__(self, name: str) -> None:
        daybook = Path(sys.executable).with_name("daybook")
        self._process = subprocess.Popen([daybook, "venue", name, "--json"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]
        self.control = httpx.Client(base_url=self.url)
        self.time = VenueTime(self.control)
        self.runs = 0

    def post(self, route: str, body: object) -> None:
        self.control.post(f"/control/{route}", json=body).raise_for_status()

    def read(self, route: str) -> Any:
        return self.control.get(f"/control/{route}").raise_for_status().json()

    def placed(self) -> int:
        """The number of attempts to place an order."""
        asked = self.read("requests").items()
        return sum(count for route, count in asked if route.startswith("POST ") and not route.endswith("/stoporder"))

    def close(self) -> None:
        self.control.close()
        self._process.terminate()
        self._process.communicate()


def orders_of(book: PostgresBook, scene: Scene) -> list[OrderView]:
    with book.reading(scene.portfolio_id) as reading:
        return list(reading.rows.history(OrderView))


def faults_at(venue: Venue, engine: Engine, scene: Scene, *, late: bool) -> list[str]:
    """The differences between ledger and venue, or within the ledger: lost, doubled or silent."""
    book = PostgresBook(engine, venue.time)
    orders = orders_of(book, scene)
    with book.reading(scene.portfolio_id) as reading:
        held = {one.asset: one.quantity for one in reading.rows.where(Balance)}
        found = [f"a difference about {one.subject}" for one in reading.rows.where(DifferenceView)]
    found += [f"an order is still {one.status}" for one in orders if one.live]
    if len(orders) != 1:
        found.append(f"{len(orders)} orders from one wish")
    events = [one.event for one in book.log.read(scene.portfolio_id)]
    approved = sum(isinstance(one, SignalApproved) for one in events)
    if approved != (scene.story == "signal"):
        found.append(f"{approved} approvals")
    trades = [one for one in events if isinstance(one, TradeExecuted)]
    booked = Counter((str(one.instrument), one.venue_trade_id, one.quantity) for one in trades)
    found += _against_orders(orders, venue, booked, late=late)
    told = {asset: Decimal(total) for asset, total in venue.read("balances").items()}
    found += [f"{one}: {held.get(one, ZERO)} here" for one in held | told if held.get(one, 0) != told.get(one, 0)]
    proven = verify_portfolio(engine, scene.portfolio_id)
    return [*found, *map(str, proven.differences), *([f"broken: {proven.broken}"] if proven.broken else [])]


def _against_orders(
    orders: Sequence[OrderView], venue: Venue, booked: Counter[tuple[str, str, Decimal]], *, late: bool
) -> list[str]:
    """Every order at the venue is one of ours, once, with equal fills; every fill there is one trade here.

    An order that went out `late` may have been closed as not placed.
    """
    by_id = {order.client_order_id: order for order in orders}
    there = [one for one in venue.read("orders") if one["client_order_id"] in by_id]
    found = [f"{len(there)} orders at the venue"] if len(there) > 1 else []
    for one in there:
        order = by_id[one["client_order_id"]]
        if order.filled_quantity != Decimal(one["filled"]):
            found.append(f"filled {one['filled']} there, {order.filled_quantity} here")
        if one["state"] == "open" or (order.reason in ("not_sent", "not_placed") and not late):
            found.append(f"{one['state']} there, {order.status} as {order.reason or 'nothing'} here")
    fills = [one for one in venue.read("trades") if one["client_order_id"] in by_id]
    executed = Counter((one["instrument"], str(one["trade_id"]), Decimal(one["quantity"])) for one in fills)
    if executed != booked:
        found.append(f"{sum(executed.values())} fills there, {sum(booked.values())} trades here")
    return found
