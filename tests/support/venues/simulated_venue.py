"""A running simulated venue and an adapter to it, with one clock that only tests advance."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import ccxt
import httpx

from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.venue_facts import VenueFacts
from execution.exchanges.ccxt.venues import facts_of
from execution.exchanges.exchange import OrderTicket
from execution.exchanges.simulated.server import KEY, SECRET, SimulatedVenue
from ledger.values import Instrument, Side, derived_id

FIRST = {"binance": Instrument("BTC-USDT"), "luno": Instrument("BTC-ZAR")}
PRICE = {"binance": Decimal(60000), "luno": Decimal(1200000)}
QUOTE = {"binance": Decimal(600), "luno": Decimal(12000)}


@dataclass(slots=True)
class HandClock:
    """A clock that only `advance` moves."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class RunningVenue:
    """A running venue, a client for its control routes, and an adapter to its account."""

    name: str
    clock: HandClock
    venue: SimulatedVenue
    exchange: CcxtExchange
    control: httpx.Client
    tickets: int = field(default=0)

    def fault(self, name: str, times: int | None = 1, **more: object) -> None:
        self.post("faults", {"name": name, "times": times, **more})

    def post(self, route: str, body: Mapping[str, object]) -> Any:
        answer = self.control.post(f"/control/{route}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def orders(self, client_order_id: str | None = None) -> list[dict[str, str]]:
        """Return the venue's orders."""
        named = {"client_order_id": client_order_id} if client_order_id else {}
        found: list[dict[str, str]] = self.control.get("/control/orders", params=named).json()
        return found

    def requests(self) -> dict[str, int]:
        found: dict[str, int] = self.control.get("/control/requests").json()
        return found

    def placing_requests(self) -> int:
        return sum(count for route, count in self.requests().items() if route.startswith("POST "))

    def ticket(self, side: Side = Side.BUY, **terms: Any) -> OrderTicket:
        """Return a market order in the venue's first market with a new client order id; buys are sized in quote."""
        self.tickets += 1
        size = {"quote_size": QUOTE[self.name]} if side is Side.BUY else {"base_size": Decimal("0.01")}
        return ticket(self.name, self.tickets, self.clock(), side=side, **{**size, **terms})

    def another_adapter(self, facts: VenueFacts | None = None, **settings: Any) -> CcxtExchange:
        """Return a new adapter, as after a restart."""
        return adapter(facts or facts_of(self.name), self.venue.url, self.clock, **settings)

    def client(self) -> Any:
        """Return the adapter's ccxt client, whose requests go to this venue."""
        return self.exchange._client


def ticket(venue: str, number: int, now: datetime, **terms: Any) -> OrderTicket:
    """Return an order with these terms; by default a market buy without size."""
    known: dict[str, Any] = {
        "client_order_id": derived_id("a test's order", number).hex,
        "account": "main",
        "instrument": FIRST.get(venue, Instrument("BTC-USD")),
        "side": Side.BUY,
        "kind": next((kind for kind in ("limit", "stop") if terms.get(f"{kind}_price") is not None), "market"),
        "base_size": None,
        "quote_size": None,
        "limit_price": None,
        "expires_at": now + timedelta(hours=1),
    }
    if terms.get("base_size") is not None:
        terms["quote_size"] = None
    return OrderTicket(**{**known, **terms})


def adapter(
    facts: VenueFacts, url: str, clock: HandClock, timeout_ms: int = 10_000, secret: str = SECRET
) -> CcxtExchange:
    """Return an adapter to a venue at that address, without rate limiting."""

    def prepare(client: ccxt.Exchange) -> None:
        client.enableRateLimit = False
        client.timeout = timeout_ms

    return CcxtExchange(facts, "main", ApiKey(KEY, secret), clock, endpoint=url, prepare=prepare)


@contextmanager
def running_venue(name: str, seed: int = 0, **settings: Any) -> Iterator[RunningVenue]:
    """Run the venue."""
    clock = HandClock()
    venue = SimulatedVenue(name, clock, seed=seed)
    try:
        with httpx.Client(base_url=venue.url) as control:
            yield RunningVenue(name, clock, venue, adapter(facts_of(name), venue.url, clock, **settings), control)
    finally:
        venue.stop()


def without_window(facts: VenueFacts) -> VenueFacts:
    """Return the facts with a wrong validity, as if late requests were dropped immediately."""
    return replace(facts, validity=timedelta(seconds=-10))
