"""A simulated venue and an adapter in front of it, sharing one clock that only tests move."""

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
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class Place:
    """A venue that runs, the way to control it, and an adapter for its one account."""

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
        """The venue's own truth."""
        named = {"client_order_id": client_order_id} if client_order_id else {}
        found: list[dict[str, str]] = self.control.get("/control/orders", params=named).json()
        return found

    def requests(self) -> dict[str, int]:
        found: dict[str, int] = self.control.get("/control/requests").json()
        return found

    def placing_requests(self) -> int:
        return sum(count for route, count in self.requests().items() if route.startswith("POST "))

    def ticket(self, side: Side = Side.BUY, **terms: Any) -> OrderTicket:
        """A market order in the venue's first market with a client order id of its own; a buy is sized in quote."""
        self.tickets += 1
        size = {"quote_size": QUOTE[self.name]} if side is Side.BUY else {"base_size": Decimal("0.01")}
        return ticket(self.name, self.tickets, self.clock(), side=side, **{**size, **terms})

    def another_adapter(self, facts: VenueFacts | None = None, **settings: Any) -> CcxtExchange:
        """A new adapter, as after a restart."""
        return adapter(facts or facts_of(self.name), self.venue.url, self.clock, **settings)

    def client(self) -> Any:
        """The venue's client as ccxt makes it, going to this venue below its own feet."""
        return self.exchange._client


def ticket(venue: str, number: int, now: datetime, **terms: Any) -> OrderTicket:
    """An order; what is not named is a market buy of nothing yet."""
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
    """An adapter to a venue at that address; its client does not pace itself."""

    def prepare(client: ccxt.Exchange) -> None:
        client.enableRateLimit = False
        client.timeout = timeout_ms

    return CcxtExchange(facts, "main", ApiKey(KEY, secret), clock, endpoint=url, prepare=prepare)


@contextmanager
def place(name: str, seed: int = 0, **settings: Any) -> Iterator[Place]:
    """The venue, running."""
    clock = HandClock()
    venue = SimulatedVenue(name, clock, seed=seed)
    try:
        with httpx.Client(base_url=venue.url) as control:
            yield Place(name, clock, venue, adapter(facts_of(name), venue.url, clock, **settings), control)
    finally:
        venue.stop()


def without_window(facts: VenueFacts) -> VenueFacts:
    """The facts of a venue of which somebody wrongly believes that a late request is dropped at once."""
    return replace(facts, validity=timedelta(seconds=-10))
