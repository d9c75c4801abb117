"""Rules for orders and signals: each passes and fails where it should; confirmation and cooldown by event time."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.exchanges.exchange import InstrumentRules
from execution.review import FOR_EVERY_ORDER, FOR_SIGNALS
from execution.review import order_rules as orders
from execution.review import signal_rules as signals
from execution.review.signal_rules import fresh_signal
from execution.review.state import Opinion, Proposal, Rule, Size
from ledger.events import OrderRequested
from ledger.events.fields import RuleChecked
from ledger.projections.book import MemoryBook
from ledger.projections.policy import LONGEST
from ledger.projections.signals import SignalView, action_of
from ledger.values import Instrument, Side
from tests.support.events import SteppingClock
from tests.support.trading import ACCOUNT, BTC, NOON, RULES, Room, Script, ScriptedExchange, market

MINUTE = timedelta(minutes=1)


def new_room(**limits: str) -> Room:
    room = Room(MemoryBook(SteppingClock()), "rules")
    for name, value in limits.items():
        room.limit(name, value)
    return room


def answer(rule: Rule, room: Room, **changed: Any) -> RuleChecked:
    """The rule's answer to the newest signal of the room and a buy of 50, with these fields changed."""
    with room.reading() as reading:
        found = sorted(reading.rows.history(SignalView), key=lambda signal: signal.asof)
        proposal = Proposal(
            instrument=BTC,
            side=Side.BUY,
            price=Decimal(100),
            size=Size(Decimal(50), None),
            account=room.state(reading).first_account(),
            venue_rules=RULES,
            opinion=Opinion.of_signal(found[-1], reading.rows) if found else None,
        )
        return rule(replace(proposal, **changed), room.state(reading))


def test_every_rule_answers_with_its_own_name() -> None:
    """An answer has the rule's name, a reason, and numbers as text."""
    room = new_room()
    room.signal()
    for rule in (fresh_signal, *FOR_SIGNALS, *FOR_EVERY_ORDER):
        result = answer(rule, room)
        assert result.rule == rule.__name__
        assert result.passed
        assert result.reason


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        (orders.account_known, {"account": None}),
        (orders.product_known, {"venue_rules": None}),
        (orders.product_known, {"instrument": Instrument("BTC-EUR")}),
        (orders.price_known, {"price": None}),
        (orders.venue_minimum, {"size": None}),
        (orders.venue_minimum, {"size": Size(Decimal("0.99"), None)}),
        (orders.venue_minimum, {"size": Size(Decimal(50), Decimal("0.000009"))}),
        (orders.enough_available, {"size": None}),
        (orders.enough_available, {"size": Size(Decimal("9940.4"), None)}),
        (orders.enough_available, {"size": Size(Decimal(0), None)}),
        (orders.enough_available, {"side": Side.SELL, "size": Size(Decimal(50), Decimal("0.5"))}),
        (orders.enough_available, {"side": Side.SELL, "size": Size(Decimal(0), Decimal(0))}),
        (signals.minimum_trade, {"size": Size(Decimal("9.99"), None)}),
    ],
)
def test_rule_fails_with_a_reason(rule: Rule, changed: dict[str, Any]) -> None:
    """Unknown, too small or unavailable: the rule fails under its own name."""
    result = answer(rule, new_room(), **changed)

    assert (result.rule, result.passed) == (rule.__name__, False)
    assert len(result.reason) > 10


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        (orders.venue_minimum, {"size": Size(Decimal(1), None)}),
        (orders.enough_available, {"size": Size(Decimal("9940.35"), None)}),
        (signals.minimum_trade, {"size": Size(Decimal(10), None)}),
    ],
)
def test_rule_passes_at_its_bound(rule: Rule, changed: dict[str, Any]) -> None:
    """Exactly the minimum, or exactly the available amount, passes."""
    assert answer(rule, new_room(), **changed).passed


def test_trading_open_gives_the_reason_of_the_halt() -> None:
    """The reason of the halt is part of the answer."""
    room = new_room()
    room.halt("the roof is on fire")

    result = answer(orders.trading_open, room)
    assert not result.passed
    assert "the roof is on fire" in result.reason


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "minutes", "horizon_s", "fresh"),
    [
        (600, "10", None, True),
        (600.000001, "10", None, False),
        (90, "1.5", None, True),
        (90.5, "1.5", None, False),
        (60, "10", 60, True),
        (61, "10", 60, False),
        (31, "0.5", 60, False),
        (0, "0", None, True),
        (10_000_000, "99999999999999999999", None, True),
    ],
)
def test_fresh_signal_fails_beyond_the_shorter_of_policy_and_horizon(
    age_s: float, minutes: str, horizon_s: int | None, fresh: bool
) -> None:
    """Age counts to the microsecond, and limits may be fractions of a minute."""
    room = new_room(signal_maximum_age_minutes=minutes)
    room.signal(horizon_s=horizon_s)
    room.clock.move(seconds=age_s)

    assert answer(fresh_signal, room).passed is fresh


@pytest.mark.parametrize(
    ("rule", "room", "signal", "passed"),
    [
        (signals.enough_confidence, {}, {"confidence": "0.2"}, True),
        (signals.enough_confidence, {}, {"confidence": "0.199999"}, False),
        (signals.warm_enough, {}, {"score": "-0.15"}, True),
        (signals.warm_enough, {}, {"score": "0.149999"}, False),
        (signals.says_act, {}, {"score": "-0.15"}, True),
        (signals.says_act, {}, {"score": "0.149999"}, False),
        (signals.says_act, {"action_score": "0.6"}, {"score": "0.5"}, False),
    ],
)
def test_score_and_confidence_pass_from_their_bound_on(
    rule: Rule, room: dict[str, str], signal: dict[str, Any], passed: bool
) -> None:
    """The bound itself passes, for positive and negative scores."""
    chosen = new_room(**room)
    chosen.signal(**signal)

    assert answer(rule, chosen).passed is passed


def test_newest_signal_fails_after_a_newer_signal_of_the_same_bot() -> None:
    """Signals of other bots do not matter."""
    room = new_room()
    room.signal(bot="one")
    room.clock.move(minutes=1)
    room.signal(bot="two", asof=NOON + MINUTE)
    with room.reading() as reading:
        first = next(one for one in reading.rows.history(SignalView) if one.bot_id == "one")
        old = Opinion.of_signal(first, reading.rows)
    assert answer(signals.newest_signal, room, opinion=old).passed

    room.signal(bot="one", asof=NOON + 2 * MINUTE)
    assert not answer(signals.newest_signal, room, opinion=old).passed


@pytest.mark.parametrize("script", [Script(submit="lost", states=("unknown",)), Script(states=("open",), told=((),))])
def test_manual_order_blocks_bots_only_while_its_outcome_is_unknown(script: Script) -> None:
    """An open manual order, which may rest for a day, blocks no bot."""
    room = new_room()
    room.mark()
    service = room.service(ScriptedExchange((script,)))
    room.request(service, market())

    assert answer(signals.no_open_order, room).passed
    assert answer(orders.no_unknown_order, room).passed is (script.submit == "accepted")


def test_open_bot_order_blocks_other_bots() -> None:
    """Other instruments are free."""
    room = new_room()
    room.mark()
    attempt(room)

    assert not answer(signals.no_open_order, room).passed
    assert answer(signals.no_open_order, room, instrument=Instrument("ETH-USD")).passed


# --- confirmation and cooldown ----------------------------------------------------------------------------------------

SCORES = {"b": "0.5", "s": "-0.5", "h": "0"}


def signals_of(room: Room, bars: str, every: timedelta, start: int = 0) -> None:
    """Emit one signal a bar: b buy, s sell, h hold, t an attempt to trade in between, - no signal."""
    number = start
    for letter in bars:
        if letter == "t":
            attempt(room)
            continue
        if letter != "-":
            room.signal(SCORES[letter], asof=NOON + number * every)
        number += 1


def attempt(room: Room) -> None:
    """The bot requests an order; its fate does not matter."""
    order = OrderRequested(
        client_order_id=f"attempt {len(room.envelopes())}",
        account=ACCOUNT,
        venue="scripted",
        instrument=BTC,
        side=Side.BUY,
        kind="market",
        quote_size=Decimal(50),
        triggered_by="bot:one",
        expires_at=NOON,
    )
    room.tell(order)


@pytest.mark.parametrize(
    ("bars", "every_s", "minutes", "confirmed"),
    [
        ("b", 60, "5", False),
        ("bbbbb", 60, "5", False),
        ("bbbbbb", 60, "5", True),
        ("hbbbbb", 60, "5", False),
        ("hbbbbbb", 60, "5", True),
        ("bbbhbbb", 60, "5", False),
        ("bbbsss", 60, "5", False),
        ("bbbssssss", 60, "5", True),
        ("bbbtbbb", 60, "5", False),
        ("bbbbbbtbbbbbb", 60, "5", True),
        ("b", 3600, "5", False),
        ("bb", 3600, "5", True),
        ("bs", 3600, "5", False),
        ("b", 60, "0", True),
        ("bb", 90, "1.5", True),
        ("bb", 89, "1.5", False),
        ("bb", 60, "1.5", False),
    ],
)
def test_confirmed_counts_event_time(bars: str, every_s: int, minutes: str, confirmed: bool) -> None:
    """It restarts after a hold, an attempt or a turn, and needs two bars; 0 minutes turn it off."""
    room = new_room(confirmation_minutes=minutes)
    signals_of(room, bars, timedelta(seconds=every_s))

    assert answer(signals.confirmed, room).passed is confirmed


def naive_confirmed(bars: str, every: timedelta, window: timedelta) -> bool:
    """The rule computed backwards from the last signal."""
    if not window:
        return True
    since_attempt = bars.rpartition("t")[2]
    last = since_attempt[-1:]
    run = len(since_attempt) - len(since_attempt.rstrip(last)) if last else 0
    return last in "bs" and run >= 2 and (run - 1) * every >= window


@given(
    st.text("bsht", min_size=1, max_size=14).filter(lambda text: text[-1] in "bs"),
    st.integers(1, 20),
    st.integers(0, 30),
)
def test_confirmed_agrees_with_a_naive_computation(bars: str, every_min: int, window_half_min: int) -> None:
    """For any history of opinions and attempts."""
    room = new_room(confirmation_minutes=str(Decimal(window_half_min) / 2))
    signals_of(room, bars, every_min * MINUTE)

    expected = naive_confirmed(bars, every_min * MINUTE, timedelta(seconds=30 * window_half_min))
    assert answer(signals.confirmed, room).passed is expected


def test_fold_that_ignores_attempts_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an ignored attempt leaves the opinion confirmed."""
    room = new_room(confirmation_minutes="3")
    monkeypatch.setattr("ledger.projections.signals.OrderRequested", type("Nothing", (), {}))
    signals_of(room, "bbtbb", MINUTE)

    assert answer(signals.confirmed, room).passed
    assert not naive_confirmed("bbtbb", MINUTE, 3 * MINUTE)


@pytest.mark.parametrize(
    ("after_s", "minutes", "cool"),
    [(899, "15", False), (900, "15", True), (90, "1.5", True), (89, "1.5", False), (0, "0", True), (-30, "0", True)],
)
def test_cooled_down_counts_from_the_last_fill(after_s: int, minutes: str, cool: bool) -> None:
    """To the second, from the bot's last fill; 0 minutes turn it off."""
    room = new_room(cooldown_minutes=minutes)
    venue = ScriptedExchange((Script(states=("filled",), told=((0, 1),)),))  # fills at noon and a second later
    room.signal()
    room.service(venue).step()
    room.signal(asof=NOON + timedelta(seconds=1 + after_s))

    assert answer(signals.cooled_down, room).passed is cool


def test_cooldown_applies_to_one_bot() -> None:
    """Trades of others, manual ones too, do not count."""
    room = new_room(cooldown_minutes="15")
    room.mark()
    room.signal(bot="busy")
    service = room.service(ScriptedExchange((Script(states=("filled",), told=((0,),)),)))
    service.step()
    room.request(service, market())
    room.signal(bot="idle", asof=NOON + MINUTE)

    assert answer(signals.cooled_down, room).passed


def test_longest_window_can_be_added_to_a_time() -> None:
    """The largest limit that can be stored stays within the calendar."""
    room = new_room(order_lifetime_minutes="99999999999999999999")
    with room.reading() as reading:
        assert room.state(reading).window("order_lifetime_minutes") == LONGEST


def test_answer_shows_numbers_exactly() -> None:
    """Fractions of a second included."""
    room = new_room(signal_maximum_age_minutes="1.5")
    room.signal()
    room.clock.move(seconds=90.25)

    numbers = answer(fresh_signal, room).numbers
    assert (numbers["age_s"], numbers["longest_s"]) == ("90.25", "90")


@given(st.decimals(-1, 1, places=6), st.decimals("0.000001", 1, places=6))
def test_action_is_the_sign_of_a_score_at_or_above_the_threshold(score: Decimal, threshold: Decimal) -> None:
    """Positive is buy, negative is sell, below the threshold either way is hold."""
    expected = "hold" if abs(score) < threshold else "buy" if score > 0 else "sell"

    assert action_of(score, threshold) == expected


def test_venue_minimum_follows_the_venues_rules() -> None:
    """A venue with a larger minimum refuses an order that another accepts."""
    strict = InstrumentRules(RULES.tick, RULES.lot, RULES.minimum_size, Decimal(51), RULES.taker_fee)

    assert not answer(orders.venue_minimum, new_room(), venue_rules=strict).passed


@pytest.mark.parametrize(
    ("size", "limit", "reason"),
    [
        (Decimal("0.010000001"), None, "not a multiple of the venue's lot"),
        (Decimal("0.01"), Decimal("100.001"), "not a multiple of the venue's tick"),
        (Decimal("0.01"), Decimal("100.01"), ""),
    ],
)
def test_manual_order_off_the_venues_steps_is_rejected(size: Decimal, limit: Decimal | None, reason: str) -> None:
    """It is never sent; the reason names the lot or tick."""
    room = new_room()
    room.mark()
    steps = replace(RULES, lot=Decimal("0.00001"), tick=Decimal("0.01"))

    checked = answer(orders.in_steps, room, size=Size(Decimal(1), size), limit_price=limit, venue_rules=steps)

    assert checked.passed is (reason == "")
    assert reason in checked.reason
