"""A portfolio in memory whose only account is at a simulated venue."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from execution.exchanges.exchange import LiveExchange
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket
from ledger.events import (
    AccountOpened,
    CashDeposited,
    Event,
    MarkRecorded,
    OpeningLotRecorded,
    PortfolioOpened,
)
from ledger.locks import Leadership
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import Balance
from ledger.values import ZERO, Asset, Instrument, Side, derived_id
from tests.support.events import SteppingClock
from tests.support.trading import Hook, MemoryLeaders, WatchedBook
from tests.support.venues.simulated_venue import RunningVenue, running_venue

BTC = Instrument("BTC-USDT")
ACCOUNT = "main"


class WatchedLive:
    """The live exchange, with a hook around the call that sends."""

    def __init__(self, exchange: LiveExchange, hook: Hook) -> None:
        self._exchange, self._hook = exchange, hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def submit(self, ticket: Any) -> Any:
        self._hook("before", "submit")
        answer = self._exchange.submit(ticket)
        self._hook("after", "submit")
        return answer


@dataclass
class LivePortfolio:
    """A portfolio whose only account is at the simulated venue, opened with the balances there."""

    there: RunningVenue
    portfolio_id: Any
    book: MemoryBook
    leaders: MemoryLeaders
    recorded: int = 0
    leadership: Leadership | None = None

    def tell(self, event: Event) -> None:
        self.recorded += 1
        event_id = derived_id("recorded", self.portfolio_id, self.recorded)
        self.book.record(self.portfolio_id, [NewEvent(event, event_id, self.there.clock(), "owner", event_id)])

    def service(self, hook: Hook = lambda side, what: None, kind: type[TradeService] = TradeService) -> TradeService:
        """Return a service as after a start: it takes over, with a new adapter."""
        exchange: Any = WatchedLive(self.there.another_adapter(timeout_ms=1000), hook)
        book = WatchedBook(self.book, hook)
        self.leadership = self.leaders.take_over(book, self.portfolio_id)
        return kind(book, self.portfolio_id, {}, self.there.clock, "one", self.leadership, {ACCOUNT: exchange})

    def order(self, service: TradeService, number: int = 1, **terms: Any) -> Any:
        known: dict[str, Any] = {
            "instrument": BTC,
            "side": Side.BUY,
            "kind": "market",
            "base_size": None,
            "quote_size": Decimal(600),
            "limit_price": None,
            "account": ACCOUNT,
        }
        order_id = derived_id("order", self.portfolio_id, number)
        service.request(ManualTicket(**(known | terms)), order_id, self.record)
        return order_id

    def record(self, events: Any, position: int) -> object:
        assert self.leadership is not None
        return self.leadership.record(events, position)

    def pass_time(self, service: TradeService, seconds: int = 240, step: int = 20) -> None:
        for _ in range(seconds // step):
            self.there.clock.advance(step)
            service.step()

    def of(self, kind: type[Event]) -> list[Any]:
        return [one.event for one in self.book.log.read(self.portfolio_id) if isinstance(one.event, kind)]

    def orders(self) -> list[OrderView]:
        with self.book.reading(self.portfolio_id) as reading:
            return sorted(reading.rows.history(OrderView), key=lambda one: one.position)

    def faults(self) -> list[str]:
        """Return the differences between ledger and venue: lost, duplicate and open orders, invariants, balances."""
        there = self.there.orders()
        ids = [one["client_order_id"] for one in there]
        found = [f"doubled at the venue: {one}" for one in set(ids) if ids.count(one) > 1]
        found += [f"still {one.status}" for one in self.orders() if one.live]
        by_id = {order.client_order_id: order for order in self.orders()}
        for one in there:
            order = by_id.get(one["client_order_id"])
            if order is not None and order.filled_quantity != Decimal(one["filled"]):
                found.append(f"filled {one['filled']} there, {order.filled_quantity} here")
        with self.book.reading(self.portfolio_id) as reading:
            assert reading.stopped is None
            found += [str(one) for one in broken_invariants(reading.rows)]
            ours = {one.asset: one.quantity for one in reading.rows.where(Balance)}
        theirs = {str(asset): one.free + one.locked for asset, one in self.there.exchange.balances().items()}
        assets = [one for one in ours | theirs if ours.get(one, 0) != theirs.get(one, 0)]
        return found + [f"{one}: {ours.get(one, ZERO)} here" for one in assets]


def opened(there: RunningVenue, name: str) -> LivePortfolio:
    live = LivePortfolio(there, derived_id("venue", name), MemoryBook(SteppingClock()), MemoryLeaders())
    live.tell(PortfolioOpened(name=name, base_currency=Asset("USDT")))
    live.tell(AccountOpened(account=ACCOUNT, venue=there.name, mode="paper"))
    for asset, balance in there.exchange.balances().items():
        total = balance.free + balance.locked
        if asset == "USDT":
            live.tell(CashDeposited(account=ACCOUNT, asset=asset, amount=total))
        else:
            live.tell(OpeningLotRecorded(account=ACCOUNT, asset=asset, quantity=total))
    live.tell(MarkRecorded(instrument=BTC, price=Decimal(60000), source="test"))
    live.tell(MarkRecorded(instrument=Instrument("BNB-USDT"), price=Decimal(600), source="test"))
    there.clock.advance(1)
    return live


@contextmanager
def live_at(venue: str = "binance", name: str = "live") -> Iterator[LivePortfolio]:
    with running_venue(venue) as there:
        yield opened(there, name)
