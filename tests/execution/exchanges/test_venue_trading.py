"""Trading at a venue behind real HTTP: whatever is cut off or lost, the ledger ends with the venue's truth."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from execution.exchanges.exchange import LiveExchange
from execution.orders import trade_service
from execution.orders.connections import Connections, lookups_until
from execution.orders.order_events import WrongOrder, ticket_of
from execution.orders.reconcile import AGAIN_AFTER, EVERY
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket, TradeRejected
from ledger.events import (
    AccountOpened,
    CashDeposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    ExternalOrderSeen,
    MarkRecorded,
    OpeningLotRecorded,
    OrderClosed,
    OutcomeResolved,
    PortfolioOpened,
    TradeExecuted,
)
from ledger.locks import Leadership
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import Balance
from ledger.values import ZERO, Asset, Instrument, Side, derived_id
from tests.support.events import SteppingClock
from tests.support.simulated_venue import Place, place
from tests.support.trading import Hook, KillAt, Killed, MemoryLeaders, WatchedBook
from tests.support.waiting import DEADLINE_S

BTC = Instrument("BTC-USDT")
ACCOUNT = "main"


class WatchedLive:
    """The live exchange, with a hook around the one call that sends."""

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
class Desk:
    """A portfolio whose one account is at the simulated venue, adopted as it stood."""

    there: Place
    portfolio_id: Any
    book: MemoryBook
    leaders: MemoryLeaders
    told: int = 0
    leadership: Leadership | None = None

    def tell(self, event: Event) -> None:
        self.told += 1
        event_id = derived_id("told", self.portfolio_id, self.told)
        self.book.record(self.portfolio_id, [NewEvent(event, event_id, self.there.clock(), "owner", event_id)])

    def service(self, hook: Hook = lambda side, what: None, kind: type[TradeService] = TradeService) -> TradeService:
        """A service as after a start: it takes over, and its adapter knows nothing."""
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
        """Where ledger and venue disagree: lost, doubled or silent."""
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
            held = {one.asset: one.quantity for one in reading.rows.where(Balance)}
        told = {str(asset): one.free + one.locked for asset, one in self.there.exchange.balances().items()}
        found += [f"{one}: {held.get(one, ZERO)} here" for one in held | told if held.get(one, 0) != told.get(one, 0)]
        return found


def opened(there: Place, name: str) -> Desk:
    desk = Desk(there, derived_id("venue desk", name), MemoryBook(SteppingClock()), MemoryLeaders())
    desk.tell(PortfolioOpened(name=name, base_currency=Asset("USDT")))
    desk.tell(AccountOpened(account=ACCOUNT, venue=there.name, mode="paper"))
    for asset, held in there.exchange.balances().items():
        total = held.free + held.locked
        if asset == "USDT":
            desk.tell(CashDeposited(account=ACCOUNT, asset=asset, amount=total))
        else:
            desk.tell(OpeningLotRecorded(account=ACCOUNT, asset=asset, quantity=total))
    desk.tell(MarkRecorded(instrument=BTC, price=Decimal(60000), source="test"))
    desk.tell(MarkRecorded(instrument=Instrument("BNB-USDT"), price=Decimal(600), source="test"))
    there.clock.advance(1)
    return desk


@contextmanager
def desk_at(venue: str = "binance", name: str = "desk") -> Iterator[Desk]:
    with place(venue) as there:
        yield opened(there, name)


# --- one order --------------------------------------------------------------------------------------------------------


def test_an_order_goes_to_the_venue_and_its_fills_come_back() -> None:
    """A market order at the venue fills, its fills are trades of the account, and ledger and venue agree to the last place."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        desk.order(service)

        (trade,) = desk.of(TradeExecuted)
        assert (trade.account, trade.venue, trade.triggered_by) == (ACCOUNT, "binance", "manual")
        assert trade.venue_trade_id
        assert desk.faults() == []


def test_look_ups_come_at_1_3_10_and_30_seconds_and_then_every_minute() -> None:
    """Between those moments nothing is asked."""
    due = [s for s in range(1, 300) if lookups_until(timedelta(seconds=s)) > lookups_until(timedelta(seconds=s - 1))]

    assert due == [1, 3, 10, 30, 90, 150, 210, 270]


def test_a_lost_reply_is_looked_up_on_schedule_and_adopted() -> None:
    """The order of a lost reply blocks further ones, is asked about at 1 s and not before, and is then adopted."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        desk.there.fault("reset")
        desk.order(service)
        assert desk.orders()[0].status == "unknown"
        with pytest.raises(TradeRejected, match="unknown outcome"):
            desk.order(service, 2)

        service.step()
        assert desk.orders()[0].status == "unknown"
        desk.there.clock.advance(1)
        service.step()
        assert desk.orders()[0].status == "closed"
        assert desk.faults() == []


def test_a_person_resolves_what_is_unknown_and_a_late_fill_is_booked_all_the_same() -> None:
    """Only an unknown order can be resolved; one that turns up afterwards is booked as that order's, and nothing is silent."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        desk.there.fault("reset")
        order_id = desk.order(service)
        service.resolve(order_id, "not_placed", "support says so", derived_id("word", 1), desk.record, "ann")
        (word,) = desk.of(OutcomeResolved)
        assert word.reason == "support says so"
        assert desk.orders()[0].reason == "not_placed"
        with pytest.raises(WrongOrder, match="is not unknown: it is closed"):
            service.resolve(order_id, "not_placed", "again", derived_id("word", 2), desk.record)

        desk.pass_time(service, int(EVERY.total_seconds()) * 2)
        (trade,) = desk.of(TradeExecuted)
        assert trade.order_id == order_id
        assert desk.faults() == []


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_resting_order_is_cancelled() -> None:
    """A cancel ends a resting order at the venue and here, at once; an order that has ended cannot be cancelled."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        resting: dict[str, Any] = {
            "kind": "limit",
            "quote_size": None,
            "base_size": Decimal("0.01"),
            "limit_price": Decimal(50000),
        }
        order_id = desk.order(service, **resting)
        assert desk.orders()[0].status == "accepted"

        service.cancel(order_id, "changed my mind", derived_id("wish", 1), desk.record)
        assert desk.there.orders()[0]["state"] == "cancelled"
        assert [one.reason for one in desk.of(OrderClosed)] == ["cancelled"]
        with pytest.raises(WrongOrder, match="has ended: cancelled"):
            service.cancel(order_id, "again", derived_id("wish", 2), desk.record)


class WishedForWithinAStep(Connections):
    """Connections of a step that has read the rows: before it asks about the first order, `wish` is made beside it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.wish: Callable[[], object] | None = None
        self._hurried = threading.Event()

    def hurry(self, order_id: UUID) -> None:
        super().hurry(order_id)
        self._hurried.set()

    def due(self, order: OrderView) -> bool:
        if self.wish is not None:
            wish, self.wish = self.wish, None
            wish()
            assert self._hurried.wait(DEADLINE_S)
        return super().due(order)


def test_a_cancel_within_a_step_is_told_to_the_venue_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that has read the rows before the wish asks about the order as it was; the cancelling asks again after it."""
    monkeypatch.setattr(trade_service, "CANCEL_WAITS_S", DEADLINE_S)
    monkeypatch.setattr(trade_service, "Connections", WishedForWithinAStep)
    with desk_at() as desk, ThreadPoolExecutor(1) as beside:
        service = desk.service()
        service.step()
        order_id = desk.order(
            service, kind="limit", quote_size=None, base_size=Decimal("0.01"), limit_price=Decimal(50000)
        )
        desk.there.clock.advance(20)
        wish = partial(service.cancel, order_id, "changed my mind", derived_id("wish", 1), desk.record)
        cancelling: list[Future[None]] = []
        service._venues.wish = lambda: cancelling.append(beside.submit(wish))  # type: ignore[attr-defined]
        service.step()
        cancelling[0].result()

        assert desk.there.orders()[0]["state"] == "cancelled"
        assert [one.reason for one in desk.of(OrderClosed)] == ["cancelled"]


def test_a_cancel_that_comes_too_late_books_the_fill() -> None:
    """An order that filled before the cancel came is closed as filled, its trade booked."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        resting: dict[str, Any] = {
            "kind": "limit",
            "quote_size": None,
            "base_size": Decimal("0.01"),
            "limit_price": Decimal(50000),
        }
        order_id = desk.order(service, **resting)
        desk.there.post("prices", {"BTC-USDT": "49000"})

        service.cancel(order_id, "", derived_id("wish", 1), desk.record)
        desk.pass_time(service, 40)
        assert [one.reason for one in desk.of(OrderClosed)] == ["filled"]
        assert len(desk.of(TradeExecuted)) == 1
        assert desk.faults() == []


# --- reconciliation ---------------------------------------------------------------------------------------------------


def test_what_people_do_at_the_venue_is_seen_and_imported() -> None:
    """A trade made by hand comes in once as "sync", an open order of others is noted once, and the account goes on."""
    with desk_at() as desk:
        service = desk.service()
        service.step()
        desk.there.exchange.submit(desk.there.ticket())
        desk.there.exchange.submit(desk.there.ticket(base_size=Decimal("0.01"), limit_price=Decimal(50000)))
        desk.pass_time(service, 200)

        assert [one.triggered_by for one in desk.of(TradeExecuted)] == ["sync"]
        assert [one.state for one in desk.of(ExternalOrderSeen)] == ["open"]
        assert desk.of(DifferenceFound) == []
        assert desk.faults() == []
        desk.service().step()
        assert len(desk.of(TradeExecuted)) == len(desk.of(ExternalOrderSeen)) == 1


def test_a_difference_halts_the_account_until_it_is_explained() -> None:
    """Coins that nobody traded are a difference, found once; nothing is sent until somebody explains it."""
    with desk_at() as desk:
        desk.there.post("balances", {"BTC": "7"})
        service = desk.service()
        desk.pass_time(service, 200)

        (found,) = desk.of(DifferenceFound)
        assert (found.subject, found.venue_says) == ("balance of BTC", "7")
        with pytest.raises(TradeRejected, match="differ in balance of BTC"):
            desk.order(service)
        assert desk.there.orders() == []

        gap = Decimal(7) - Decimal(found.ledger)
        desk.tell(OpeningLotRecorded(account=ACCOUNT, asset=Asset("BTC"), quantity=gap))
        difference_id = next(
            one.event_id for one in desk.book.log.read(desk.portfolio_id) if isinstance(one.event, DifferenceFound)
        )
        desk.tell(DifferenceResolved(difference_id=difference_id, reason="a gift"))
        desk.pass_time(service, 200)
        desk.order(service)
        assert len(desk.of(DifferenceFound)) == len(desk.there.orders()) == 1
        assert desk.faults() == []


def test_nothing_is_sent_before_ledger_and_venue_have_been_compared() -> None:
    """While the venue cannot be read at the start an order waits; it goes out once the comparison is through."""
    with desk_at() as desk:
        service = desk.service()
        service._reconciler._next[ACCOUNT] = desk.there.clock() + AGAIN_AFTER
        desk.order(service)
        assert (desk.orders()[0].status, desk.there.orders()) == ("requested", [])

        desk.there.clock.advance(int(AGAIN_AFTER.total_seconds()))
        service.step()
        assert desk.faults() == []
        assert len(desk.there.orders()) == 1


# --- crash points -----------------------------------------------------------------------------------------------------

OUTCOMES = (
    *("none", "reset", "html", "half_body", "garbage", "timeout", "unknown_503"),
    *("rate_limited", "dropped", "maintenance", "delayed"),
)


def crashed(there: Place, outcome: str, number: int, kind: type[TradeService] = TradeService) -> tuple[list[str], int]:
    """What is wrong after the program was cut off at that effect while the venue did that; and how many effects it had."""
    desk = opened(there, f"crash {outcome} {number}")
    before = len(there.orders())
    hook = KillAt({number})
    try:
        service = desk.service(hook, kind)
        service.step()
        if outcome == "delayed":
            there.fault(outcome, seconds="3")
        elif outcome != "none":
            there.fault(outcome)
        desk.order(service)
        service.step()
    except Killed:
        pass
    there.control.delete("/control/faults")
    desk.pass_time(desk.service(), 200, 40)
    faults = desk.faults()
    if len(there.orders()) - before > 1:
        faults.append("sent twice")
    return faults, hook.seen


def crashes(there: Place, outcome: str, kind: type[TradeService] = TradeService) -> tuple[int, list[str]]:
    """How many places there are to be cut off at, and all that goes wrong at any of them."""
    found: list[str] = []
    for number in range(1, 100):
        faults, seen = crashed(there, outcome, number, kind)
        found += [f"{outcome}, cut off at effect {number}: {fault}" for fault in faults]
        if seen < number:
            return seen, found
    raise AssertionError("the program never comes to its end")


@pytest.mark.parametrize("outcome", ["none", "reset"])
def test_cut_off_anywhere_nothing_is_lost_doubled_or_silent(outcome: str) -> None:
    """Every effect, before and after, with an answer and without: after a restart the ledger has the venue's truth."""
    with place("binance", timeout_ms=1000) as there:
        places, faults = crashes(there, outcome)
    assert faults == []
    assert places >= 8


@pytest.mark.nightly
def test_cut_off_anywhere_under_any_fault_nothing_is_lost_doubled_or_silent() -> None:
    """The same under every fault that strikes the placing of an order."""
    with place("binance", timeout_ms=1000) as there:
        assert [faults for outcome in OUTCOMES for faults in crashes(there, outcome)[1]] == []


class SendsFirst(TradeService):
    """Planted: sends, and stores the attempt afterwards."""

    def _send(self, order: OrderView) -> None:
        self._venues.at(order).submit(ticket_of(order))
        self.decide(lambda desk: self._attempt(order, desk))


def test_a_service_that_sends_before_it_stores_is_found() -> None:
    """Planted: cut off between the send and the stored attempt it sends again after the restart."""
    with place("binance", timeout_ms=1000) as there:
        assert any("sent twice" in fault for fault in faults_at_first(there))


def faults_at_first(there: Place) -> list[str]:
    """What goes wrong with that service at the first places to be cut off at, then and when it starts again."""
    found: list[str] = []
    for number in range(1, 6):
        desk = opened(there, f"planted {number}")
        before = len(there.orders())
        with suppress(Killed):
            service = desk.service(KillAt({number}), SendsFirst)
            service.step()
            desk.order(service)
        desk.pass_time(desk.service(kind=SendsFirst), 200, 40)
        found += ["sent twice"] if len(there.orders()) - before > 1 else []
    return found
