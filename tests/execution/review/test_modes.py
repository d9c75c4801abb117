"""Modes of bots: signals trade automatically, wait for approval, or are ignored."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.orders.order_events import WrongSignal
from execution.orders.trade_service import TradeService
from execution.review.review import TradeRejected
from ledger.events import (
    ApprovalRequested,
    BotModeSet,
    MarkRecorded,
    OrderRequested,
    SignalApproved,
    SignalExpired,
    SignalRejected,
)
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.signals import SignalView
from tests.support.events import SteppingClock
from tests.support.trading import BTC, NOON, Room, ScriptedExchange


class Asked:
    """A room whose one bot is in mode `ask`, its service, and a signal that awaits approval."""

    def __init__(self, mode: Any = "ask") -> None:
        self.room = Room(MemoryBook(SteppingClock()), "modes")
        self.mode(mode)
        self.service: TradeService = self.room.service(ScriptedExchange())
        self.signal_id = self.room.signal()
        self.service.step()

    def mode(self, mode: Any) -> None:
        self.room.tell(BotModeSet(bot_id="one", mode=mode))

    def approve(self, signal_id: UUID | None = None) -> None:
        self.service.approve(signal_id or self.signal_id, "ann", self.record)

    def reject(self, reason: str = "") -> None:
        self.service.reject(self.signal_id, "ann", reason, self.record)

    def record(self, events: list[NewEvent] | Any, position: int) -> object:
        return self.room.book.record(self.room.portfolio_id, events, position)

    def status(self) -> str:
        with self.room.reading() as reading:
            found = reading.rows.get(SignalView, self.signal_id)
            assert found is not None
            return found.status


def test_signal_of_an_automatic_bot_needs_no_approval() -> None:
    """The signal is traded at once."""
    one = Asked("automatic")
    assert one.room.of(ApprovalRequested) == []
    assert one.status() == "approved"


def test_approval_is_requested_once_and_sends_nothing() -> None:
    """Repeated reviews store one request, with the order's size, and no order."""
    one = Asked()
    for _ in range(3):
        one.service.step()
    (asked,) = one.room.of(ApprovalRequested)
    assert isinstance(asked, ApprovalRequested)
    assert (asked.signal_id, asked.side, str(asked.quote_size)) == (one.signal_id, "buy", "90.00")
    assert [rule.rule for rule in asked.rules if not rule.passed] == ["person_agrees"]
    assert one.status() == "asked"
    assert one.room.orders() == []


def test_approval_stores_an_order_by_the_person() -> None:
    """Approval and order are stored once, with the person as actor; a second approval is refused."""
    one = Asked()
    one.approve()
    (approved,) = one.room.envelopes(SignalApproved)
    assert isinstance(approved.event, SignalApproved)
    assert approved.actor == "ann"
    assert "approved by ann" in [rule.reason for rule in approved.event.rules]
    (order,) = one.room.of(OrderRequested)
    assert isinstance(order, OrderRequested)
    assert order.triggered_by == "bot:one"
    with pytest.raises(WrongSignal, match=r"not awaiting approval \(status: approved\)"):
        one.approve()
    assert len(one.room.orders()) == 1


def test_approval_is_refused_when_review_rejects_the_signal() -> None:
    """Rules that fail now block the approval; nothing is stored, and the signal keeps waiting."""
    one = Asked()
    one.room.halt()
    head = len(one.room.envelopes())
    with pytest.raises(TradeRejected, match="trading is halted"):
        one.approve()
    one.service.step()
    assert len(one.room.envelopes()) == head
    assert one.status() == "asked"


def test_approved_order_is_sized_at_the_newest_mark() -> None:
    """A sale worth 90 at a lower price needs a larger quantity."""
    one = Asked("automatic")
    one.mode("ask")
    one.room.clock.move(minutes=1)
    one.signal_id = one.room.signal("-0.5")
    one.room.hold("10")
    one.service.step()
    one.room.clock.move(minutes=1)
    one.room.mark("96")
    one.approve()

    sale = next(order for order in one.room.orders() if order.side == "sell")
    assert sale.base_size == Decimal("0.9375")


@pytest.mark.parametrize("score", ["0.5", "-0.5"])
@pytest.mark.parametrize(("mark", "away"), [("110", None), ("90", None), ("110.1", "10.1"), ("89", "11"), ("5", "95")])
def test_approval_is_refused_when_the_price_left_the_band(score: str, mark: str, away: str | None) -> None:
    """Too far from the signal's price, up or down, nothing is traded, and the signal keeps waiting."""
    one = Asked("automatic")
    one.mode("ask")
    one.room.hold("10")
    one.room.clock.move(minutes=1)
    one.signal_id = one.room.signal(score)
    one.service.step()
    one.room.clock.move(minutes=1)
    one.room.mark(mark)
    if away is None:
        one.approve()
    else:
        with pytest.raises(
            TradeRejected, match=rf"price {mark} is {away} % \w+ the signal's price 100 \(allowed: 10 %\)"
        ):
            one.approve()
    assert one.status() == ("asked" if away else "approved")


@pytest.mark.parametrize("mode", ["ask", "automatic"])
@pytest.mark.parametrize(
    ("mark", "why"),
    [
        ("95.01", None),
        ("95", "not above the signal's stop loss (95)"),
        ("93", "not above the signal's stop loss (95)"),
        ("104.99", None),
        ("105", "not below the signal's take profit (105)"),
    ],
)
def test_buy_beyond_the_signals_exit_levels_is_rejected(mode: str, mark: str, why: str | None) -> None:
    """The newest mark counts, with and without approval."""
    one = Asked("off")
    one.mode(mode)
    one.room.clock.move(minutes=1)
    one.signal_id = one.room.signal(stop="95", target="105")
    if mode == "ask":
        one.service.step()
    one.room.clock.move(minutes=1)
    one.room.mark(mark)
    if mode == "automatic":
        one.service.step()
    elif why is None:
        one.approve()
    else:
        with pytest.raises(TradeRejected, match=re.escape(f"price {mark} is {why}")):
            one.approve()
    left = {"ask": "asked", "automatic": "rejected"}[mode]
    assert one.status() == (left if why else "approved")


def test_sale_ignores_the_signals_exit_levels() -> None:
    """Stop loss and take profit protect buys: a sale beyond them is traded."""
    one = Asked("off")
    one.mode("automatic")
    one.room.hold("10")
    one.room.clock.move(minutes=1)
    one.signal_id = one.room.signal("-0.5", stop="105", target="95")
    one.service.step()
    assert one.status() == "approved"


def test_mark_older_than_the_signal_is_ignored() -> None:
    """The signal's own price is newer."""
    one = Asked()
    one.room.tell(MarkRecorded(instrument=BTC, price=Decimal(95), source="test"), at=NOON - timedelta(minutes=1))
    one.approve()
    (approved,) = one.room.of(SignalApproved)
    assert isinstance(approved, SignalApproved)
    band = next(rule for rule in approved.rules if rule.rule == "price_band")
    assert (band.numbers["price"], band.numbers["before"]) == ("100", "95")


def test_rejection_ends_the_signal() -> None:
    """It is rejected with the person's reason, and the bot is not expected to repeat it."""
    one = Asked()
    one.reject("too wild")
    (rejected,) = one.room.envelopes(SignalRejected)
    assert isinstance(rejected.event, SignalRejected)
    assert (rejected.actor, rejected.event.rules[0].reason, rejected.event.not_yet) == (
        "ann",
        "rejected by ann: too wild",
        False,
    )
    with pytest.raises(WrongSignal, match="rejected"):
        one.approve()


def test_request_for_approval_expires() -> None:
    """It expires after `approval_minutes`, which is longer than the maximum age of other signals."""
    one = Asked()
    one.room.clock.move(minutes=59)
    one.service.step()
    assert one.status() == "asked"
    one.room.clock.move(minutes=2)
    with pytest.raises(TradeRejected, match=r"\(allowed: 3600 s\)"):
        one.approve()
    one.service.step()
    assert one.status() == "expired"
    assert len(one.room.of(SignalExpired)) == 1


def test_newer_signal_replaces_one_that_awaits_approval() -> None:
    """The older signal is rejected; approval is requested for the newer one."""
    one = Asked()
    one.room.clock.move(minutes=1)
    newer = one.room.signal("-0.5", asof=one.room.clock() - timedelta(seconds=1))
    one.room.hold("1")
    one.service.step()
    assert one.status() == "rejected"
    assert [getattr(asked, "signal_id", None) for asked in one.room.of(ApprovalRequested)] == [one.signal_id, newer]


def test_new_mode_applies_to_waiting_signals() -> None:
    """Automatic trades them, off rejects them and all that follow."""
    one = Asked()
    one.mode("automatic")
    one.service.step()
    assert one.status() == "approved"

    other = Asked()
    other.mode("off")
    other.service.step()
    assert other.status() == "rejected"
    other.room.clock.move(minutes=20)
    other.room.signal()
    other.service.step()
    assert len(other.room.of(SignalRejected)) == 2
    assert other.room.orders() == []


class TradesAnyway(TradeService):
    """Planted: trades signals that await approval."""

    def step(self) -> None:
        super().step()
        with self._state() as state:
            waiting = [one.signal_id for one in state.rows.where(SignalView)]
        for signal_id in waiting:
            self.approve(signal_id, "nobody", self._leadership.record)


def test_trading_without_approval_is_detected() -> None:
    """Planted: a service that does not wait fails the test of the request."""
    room = Room(MemoryBook(SteppingClock()), "modes")
    room.tell(BotModeSet(bot_id="one", mode="ask"))
    service = room.service(ScriptedExchange(), kind=TradesAnyway)
    room.signal()
    service.step()
    assert room.orders() != []
