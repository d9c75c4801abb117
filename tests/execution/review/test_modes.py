"""Modes: which signals are traded at once, which wait for a person's answer, and which come to nothing."""

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
    """A room whose one bot is to ask, its service, and a signal that waits."""

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


def test_an_automatic_bot_is_never_asked_about() -> None:
    """Its signal is traded as before."""
    one = Asked("automatic")
    assert one.room.of(ApprovalRequested) == []
    assert one.status() == "approved"


def test_a_question_is_asked_once_and_sends_nothing() -> None:
    """However often review looks, one question is stored, with the size that would be ordered, and no order."""
    one = Asked()
    for _ in range(3):
        one.service.step()
    (asked,) = one.room.of(ApprovalRequested)
    assert isinstance(asked, ApprovalRequested)
    assert (asked.signal_id, asked.side, str(asked.quote_size)) == (one.signal_id, "buy", "90.00")
    assert [rule.rule for rule in asked.rules if not rule.passed] == ["person_agrees"]
    assert one.status() == "asked"
    assert one.room.orders() == []


def test_a_yes_is_an_order_in_the_persons_name() -> None:
    """Approval and order are stored once, by the person; the rule names them; a second yes is refused."""
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


def test_a_yes_passes_the_same_review() -> None:
    """What stands against the order now stands against it whoever wants it; nothing is stored, and the signal waits on."""
    one = Asked()
    one.room.halt()
    head = len(one.room.envelopes())
    with pytest.raises(TradeRejected, match="trading is halted"):
        one.approve()
    one.service.step()
    assert len(one.room.envelopes()) == head
    assert one.status() == "asked"


def test_a_yes_is_sized_at_the_newest_mark() -> None:
    """What the market did while a person thought counts: a sale of 90 at a lower price is more."""
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
def test_a_yes_too_late_for_the_price_is_none(score: str, mark: str, away: str | None) -> None:
    """Where the market has left the price that the person was asked at, up or down, nothing is traded, and the signal waits on."""
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
def test_nothing_is_bought_that_would_be_sold_at_once(mode: str, mark: str, why: str | None) -> None:
    """Beyond the signal's own levels the newest mark says no, whether a person was asked or not."""
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


def test_a_sale_has_no_levels_of_its_own() -> None:
    """What a bot says of stops and targets guards what is bought: a sale beyond them goes through."""
    one = Asked("off")
    one.mode("automatic")
    one.room.hold("10")
    one.room.clock.move(minutes=1)
    one.signal_id = one.room.signal("-0.5", stop="105", target="95")
    one.service.step()
    assert one.status() == "approved"


def test_an_old_mark_says_less_than_the_signal() -> None:
    """What was seen before the bot spoke is not the newest price."""
    one = Asked()
    one.room.tell(MarkRecorded(instrument=BTC, price=Decimal(95), source="test"), at=NOON - timedelta(minutes=1))
    one.approve()
    (approved,) = one.room.of(SignalApproved)
    assert isinstance(approved, SignalApproved)
    band = next(rule for rule in approved.rules if rule.rule == "price_band")
    assert (band.numbers["price"], band.numbers["before"]) == ("100", "95")


def test_a_no_ends_the_signal() -> None:
    """It is rejected with the person's reason, and the bot is not asked to say it again."""
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


def test_a_question_expires() -> None:
    """After `approval_minutes` nobody can say yes any more, though a signal that waits for none would be stale long before."""
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


def test_a_newer_opinion_answers_the_question() -> None:
    """The bot has spoken again: the older signal is rejected, the newer one is asked about."""
    one = Asked()
    one.room.clock.move(minutes=1)
    newer = one.room.signal("-0.5", asof=one.room.clock() - timedelta(seconds=1))
    one.room.hold("1")
    one.service.step()
    assert one.status() == "rejected"
    assert [getattr(asked, "signal_id", None) for asked in one.room.of(ApprovalRequested)] == [one.signal_id, newer]


def test_the_mode_holds_for_what_waits_already() -> None:
    """Set to automatic, what waits is traded; turned off, it is rejected, and so is all that comes."""
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
    """Planted: a signal that waits for an answer is traded as if one had come."""

    def step(self) -> None:
        super().step()
        with self._state() as state:
            waiting = [one.signal_id for one in state.rows.where(SignalView)]
        for signal_id in waiting:
            self.approve(signal_id, "nobody", self._leadership.record)


def test_trading_without_an_answer_is_found() -> None:
    """Planted: the test of the question fails on a service that does not wait."""
    room = Room(MemoryBook(SteppingClock()), "modes")
    room.tell(BotModeSet(bot_id="one", mode="ask"))
    service = room.service(ScriptedExchange(), kind=TradesAnyway)
    room.signal()
    service.step()
    assert room.orders() != []
