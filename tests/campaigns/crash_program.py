"""A trader that can be killed at a named point: real database, real client, a venue in another process that survives.

One life is one process. It takes over the portfolio, reconciles the account, repeats the request of its story (as a
browser does), and steps until nothing is open. `Points` counts its effects; the hooks are here, not in the product.
"""

import os
import signal
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import ccxt
import httpx
from sqlalchemy import Engine, event

from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.venues import facts_of
from execution.exchanges.exchange import LiveExchange, OrderTicket
from execution.exchanges.simulated.server import KEY, SECRET
from execution.orders.order_events import WrongOrder, closed, ticket_of
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import WRITER, engine_for
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.postgres.leadership import PostgresLeadership
from ledger.projections.orders import OrderView
from ledger.projections.signals import SignalView
from ledger.values import Instrument, Side, derived_id, system_clock, utc_time

ACCOUNT: Final = "main"
FIRST: Final = {"binance": Instrument("BTC-USDT"), "luno": Instrument("BTC-ZAR")}
SECOND: Final = {"binance": Instrument("ETH-USDT"), "luno": Instrument("ETH-ZAR")}
PRICES: Final = {"binance": Decimal(3000), "luno": Decimal(60000)}
"""Of the second market, in which a limit order rests far below."""
ANSWERS_WITHIN_MS: Final = 700
STEP_S: Final = 20
STEPS: Final = 30
ONCE_MORE_S: Final = 70
"""Long enough for one more comparison of ledger and venue, when everything else is quiet."""

TRUST: Final = ssl.create_default_context()
"""Made once for all lives: it takes longer than a life does, and nothing here uses it."""

STORIES: Final = ("signal", "cancel")
"""A bot's signal that becomes a market order; a person's limit order that fills in part and is cancelled."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The parts that all lives of one run share."""

    database_url: str
    venue: str
    venue_url: str
    portfolio_id: UUID
    story: str
    planted: str = ""

    def derived(self, name: str) -> UUID:
        return derived_id("crash", self.portfolio_id, name)


@dataclass(slots=True)
class Points:
    """The points passed so far, by name; at number `chosen` the process gets the signal.

    It is killed as by `kill -9`, or suspended by SIGSTOP until it is resumed: never inside a commit, where its locks
    would block every other process.
    """

    chosen: int | None
    by: signal.Signals = signal.SIGKILL
    passed: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        if self.by == signal.SIGSTOP and point.startswith("in "):
            return
        self.passed.append(point)
        if len(self.passed) == self.chosen:
            os.kill(os.getpid(), self.by)


class VenueTime:
    """The venue's time, which runs by itself and is advanced from outside."""

    def __init__(self, control: httpx.Client) -> None:
        self._control = control
        self._ahead = timedelta(0)
        self.advance(0)

    def __call__(self) -> datetime:
        return system_clock() + self._ahead

    def advance(self, seconds: int) -> None:
        answer = self._control.post("/control/clock", json={"advance": str(seconds)})
        self._ahead = utc_time(answer.raise_for_status().json()["now"]) - system_clock()


class WatchedLeadership:
    """The claim, with a point before, inside (all is written, nothing committed) and after every commit."""

    def __init__(self, make: Callable[[], PostgresLeadership], engine: Engine, points: Points) -> None:
        self._points, self._doing = points, ""
        event.listen(engine, "commit", lambda _: self._inside())
        points("before take-over")
        self._leadership = make()
        points("after take-over")

    def confirm(self) -> None:
        self._points("before confirm")
        self._leadership.confirm()

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        self._doing = " + ".join(one.event.type for one in events)
        self._points(f"before {self._doing}")
        stored = self._leadership.record(events, expected_position)
        self._points(f"after {self._doing}")
        self._doing = ""
        return stored

    def _inside(self) -> None:
        if self._doing:
            self._points(f"in {self._doing}")


class WatchedLive:
    """The exchange, with a point before and after each call that changes something there."""

    def __init__(self, exchange: LiveExchange, points: Points) -> None:
        self._exchange, self._points = exchange, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def submit(self, ticket: OrderTicket) -> Any:
        return self._watched("submit", self._exchange.submit, ticket)

    def cancel(self, client_order_id: str) -> Any:
        return self._watched("cancel", self._exchange.cancel, client_order_id)

    def _watched(self, name: str, call: Callable[[Any], object], subject: object) -> object:
        self._points(f"before {name}")
        answer = call(subject)
        self._points(f"after {name}")
        return answer


class SendsFirst(TradeService):
    """Planted: sends, and stores the attempt afterwards."""

    def _send(self, order: OrderView) -> None:
        if self._reconciler.compared(order.account):
            self._venues.at(order).submit(ticket_of(order))
            self.decide(lambda state: self._attempt(order, state))


class SendsAgain(TradeService):
    """Planted: an order of unknown outcome is sent again."""

    def _look_up(self, order: OrderView) -> None:
        exchange = self._venues.at(order)
        exchange.forget(order.client_order_id)
        exchange.submit(ticket_of(order))
        super()._look_up(order)


class SkipsLookUp(TradeService):
    """Planted: skips the look-up and treats an unknown outcome as not placed."""

    def _look_up(self, order: OrderView) -> None:
        self._store(order, lambda row: closed(row, "not_placed"))


KINDS: Final[Mapping[str, type[TradeService]]] = {
    "": TradeService,
    **{kind.__name__: kind for kind in (SendsFirst, SendsAgain, SkipsLookUp)},
}


def live(scene: Scene, points: Points) -> None:
    """One life, until it is idle. Raises NotLeader while the session of the life before still lives."""
    with httpx.Client(base_url=scene.venue_url, verify=TRUST) as control:
        clock = VenueTime(control)
        engine = engine_for(scene.database_url, WRITER)
        book = PostgresBook(engine, clock)
        leadership = WatchedLeadership(
            lambda: PostgresLeadership(book, engine, scene.portfolio_id, "crash", clock), engine, points
        )
        exchange: Any = WatchedLive(_adapter(scene, clock), points)
        service = KINDS[scene.planted](
            book, scene.portfolio_id, {}, clock, "crash", leadership, {ACCOUNT: exchange}, PostgresHaltLock(engine)
        )
        service.step()
        if scene.story == "cancel":
            _rest_and_cancel(scene, service, book, leadership, control)
        for _ in range(STEPS):
            if _quiet(book, scene.portfolio_id):
                break
            clock.advance(STEP_S)
            service.step()
        clock.advance(ONCE_MORE_S)
        service.step()


def _adapter(scene: Scene, clock: VenueTime) -> CcxtExchange:
    def prepare(client: ccxt.Exchange) -> None:
        client.enableRateLimit = False
        client.timeout = ANSWERS_WITHIN_MS

    return CcxtExchange(
        facts_of(scene.venue), ACCOUNT, ApiKey(KEY, SECRET), clock, endpoint=scene.venue_url, prepare=prepare
    )


def _rest_and_cancel(
    scene: Scene, service: TradeService, book: PostgresBook, leadership: WatchedLeadership, control: httpx.Client
) -> None:
    """A limit order below the market, partly filled, is cancelled."""
    price = PRICES[scene.venue] / 2
    ticket = ManualTicket(SECOND[scene.venue], Side.BUY, "limit", Decimal("0.02"), None, price, ACCOUNT)
    order_id = service.request(ticket, scene.derived("order"), leadership.record)
    order = _order(book, scene.portfolio_id, order_id)
    there = control.get("/control/orders", params={"client_order_id": order.client_order_id}).json()
    if there and Decimal(there[0]["filled"]) == 0 and there[0]["state"] == "open":
        part = {"client_order_id": order.client_order_id, "quantity": "0.005", "price": str(price)}
        control.post("/control/fills", json=part).raise_for_status()
    if order.live and order.cancel_requested_at is None:
        with suppress(WrongOrder):  # it has ended meanwhile, and the person is told so
            service.cancel(order_id, "changed my mind", scene.derived("wish"), leadership.record)


def _order(book: PostgresBook, portfolio_id: UUID, order_id: UUID) -> OrderView:
    with book.reading(portfolio_id) as reading:
        order = reading.rows.get(OrderView, order_id)
    assert order is not None
    return order


def _quiet(book: PostgresBook, portfolio_id: UUID) -> bool:
    """`True` once every order has ended and every signal has its verdict."""
    with book.reading(portfolio_id) as reading:
        waiting = [*reading.rows.where(OrderView), *reading.rows.where(SignalView)]
        return not any(one.live for one in waiting)
