"""Review: approval, rejection and expiry are reachable, and every verdict lists every rule with its numbers."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.review import FIRST, FOR_EVERY_ORDER, FOR_SIGNALS, review
from execution.review.review import (
    Approval,
    Expiry,
    ManualTicket,
    Rejection,
    SignalVerdict,
    review_manual,
    review_signal,
)
from execution.review.state import Opinion
from execution.review.targets import WEIGHERS
from ledger.events import SignalApproved, SignalExpired, SignalRejected
from ledger.events.fields import RuleChecked
from ledger.projections.book import MemoryBook
from ledger.projections.signals import SignalView
from ledger.values import Instrument, Side
from tests.support.events import SteppingClock
from tests.support.trading import BTC, RULES, Room, Script, ScriptedExchange, market

ALL = [FIRST.__name__, *(rule.__name__ for rule in (*FOR_SIGNALS, *FOR_EVERY_ORDER, *WEIGHERS))]
MANUAL = [rule.__name__ for rule in FOR_EVERY_ORDER]


def new_room(**limits: str) -> Room:
    room = Room(MemoryBook(SteppingClock()), "review")
    for name, value in limits.items():
        room.limit(name, value)
    return room


def verdict_in(room: Room, rules: Any = RULES) -> SignalVerdict:
    with room.reading() as reading:
        (signal,) = reading.rows.history(SignalView)
        return review_signal(Opinion.of_signal(signal, reading.rows), room.state(reading), rules)


def test_good_signal_is_approved_with_every_rule() -> None:
    """An approval has side, size, account and the answer of every rule."""
    room = new_room()
    room.signal("0.2")

    verdict = verdict_in(room)

    assert isinstance(verdict, Approval)
    assert (verdict.side, verdict.size.value, verdict.account.account) == (Side.BUY, Decimal(65), "main")
    assert [rule.rule for rule in verdict.rules] == ALL


NO: dict[str, Callable[[], Room]] = {
    "trading_open": lambda: _with(new_room(), lambda room: room.halt()),
    "enough_confidence": lambda: _with(new_room(), confidence="0.1"),
    "warm_enough": lambda: _with(new_room(), score="0.1"),
    "says_act": lambda: _with(new_room(action_score="0.6")),
    "confirmed": lambda: _with(new_room(confirmation_minutes="5")),
    "minimum_trade": lambda: _with(new_room(minimum_trade="1000")),
    "enough_available": lambda: _with(new_room(), score="-0.5"),
    "product_known": lambda: _with(new_room(), instrument=Instrument("BTC-EUR")),
}


def _with(room: Room, act: Callable[[Room], None] = lambda _: None, **signal: Any) -> Room:
    act(room)
    room.signal(**signal)
    return room


@pytest.mark.parametrize("rule", NO)
def test_rejection_lists_every_rule(rule: str) -> None:
    """Each failed rule leads to a rejection that also lists the answers of all others."""
    verdict = verdict_in(NO[rule]())

    assert isinstance(verdict, Rejection)
    assert rule in [one.rule for one in verdict.rules if not one.passed]
    assert verdict.failed in verdict.rules
    assert [one.rule for one in verdict.rules] == ALL


def test_old_signal_expires() -> None:
    """A stale signal is neither approved nor rejected; its verdict lists every rule, the failed one first."""
    room = new_room()
    room.signal()
    room.clock.move(minutes=11)

    verdict = verdict_in(room)

    assert isinstance(verdict, Expiry)
    assert [rule.rule for rule in verdict.rules] == ALL
    assert not verdict.rules[0].passed


def test_signal_without_a_venue_is_rejected() -> None:
    """A venue that is not connected or does not trade the instrument is a rejection, not an error."""
    room = new_room()
    room.signal()

    verdict = verdict_in(room, None)

    assert isinstance(verdict, Rejection)
    assert {"product_known", "venue_minimum"} <= {rule.rule for rule in verdict.rules if not rule.passed}


@given(
    st.decimals(-1, 1, places=6),
    st.decimals(0, 1, places=6),
    st.decimals("0.01", 100000, places=18),
    st.integers(0, 1300),
    st.decimals(0, 300, places=2),
    st.decimals(0, 5, places=8),
)
def test_every_verdict_can_be_stored(
    score: Decimal, confidence: Decimal, price: Decimal, age_s: int, cash: Decimal, held: Decimal
) -> None:
    """Any score, confidence, price, age and holding give one stored verdict, consistent with its rules."""
    room = Room(MemoryBook(SteppingClock()), "any", cash=cash)
    if held:
        room.hold(str(held))
    room.signal(str(score), confidence=str(confidence), price=str(price))
    room.clock.move(seconds=age_s)
    room.service(ScriptedExchange((Script(states=("open",), told=((),)),))).step()

    ((kind, rules),) = [
        (type(one), one.rules)
        for one in room.of(SignalApproved) + room.of(SignalRejected) + room.of(SignalExpired)
        if isinstance(one, SignalApproved | SignalRejected | SignalExpired)
    ]
    assert [rule.rule for rule in rules] == ALL
    failed = [rule.rule for rule in rules if not rule.passed]
    expected = SignalExpired if "fresh_signal" in failed else SignalRejected if failed else SignalApproved
    assert kind is expected


def test_review_without_one_of_its_rules_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a signal that should be rejected is approved."""
    monkeypatch.setattr(review, "FOR_SIGNALS", tuple(rule for rule in FOR_SIGNALS if rule.__name__ != "confirmed"))

    assert isinstance(verdict_in(NO["confirmed"]()), Approval)


def reviewed(room: Room, ticket: ManualTicket) -> Approval | Rejection:
    with room.reading() as reading:
        return review_manual(ticket, room.state(reading), RULES)


def test_manual_order_is_checked_by_the_rules_for_every_order() -> None:
    """Confirmation, cooldown and temperature apply to bots only; all other rules apply to people, too."""
    room = new_room(confirmation_minutes="5")
    room.mark()
    assert [rule.rule for rule in reviewed(room, market()).rules] == MANUAL
    assert isinstance(reviewed(room, market()), Approval)

    room.halt()
    assert isinstance(reviewed(room, market()), Rejection)


def test_market_order_without_a_mark_is_rejected() -> None:
    """A limit order has its own price."""
    room = new_room()

    rejection = reviewed(room, market())
    assert isinstance(rejection, Rejection)
    assert rejection.failed.rule == "price_known"
    assert isinstance(reviewed(room, market(limit="90")), Approval)


@pytest.mark.parametrize(
    "terms",
    [
        {"base_size": None},
        {"quote_size": Decimal(5)},
        {"limit_price": Decimal(5)},
        {"kind": "limit"},
        {"base_size": Decimal(0)},
        {"base_size": Decimal(-1)},
        {"kind": "limit", "limit_price": Decimal(0)},
    ],
)
def test_ticket_with_contradictory_terms_is_refused(terms: dict[str, Any]) -> None:
    """One size, a limit price for limit orders only, nothing at or below zero: every stored intent can be sent."""
    good: dict[str, Any] = {
        "instrument": BTC,
        "side": Side.BUY,
        "kind": "market",
        "base_size": Decimal(1),
        "quote_size": None,
        "limit_price": None,
        "account": None,
    }
    ManualTicket(**good)

    with pytest.raises(ValueError, match=r"order needs|greater than 0"):
        ManualTicket(**{**good, **terms})


def test_rejection_reports_the_first_failed_rule() -> None:
    """The first failed rule gives kind and message."""
    yes, no, again = (RuleChecked(rule=name, passed=name == "a", reason=name, numbers={}) for name in "abc")

    assert Rejection((yes, no, again)).failed is no
