"""Rules of risk: shares, losses, streaks and frequencies, each with its bound."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.review import order_rules as orders
from execution.review import signal_rules as signals
from execution.review import state as state_module
from execution.review.readiness import blockers
from execution.review.state import Rule, Size
from ledger.events import AssetDeposited, BotRegistered, BotStarted, SplitRecorded
from ledger.projections.bots import BotView
from ledger.values import Asset, Side, decimal_text
from tests.support.risky_trades import HOUR, MIDNIGHT, closed, proposed, room_with, traded
from tests.support.trading import BTC, NOON, Room, Script, ScriptedExchange, market

DAY = timedelta(days=1)


def holding(room: Room, quantity: str) -> None:
    """Hold this quantity since yesterday, at a price of 100 then and now."""
    room.hold(quantity)
    room.mark()


def marked(room: Room, price: str, at: Any = None) -> None:
    before, room.clock.now = room.clock.now, at or room.clock.now
    room.mark(price)
    room.clock.now = before


CASES: list[tuple[Rule, dict[str, str], Callable[[Room], object], dict[str, Any], bool]] = [
    (orders.position_share, {"maximum_position_pct": "10.5"}, lambda room: holding(room, "10"), {}, True),
    (orders.position_share, {"maximum_position_pct": "9.5"}, lambda room: holding(room, "10"), {}, False),
    (orders.position_share, {"maximum_position_pct": "9"}, lambda room: holding(room, "10"), {"side": Side.SELL}, True),
    (orders.exposure, {"maximum_exposure_pct": "0.5"}, lambda room: None, {}, True),
    (orders.exposure, {"maximum_exposure_pct": "0.4"}, lambda room: None, {}, False),
    (orders.price_band, {}, lambda room: room.mark("100"), {"price": Decimal(110)}, True),
    (orders.price_band, {}, lambda room: room.mark("100"), {"price": Decimal("110.01")}, False),
    (orders.price_band, {}, lambda room: room.mark("100"), {"price": Decimal("89"), "side": Side.SELL}, False),
    (orders.price_band, {}, lambda room: room.mark("100"), {"price": Decimal("150"), "side": Side.SELL}, True),
    (orders.price_band, {}, lambda room: None, {"price": Decimal("150")}, True),
    (orders.open_orders, {"maximum_open_orders": "1"}, lambda room: None, {}, True),
    (orders.open_orders, {"maximum_open_orders": "0"}, lambda room: None, {}, False),
    (signals.maximum_trade, {}, lambda room: None, {"size": Size(Decimal(100), None)}, True),
    (signals.maximum_trade, {}, lambda room: None, {"size": Size(Decimal("100.01"), None)}, False),
    (signals.loss_streak, {}, lambda room: closed(room, "wll"), {}, True),
    (signals.loss_streak, {}, lambda room: closed(room, "wlll"), {}, False),
    (signals.loss_streak, {}, lambda room: closed(room, "lllw"), {}, True),
    (signals.loss_streak, {}, lambda room: closed(room, "llle"), {}, True),
    (signals.loss_streak, {}, lambda room: closed(room, "lll", NOON - DAY), {}, True),
    (signals.loss_streak, {}, lambda room: closed(room, "lll"), {"side": Side.SELL}, True),
    (signals.trades_today, {"trades_per_day": "5"}, lambda room: closed(room, "ww"), {}, True),
    (signals.trades_today, {"trades_per_day": "4"}, lambda room: closed(room, "ww"), {}, False),
    (signals.trades_today, {"trades_per_day": "4"}, lambda room: closed(room, "ww", NOON - DAY), {}, True),
    (signals.bot_trades_today, {"bot_trades_per_day": "4"}, lambda room: closed(room, "ww"), {}, False),
    (signals.drawdown, {"maximum_drawdown_pct": "0.03"}, lambda room: closed(room, "wwwll", NOON - DAY), {}, True),
    (signals.drawdown, {"maximum_drawdown_pct": "0.01"}, lambda room: closed(room, "wwwll", NOON - DAY), {}, False),
    (signals.drawdown, {"maximum_drawdown_pct": "0.01"}, lambda room: closed(room, "ll", NOON - 9 * DAY), {}, True),
]


@pytest.mark.parametrize(("rule", "limits", "story", "changed", "passed"), CASES)
def test_risk_rule_fails_beyond_its_bound(
    rule: Rule, limits: dict[str, str], story: Callable[[Room], object], changed: dict[str, Any], passed: bool
) -> None:
    """The limit itself passes; a sale passes the rules whose risk it reduces."""
    room = room_with(**limits)
    room.signal()
    story(room)

    said = proposed(room, rule, **changed)

    assert (said.rule, said.passed) == (rule.__name__, passed)
    assert said.numbers


def test_bot_trades_today_counts_the_bots_own_trades() -> None:
    """Trades of other bots do not count."""
    room = room_with(bot_trades_per_day="4")
    room.signal(bot="other")
    closed(room, "ww")

    assert proposed(room, signals.bot_trades_today).passed
    assert proposed(room, signals.trades_today).numbers["trades"] == "4"


def test_position_share_includes_open_orders() -> None:
    """The value that an open order may still buy counts, and so does the order itself."""
    room = room_with(maximum_position_pct="0.9", maximum_open_orders="1")
    room.mark()
    room.request(room.service(ScriptedExchange((Script(states=("open",), told=((),)),))), market())

    assert not proposed(room, orders.position_share).passed
    assert not proposed(room, orders.open_orders).passed


def test_blockers_name_the_failed_rules_of_risk() -> None:
    """They are known before a signal is rejected."""
    room = room_with()
    room.tell(BotRegistered(bot_id="one", kind="rsi", bot_version="1", instrument=BTC, timeframe="1m", parameters="{}"))
    room.tell(BotStarted(bot_id="one"))
    room.signal()
    assert blocked(room) == []

    closed(room, "lll")
    assert blocked(room) == ["3 losing trades in a row today (limit: 3); no further buys until 00:00 UTC"]


def blocked(room: Room) -> list[str]:
    with room.reading() as reading:
        (bot,) = reading.rows.where(BotView)
        return blockers(bot, room.state(reading))


# --- today's gain -----------------------------------------------------------------------------------------------------


def gain(room: Room) -> str:
    with room.reading() as reading:
        return decimal_text(room.state(reading).exposure.gain_today)


def test_gain_today_includes_positions_and_closed_trades() -> None:
    """Positions gain from the price at midnight, today's trades from or to their own price."""
    room = room_with()
    room.hold("2", "90")
    marked(room, "100", MIDNIGHT - HOUR)
    marked(room, "70", MIDNIGHT)
    marked(room, "80", MIDNIGHT + HOUR)
    traded(room, Side.BUY, "1", "75", NOON - HOUR)
    traded(room, Side.SELL, "1", "85", NOON - HOUR)
    marked(room, "60")

    # two held from 70 (one of them sold at 85), one bought at 75; two of them now at 60
    assert gain(room) == decimal_text(Decimal(85) + 2 * 60 - 2 * 70 - 75)
    assert not proposed(with_limit(room, "10"), signals.daily_loss).passed
    assert proposed(with_limit(room, "11"), signals.daily_loss).passed
    assert proposed(with_limit(room, "1"), signals.daily_loss, side=Side.SELL).passed


def with_limit(room: Room, value: str) -> Room:
    room.limit("daily_loss", value)
    return room


@given(
    st.lists(st.tuples(st.integers(0, 47), st.sampled_from("bsdm"), st.integers(1, 9)), max_size=12),
    st.integers(1, 20),
)
@settings(max_examples=40, deadline=None)
def test_gain_today_equals_the_difference_of_two_valuations(story: list[tuple[int, str, int]], last: int) -> None:
    """For any trades, deposits and marks of two days: value now, less value at midnight, less deposits."""
    room = room_with()
    room.hold("100", "10")
    midnight, price, cash_then, held_then, price_then = NOON - 12 * HOUR, 10, Decimal(0), Decimal(0), 10
    cash, held, came_in = Decimal(0), Decimal(100), Decimal(0)
    marked(room, "10", midnight - 24 * HOUR)
    passed_midnight = False
    for half_hours, what, amount in [*sorted(story), (48, "m", last)]:
        at = min(midnight - 12 * HOUR + half_hours * HOUR / 2 + HOUR / 4, NOON)
        if at > midnight and not passed_midnight:
            passed_midnight, cash_then, held_then, price_then = True, cash, held, price
        if what == "m":
            price = amount
            marked(room, str(price), at)
        elif what == "d":
            room.tell(AssetDeposited(account="main", asset=Asset("BTC"), quantity=Decimal(amount)), at=at)
            held += amount
            came_in += amount if passed_midnight else 0
        else:
            sign = 1 if what == "b" else -1
            traded(room, Side.BUY if what == "b" else Side.SELL, str(amount), "12", at)
            held, cash = held + sign * amount, cash - sign * amount * 12

    expected = cash - cash_then + held * price - held_then * price_then - came_in * price
    assert gain(room) == decimal_text(Decimal(expected))


def test_gain_today_counts_only_closed_trades_after_a_split() -> None:
    """The price at midnight is one of other units."""
    room = room_with()
    holding(room, "2")
    closed(room, "w")
    room.tell(SplitRecorded(asset=Asset("BTC"), numerator=2, denominator=1), at=NOON - HOUR)
    marked(room, "10")

    assert gain(room) == "1"


def test_gain_that_ignores_todays_trades_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a price paid today is ignored when every leg counts as a deposit."""
    room = room_with()
    holding(room, "1")
    traded(room, Side.BUY, "1", "150", NOON - HOUR)
    assert gain(room) == "-50"

    monkeypatch.setattr(state_module, "TRADED", ())
    assert gain(room) == "0"


def test_late_mark_changes_the_price_at_midnight() -> None:
    """Only if it is later than the last known mark of that day."""
    room = room_with()
    room.hold("1", "100")
    marked(room, "100", MIDNIGHT - 2 * HOUR)
    marked(room, "90", NOON)
    assert gain(room) == "-10"
    marked(room, "95", MIDNIGHT)
    assert gain(room) == "-5"
    marked(room, "50", MIDNIGHT - HOUR)
    assert gain(room) == "-5"
