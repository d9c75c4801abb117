"""Trading at a venue over HTTP: after any crash or lost reply the ledger agrees with the venue."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from execution.orders import trade_service
from execution.orders.connections import Connections, lookups_until
from execution.orders.order_events import WrongOrder, ticket_of
from execution.orders.reconcile import AGAIN_AFTER, EVERY
from execution.orders.trade_service import TradeService
from execution.review.review import TradeRejected
from ledger.events import (
    DifferenceFound,
    DifferenceResolved,
    ExternalOrderSeen,
    OpeningLotRecorded,
    OrderClosed,
    OutcomeResolved,
    TradeExecuted,
)
from ledger.projections.orders import OrderView
from ledger.values import Asset, Instrument, derived_id
from tests.support.trading import KillAt, Killed
from tests.support.venues.live_portfolio import ACCOUNT, live_at, opened
from tests.support.venues.simulated_venue import RunningVenue, running_venue
from tests.support.waiting import DEADLINE_S

BTC = Instrument("BTC-USDT")


# --- one order --------------------------------------------------------------------------------------------------------


def test_order_is_sent_to_the_venue_and_its_fills_are_booked() -> None:
    """The fills of a market order are trades of the account, and ledger and venue agree to the last digit."""
    with live_at() as live:
        service = live.service()
        service.step()
        live.order(service)

        (trade,) = live.of(TradeExecuted)
        assert (trade.account, trade.venue, trade.triggered_by) == (ACCOUNT, "binance", "manual")
        assert trade.venue_trade_id
        assert live.faults() == []


def test_look_ups_are_due_at_1_3_10_and_30_seconds_and_then_every_minute() -> None:
    """The schedule of look-ups of an order with unknown outcome."""
    due = [s for s in range(1, 300) if lookups_until(timedelta(seconds=s)) > lookups_until(timedelta(seconds=s - 1))]

    assert due == [1, 3, 10, 30, 90, 150, 210, 270]


def test_order_with_a_lost_reply_is_looked_up_on_schedule_and_adopted() -> None:
    """The order blocks further ones, is looked up after 1 s and not before, and is then adopted."""
    with live_at() as live:
        service = live.service()
        service.step()
        live.there.fault("reset")
        live.order(service)
        assert live.orders()[0].status == "unknown"
        with pytest.raises(TradeRejected, match="unknown outcome"):
            live.order(service, 2)

        service.step()
        assert live.orders()[0].status == "unknown"
        live.there.clock.advance(1)
        service.step()
        assert live.orders()[0].status == "closed"
        assert live.faults() == []


def test_late_fill_of_a_resolved_order_is_booked() -> None:
    """Only an unknown order can be resolved; a fill found afterwards is booked to that order."""
    with live_at() as live:
        service = live.service()
        service.step()
        live.there.fault("reset")
        order_id = live.order(service)
        service.resolve(order_id, "not_placed", "support says so", derived_id("word", 1), live.record, "ann")
        (word,) = live.of(OutcomeResolved)
        assert word.reason == "support says so"
        assert live.orders()[0].reason == "not_placed"
        with pytest.raises(WrongOrder, match=r"is not unknown \(status: closed\)"):
            service.resolve(order_id, "not_placed", "again", derived_id("word", 2), live.record)

        live.pass_time(service, int(EVERY.total_seconds()) * 2)
        (trade,) = live.of(TradeExecuted)
        assert trade.order_id == order_id
        assert live.faults() == []


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_resting_order_is_cancelled() -> None:
    """A cancel immediately ends a resting order at the venue and in the ledger; an ended order cannot be cancelled."""
    with live_at() as live:
        service = live.service()
        service.step()
        resting: dict[str, Any] = {
            "kind": "limit",
            "quote_size": None,
            "base_size": Decimal("0.01"),
            "limit_price": Decimal(50000),
        }
        order_id = live.order(service, **resting)
        assert live.orders()[0].status == "accepted"

        service.cancel(order_id, "changed my mind", derived_id("wish", 1), live.record)
        assert live.there.orders()[0]["state"] == "cancelled"
        assert [one.reason for one in live.of(OrderClosed)] == ["cancelled"]
        with pytest.raises(WrongOrder, match="has ended: cancelled"):
            service.cancel(order_id, "again", derived_id("wish", 2), live.record)


class CancelledWithinAStep(Connections):
    """Connections of a step that has read the rows: `cancel` is called before the first order is looked up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cancel: Callable[[], object] | None = None
        self._hurried = threading.Event()

    def hurry(self, order_id: UUID) -> None:
        super().hurry(order_id)
        self._hurried.set()

    def due(self, order: OrderView) -> bool:
        if self.cancel is not None:
            cancel, self.cancel = self.cancel, None
            cancel()
            assert self._hurried.wait(DEADLINE_S)
        return super().due(order)


def test_cancel_within_a_step_reaches_the_venue_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that read the rows before the cancel looks up the uncancelled order; the cancel looks it up again."""
    monkeypatch.setattr(trade_service, "CANCEL_WAITS_S", DEADLINE_S)
    monkeypatch.setattr(trade_service, "Connections", CancelledWithinAStep)
    with live_at() as live, ThreadPoolExecutor(1) as beside:
        service = live.service()
        service.step()
        order_id = live.order(
            service, kind="limit", quote_size=None, base_size=Decimal("0.01"), limit_price=Decimal(50000)
        )
        live.there.clock.advance(20)
        cancel = partial(service.cancel, order_id, "changed my mind", derived_id("wish", 1), live.record)
        cancelling: list[Future[None]] = []
        service._venues.cancel = lambda: cancelling.append(beside.submit(cancel))  # type: ignore[attr-defined]
        service.step()
        cancelling[0].result()

        assert live.there.orders()[0]["state"] == "cancelled"
        assert [one.reason for one in live.of(OrderClosed)] == ["cancelled"]


def test_cancel_that_comes_too_late_books_the_fill() -> None:
    """An order that filled before the cancel is closed as filled, and its trade is booked."""
    with live_at() as live:
        service = live.service()
        service.step()
        resting: dict[str, Any] = {
            "kind": "limit",
            "quote_size": None,
            "base_size": Decimal("0.01"),
            "limit_price": Decimal(50000),
        }
        order_id = live.order(service, **resting)
        live.there.post("prices", {"BTC-USDT": "49000"})

        service.cancel(order_id, "", derived_id("wish", 1), live.record)
        live.pass_time(service, 40)
        assert [one.reason for one in live.of(OrderClosed)] == ["filled"]
        assert len(live.of(TradeExecuted)) == 1
        assert live.faults() == []


# --- reconciliation ---------------------------------------------------------------------------------------------------


def test_external_trades_and_orders_are_recorded() -> None:
    """An external trade is recorded once as "sync", an external open order is noted once, without a difference."""
    with live_at() as live:
        service = live.service()
        service.step()
        live.there.exchange.submit(live.there.ticket())
        live.there.exchange.submit(live.there.ticket(base_size=Decimal("0.01"), limit_price=Decimal(50000)))
        live.pass_time(service, 200)

        assert [one.triggered_by for one in live.of(TradeExecuted)] == ["sync"]
        assert [one.state for one in live.of(ExternalOrderSeen)] == ["open"]
        assert live.of(DifferenceFound) == []
        assert live.faults() == []
        live.service().step()
        assert len(live.of(TradeExecuted)) == len(live.of(ExternalOrderSeen)) == 1


def test_difference_halts_the_account_until_it_is_resolved() -> None:
    """An unexplained balance is a difference, found once; no orders are sent until it is resolved."""
    with live_at() as live:
        live.there.post("balances", {"BTC": "7"})
        service = live.service()
        live.pass_time(service, 200)

        (found,) = live.of(DifferenceFound)
        assert (found.subject, found.venue_says) == ("balance of BTC", "7")
        with pytest.raises(TradeRejected, match="differ in balance of BTC"):
            live.order(service)
        assert live.there.orders() == []

        gap = Decimal(7) - Decimal(found.ledger)
        live.tell(OpeningLotRecorded(account=ACCOUNT, asset=Asset("BTC"), quantity=gap))
        difference_id = next(
            one.event_id for one in live.book.log.read(live.portfolio_id) if isinstance(one.event, DifferenceFound)
        )
        live.tell(DifferenceResolved(difference_id=difference_id, reason="a gift"))
        live.pass_time(service, 200)
        live.order(service)
        assert len(live.of(DifferenceFound)) == len(live.there.orders()) == 1
        assert live.faults() == []


def test_no_order_is_sent_before_reconciliation() -> None:
    """While the venue cannot be read at the start an order waits; it is sent after the comparison."""
    with live_at() as live:
        service = live.service()
        service._reconciler._next[ACCOUNT] = live.there.clock() + AGAIN_AFTER
        live.order(service)
        assert (live.orders()[0].status, live.there.orders()) == ("requested", [])

        live.there.clock.advance(int(AGAIN_AFTER.total_seconds()))
        service.step()
        assert live.faults() == []
        assert len(live.there.orders()) == 1


# --- crash points -----------------------------------------------------------------------------------------------------

OUTCOMES = (
    *("none", "reset", "html", "half_body", "garbage", "timeout", "unknown_503"),
    *("rate_limited", "dropped", "maintenance", "delayed"),
)


def crashed(
    there: RunningVenue, outcome: str, number: int, kind: type[TradeService] = TradeService
) -> tuple[list[str], int]:
    """Return the faults after a crash at that effect with that venue fault, and the number of effects seen."""
    live = opened(there, f"crash {outcome} {number}")
    before = len(there.orders())
    hook = KillAt({number})
    try:
        service = live.service(hook, kind)
        service.step()
        if outcome == "delayed":
            there.fault(outcome, seconds="3")
        elif outcome != "none":
            there.fault(outcome)
        live.order(service)
        service.step()
    except Killed:
        pass
    there.control.delete("/control/faults")
    live.pass_time(live.service(), 200, 40)
    faults = live.faults()
    if len(there.orders()) - before > 1:
        faults.append("sent twice")
    return faults, hook.seen


def crashes(there: RunningVenue, outcome: str, kind: type[TradeService] = TradeService) -> tuple[int, list[str]]:
    """Return the number of crash points, and the faults at any of them."""
    found: list[str] = []
    for number in range(1, 100):
        faults, seen = crashed(there, outcome, number, kind)
        found += [f"{outcome}, crash at effect {number}: {fault}" for fault in faults]
        if seen < number:
            return seen, found
    raise AssertionError("the program does not end")


@pytest.mark.parametrize("outcome", ["none", "reset"])
def test_crash_at_any_effect_loses_and_duplicates_nothing(outcome: str) -> None:
    """After a crash before or after any effect, with and without a reply, the restarted ledger agrees with the venue."""
    with running_venue("binance", timeout_ms=1000) as there:
        places, faults = crashes(there, outcome)
    assert faults == []
    assert places >= 8


@pytest.mark.nightly
def test_crash_at_any_effect_with_any_fault_loses_and_duplicates_nothing() -> None:
    """The same with every fault that affects placing an order."""
    with running_venue("binance", timeout_ms=1000) as there:
        assert [faults for outcome in OUTCOMES for faults in crashes(there, outcome)[1]] == []


class SendsFirst(TradeService):
    """Planted: sends before storing the attempt."""

    def _send(self, order: OrderView) -> None:
        self._venues.at(order).submit(ticket_of(order))
        self.decide(lambda live: self._attempt(order, live))


def test_crash_check_finds_a_service_that_sends_before_it_stores() -> None:
    """Planted: after a crash between sending and storing it sends again."""
    with running_venue("binance", timeout_ms=1000) as there:
        assert any("sent twice" in fault for fault in faults_at_first(there))


def faults_at_first(there: RunningVenue) -> list[str]:
    """Return the faults of that service at the first crash points."""
    found: list[str] = []
    for number in range(1, 6):
        live = opened(there, f"planted {number}")
        before = len(there.orders())
        with suppress(Killed):
            service = live.service(KillAt({number}), SendsFirst)
            service.step()
            live.order(service)
        live.pass_time(live.service(kind=SendsFirst), 200, 40)
        found += ["sent twice"] if len(there.orders()) - before > 1 else []
    return found
