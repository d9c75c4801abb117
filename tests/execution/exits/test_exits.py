"""Exits: one order each time an exit is armed, the stop counts before the target, and no stop loosens."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.backtest.market import Market
from api.backtest.run import BacktestSpec, BotSpec, simulation_of
from api.runtime.first_run import registered
from execution.exchanges.exchange import Refused
from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.exchanges.paper.prices import Bar
from execution.exits import exit_events, exit_service
from execution.exits.exit_service import ExitService
from execution.exits.levels import Touch, guarded, touched, touched_by_quote, trailed
from execution.orders.connections import balances_of, restore_paper_orders
from execution.orders.order_events import client_order_id
from execution.review.review import TradeRejected
from ledger.events import (
    DifferenceFound,
    DifferenceResolved,
    ExitArmed,
    ExitChanged,
    ExitDisarmed,
    ExitTriggered,
    OrderRefused,
    OrderRequested,
    SignalEmitted,
    TradeExecuted,
    TradingResumed,
)
from ledger.log.envelope import NewEvent
from ledger.projections.book import Book, MemoryBook
from ledger.projections.exits import ExitView
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.values import ZERO, Side, derived_id
from signals.bot import Needs, Parameters, Signal, Window
from signals.market.candle import Candle, Quote
from signals.registry import BUILT_IN
from tests.support.api_system import Daybook, open_daybook, problem_of
from tests.support.events import SteppingClock
from tests.support.programs import WARMUP, Program, open_portfolio, quiet, tape, told
from tests.support.trading import (
    ACCOUNT,
    BTC,
    NOON,
    RULES,
    Hook,
    KillAt,
    Killed,
    Room,
    WatchedBook,
    WatchedExchange,
    market,
)
from tests.support.venues.paper_market import MINUTE

FREE: Final = PaperTerms(Decimal(0), Decimal(0), Decimal(1), Decimal(0), Decimal(0), free=True)


class Floor:
    """A paper market on which exits are watched; `hook` sees every effect and may interrupt the program at any."""

    def __init__(self, book: Book, name: str, hook: Hook = quiet, service: type[ExitService] = ExitService) -> None:
        self.room = Room(book, name, venue="paper")
        self._hook = hook
        self.kills = hook if isinstance(hook, KillAt) else KillAt()
        self._kind = service
        self._minutes = 0
        self.bars: list[Bar] = []
        self.start()

    def start(self) -> None:
        """Start the program: all it knows is in the log."""
        room, watched = self.room, WatchedBook(self.room.book, self._hook)
        self._paper = PaperExchange((BTC,), balances_of(room.book, room.portfolio_id), room.clock, FREE)
        restore_paper_orders(room.book, room.portfolio_id, self._paper)
        self.trader = room.service(WatchedExchange(self._paper, self._hook), book=watched)
        self._exits = self._kind(watched, room.portfolio_id, self._paper, self.trader)

    def candle(self, *prices: str, volume: str = "1000") -> None:
        """Close the next candle (open, high, low, close) and process it to the end, through any kills."""
        figures = [Decimal(text) for text in (*prices, volume)]
        one = Candle(BTC, MINUTE, NOON + self._minutes * MINUTE, *figures)
        self._minutes += 1
        self.bars.append(one)
        self.room.clock.now = one.closed_at
        self._surely(lambda: self._through(one))

    def again(self) -> None:
        """Replay the last candle."""
        self._surely(lambda: self._through(self.bars[-1]))

    def quote(self, bid: str) -> None:
        price = Decimal(bid)
        self._surely(lambda: self._exits.on_quote(Quote(BTC, price, price, self.room.clock())))

    def emit(self, stop: str | None, target: str | None, score: str = "0.9", bot: str = "one") -> None:
        """Emit a signal of the bot, and send its order."""
        when, price = self.room.clock(), self.bars[-1].open if self.bars else Decimal(100)
        signal = SignalEmitted(
            bot_id=bot,
            bot_version="1",
            parameters_hash="none",
            instrument=BTC,
            asof=when,
            price=price,
            score=Decimal(score),
            confidence=Decimal(1),
            stop_loss=None if stop is None else Decimal(stop),
            take_profit=None if target is None else Decimal(target),
        )
        self.room.mark(str(price))
        self.room.tell(signal, derived_id("signal", self.room.portfolio_id, bot, when), when)
        self._surely(self.trader.step)

    def set_exit(self, number: int, **levels: Any) -> UUID:
        """Set an exit for the whole holding by hand."""
        exit_id = derived_id("set", self.room.portfolio_id, number)
        event = ExitArmed(exit_id=exit_id, account=ACCOUNT, instrument=BTC, bought=ZERO, **levels)
        return self.room.tell(event, exit_id)

    def exits(self) -> list[ExitView]:
        with self.room.reading() as reading:
            return sorted(reading.rows.history(ExitView), key=lambda one: one.position)

    def held(self) -> Decimal:
        return balances_of(self.room.book, self.room.portfolio_id)(ACCOUNT, "BTC")

    def sales(self) -> list[tuple[Decimal, Decimal]]:
        """Price and quantity of the exits' sales."""
        trades = [one for one in self.room.of(TradeExecuted) if isinstance(one, TradeExecuted)]
        return [(one.price, one.quantity) for one in trades if (one.triggered_by or "").startswith("exit:")]

    def _through(self, one: Bar) -> None:
        with self.trader.exclusively():
            self._paper.on_bar(one)
        self.trader.step()
        self._exits.on_bar(one)
        self.trader.step()

    def _surely(self, act: Callable[[], object]) -> None:
        while True:
            try:
                act()
            except Killed:
                self.start()
            else:
                return


def floor(name: str = "floor", **options: Any) -> Floor:
    return Floor(MemoryBook(SteppingClock()), name, **options)


def guarded_floor(stop: str | None = "90", target: str | None = "110", **options: Any) -> Floor:
    """90 USD were spent on a buy at 100."""
    made = floor(**options)
    made.emit(stop, target)
    made.candle("100", "101", "99", "100")
    return made


# --- one order for each arming ----------------------------------------------------------------------------------------


def faults_of(one: Floor) -> list[str]:
    """The faults of the exits and their orders."""
    log = one.room.envelopes()
    orders = [e for e in log if isinstance(e.event, OrderRequested) and e.event.triggered_by.startswith("exit:")]
    triggers = [e.event for e in log if isinstance(e.event, ExitTriggered)]
    armings = [e for e in log if isinstance(e.event, ExitArmed)]
    faults = [] if [e.event_id for e in orders] == [t.order_id for t in triggers] else ["triggers and orders differ"]
    faults += ["more orders than armings"] if len(orders) > len(armings) else []
    for trigger in triggers:
        told = [e for e in log if getattr(e.event, "exit_id", None) == trigger.exit_id]
        kinds = [type(e.event) for e in told if not isinstance(e.event, ExitChanged)]
        if any(kind is next_one for kind, next_one in pairwise(kinds)):
            faults.append(f"armed or triggered twice in a row: {kinds}")
    with one.room.reading() as reading:
        live = list(reading.rows.where(OrderView))
        faults += [str(broken) for broken in broken_invariants(reading.rows)]
    waiting = [exit for exit in one.exits() if exit.status == "armed"]
    if not live and sum((exit.quantity or ZERO for exit in waiting), ZERO) > max(one.held(), ZERO):
        faults.append("more is guarded than is held")
    last = one.bars[-1]
    faults += [
        f"{exit.exit_id} was touched and nothing was sold"
        for exit in waiting
        if exit.trail is None and exit.armed_at < last.closed_at and touched(exit, last, ZERO) and not live
    ]
    return faults + loosened(one) + stops_after_targets(one)


def loosened(one: Floor) -> list[str]:
    """Stops that fell without a change by hand."""
    stops: dict[UUID, Decimal] = {}
    faults = []
    for envelope in one.room.envelopes(ExitArmed, ExitChanged):
        event = envelope.event
        assert isinstance(event, ExitArmed | ExitChanged)
        if event.stop is not None:
            if event.stop < stops.get(event.exit_id, ZERO):
                faults.append(f"the stop of {event.exit_id} fell to {event.stop}")
            stops[event.exit_id] = event.stop
    return faults


def stops_after_targets(one: Floor) -> list[str]:
    """Targets taken from a candle that reached the current stop as well."""
    lows = {b.closed_at: b.low for b in one.bars}
    stops: dict[UUID, Decimal] = {}
    faults = []
    for envelope in one.room.envelopes(ExitArmed, ExitChanged, ExitTriggered):
        event = envelope.event
        if isinstance(event, ExitArmed | ExitChanged):
            stops[event.exit_id] = event.stop or ZERO
            continue
        assert isinstance(event, ExitTriggered)
        if event.level == "target" and stops[event.exit_id] >= lows[envelope.occurred_at]:
            faults.append(f"{event.exit_id} took its target")
    return faults


moves = st.lists(
    st.tuples(
        st.sampled_from(["buy", "buy", "bare", "sell", "set", "", ""]),
        st.integers(-6, 6),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from(["0.5", "1000"]),
    ),
    min_size=4,
    max_size=14,
)


def played(
    steps: list[tuple[str, int, int, int, str]], kills: set[int], book: Book | None = None, name: str = "played"
) -> Floor:
    """A market with these moves, with buys, sales and manual exits, interrupted at these effects."""
    one = Floor(book or MemoryBook(SteppingClock()), name, KillAt(kills))
    price = 100
    for number, (act, move, up, down, volume) in enumerate(steps):
        if act in ("buy", "bare"):
            stop, target = (str(price - 5), str(price + 5)) if act == "buy" else (None, None)
            one.emit(stop, target, bot=f"bot {number}")
        elif act == "sell" and one.held() > Decimal("0.2"):
            _manual_sale(one, number)
        elif act == "set" and one.held() > 0 and not any(e.order_id is None for e in one.exits() if e.live):
            one.set_exit(number, stop=Decimal(price - 7), target=Decimal(price + 9), trail=Decimal("0.07"))
        close = max(price + move, 20)
        high, low = max(price, close) + up, max(min(price, close) - down, 10)
        one.candle(str(price), str(high), str(low), str(close), volume=volume)
        price = close
    one.candle(str(price), str(price), str(price), str(price), volume="100000")
    one.candle(str(price), str(price), str(price), str(price), volume="100000")
    return one


def _manual_sale(one: Floor, number: int) -> None:
    room = one.room
    try:
        room.request(one.trader, market(Side.SELL, base="0.1"), number)
    except (Killed, TradeRejected):
        one.start()


@settings(max_examples=40)
@given(moves, st.sets(st.integers(1, 300), max_size=5))
def test_exit_sells_once_under_any_interruption(steps: Any, kills: set[int]) -> None:
    """Killed at any effects and restarted: one order for each arming, no touch is missed, no stop loosens."""
    assert faults_of(played(steps, kills)) == []


def test_stored_exit_sells_once_under_any_interruption(book: Book) -> None:
    """The same for every kind of book."""
    steps = [("buy", 0, 1, 1, "1000"), ("set", 3, 1, 0, "1000"), ("", -9, 0, 2, "0.5"), ("", 0, 1, 1, "1000")]
    for number in (set(), {9, 12}, {15}, {18, 21}, {24}, {27, 30}):
        one = played(steps, number, book, f"killed at {sorted(number)}")
        assert faults_of(one) == []
        assert one.sales()


EVERY: Final = [
    ("buy", 1, 1, 1, "1000"),
    ("set", 4, 4, 0, "1000"),
    ("buy", -6, 9, 9, "0.5"),
    ("", -6, 9, 9, "1000"),
] * 2


def test_exit_sells_once_when_interrupted_at_every_effect() -> None:
    """The same at one effect of a life after the other."""
    clean = played(EVERY, set())
    assert (faults_of(clean), len(clean.sales()) >= 3) == ([], True)
    for number in range(1, clean.kills.seen + 1, 2):
        assert faults_of(played(EVERY, {number})) == [], f"killed at {number}"


# --- planted mistakes -------------------------------------------------------------------------------------------------


def test_exit_stored_without_its_order_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the order alone, with a new id each time."""

    def forgetful(exit: ExitView, touch: Touch, size: Decimal, venue: str, state: Any) -> list[NewEvent]:
        _, order = honest(exit, touch, size, venue, state)
        new_id = derived_id("again", exit.exit_id, state.position)
        named = order.event.model_copy(update={"client_order_id": client_order_id(new_id)})
        return [replace(order, event=named, event_id=new_id)]

    honest = exit_events.triggered
    monkeypatch.setattr(exit_service, "triggered", forgetful)

    assert faults_of(played(EVERY, set())) != []


def test_exit_that_prefers_its_target_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the target counts in a candle that reached both."""

    def hopeful(levels: Any, one: Bar, half_spread: Decimal) -> Touch | None:
        without_stop = type("Levels", (), {"stop": None, "target": levels.target})()
        return touched(without_stop, one, half_spread) or touched(levels, one, half_spread)

    monkeypatch.setattr(exit_service, "touched", hopeful)

    assert stops_after_targets(played(EVERY, set())) != []


def test_loosening_stop_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the stop follows the price down as well."""

    def loose(exit_id: UUID, bar: Bar, state: Any) -> list[NewEvent]:
        exit = state.rows.get(ExitView, exit_id)
        stop = trailed(replace(exit, stop=Decimal(1)), bar.high)
        return [exit_events.changed(exit, state, stop=stop)] if stop != exit.stop else []

    monkeypatch.setattr(exit_service, "_trailing", loose)
    one = guarded_floor(None, None)
    one.set_exit(1, stop=Decimal(80), trail=Decimal("0.5"))
    one.candle("100", "190", "100", "190")
    one.candle("120", "120", "110", "115")

    assert loosened(one) != []


# --- live is what was tested ------------------------------------------------------------------------------------------


class Swinging:
    """Buys for some minutes with a near stop and a near target, then holds."""

    kind: ClassVar[str] = "swinging"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def needs(self, params: Parameters) -> Needs:
        return Needs(bars=1)

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        if window.asof.minute % 20 >= 8:
            return Signal(score=0.0)
        close = Decimal(str(window.close.item(-1)))
        stop, target = ((close * Decimal(share)).quantize(Decimal("0.01")) for share in ("0.999", "1.001"))
        return Signal(score=0.8, stop_loss=stop, take_profit=target)


def test_bot_with_exit_levels_trades_live_as_in_the_backtest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals, exits, orders and trades on the same candles are equal, ids included."""
    monkeypatch.setitem(BUILT_IN, "swinging", Swinging())
    candles, book, portfolio_id = tape(200), MemoryBook(SteppingClock()), derived_id("live with levels")
    open_portfolio(book, portfolio_id, candles, [registered("swinging", "swinging", BTC, "1m", "{}")])
    Program(book, portfolio_id, candles).play_out()
    log = (one for one in book.log.read(portfolio_id) if one.type != "MarkRecorded" and one.actor != "test")
    bots = (BotSpec("swinging", "{}", "swinging"),)
    spec = BacktestSpec(Path("tape"), bots, Decimal(10_000), PaperTerms(), begin=candles[WARMUP].opened_at)
    tested = simulation_of(spec, Market.of(candles, "tape"))
    found = [one for one in tested.book.log.read(tested.plan.portfolio_id) if one.type != "MarkRecorded"]

    live = [told(one) for one in log]
    assert [one[1] for one in live].count("ExitTriggered") >= 3
    assert [told(one) for one in found if one.actor != "backtest"] == live


# --- what exits do ----------------------------------------------------------------------------------------------------


def test_stop_and_target_sell_the_position() -> None:
    """The exit has the id of the buy order, and its order and trade name it."""
    one = guarded_floor()
    (exit,) = one.exits()
    assert (exit.status, exit.quantity, exit.exit_id) == ("armed", Decimal("0.9"), exit.order_id)
    one.candle("100", "111", "99", "100")

    (ended,) = one.exits()
    assert (ended.status, ended.reason, one.sales()) == ("disarmed", "sold", [(Decimal(110), Decimal("0.9"))])
    sold = one.room.of(TradeExecuted)[-1]
    assert isinstance(sold, TradeExecuted)
    assert sold.triggered_by == f"exit:{exit.exit_id}"


def test_unsold_rest_of_an_exit_order_is_armed_again_once() -> None:
    """A stop larger than the volume of its candles is armed again when its order has ended."""
    one = guarded_floor()
    one.room.limit("order_lifetime_minutes", "2")
    one.candle("100", "100", "89", "95", volume="0.3")
    one.candle("95", "96", "94", "95", volume="0.2")
    one.candle("95", "96", "94", "95", volume="0")
    (exit,) = one.exits()
    assert (exit.status, exit.quantity) == ("armed", Decimal("0.4"))
    one.candle("95", "96", "80", "85")

    assert [quantity for _, quantity in one.sales()] == [Decimal("0.3"), Decimal("0.2"), Decimal("0.4")]
    assert len(one.room.of(ExitTriggered)) == 2
    assert one.exits()[0].status == "disarmed"


def test_exits_follow_the_holding() -> None:
    """A sale reduces the oldest exit; an exit without a holding is disarmed."""
    one = guarded_floor()
    one.emit("80", "120", bot="two")
    one.candle("100", "101", "99", "100")
    one.room.request(one.trader, market(Side.SELL, base="1.2"), 1)
    one.candle("100", "101", "99", "100")

    assert [(exit.status, exit.quantity) for exit in one.exits()] == [
        ("disarmed", Decimal("0.9")),
        ("armed", Decimal("0.6")),
    ]
    assert [event.reason for event in one.room.of(ExitDisarmed) if isinstance(event, ExitDisarmed)] == [
        "no position left"
    ]


def test_exits_wait_while_trading_is_halted() -> None:
    """Nothing is triggered during a halt; the exit is unchanged afterwards."""
    one = guarded_floor()
    one.room.halt()
    one.candle("100", "101", "80", "85")
    assert (one.exits()[0].status, one.sales()) == ("armed", [])

    one.room.tell(TradingResumed(reason="calm"))
    one.candle("85", "86", "84", "85")
    assert one.sales() == [(Decimal(85), Decimal("0.9"))]


def test_exits_wait_while_their_account_has_a_difference() -> None:
    """No order is stored that would not be sent; once the difference is resolved, it sells once."""
    one = guarded_floor()
    found = DifferenceFound(account=ACCOUNT, venue="paper", subject="balance of BTC", ledger="1", venue_says="2")
    difference_id = one.room.tell(found)
    for _ in range(3):
        one.candle("100", "101", "80", "85")
    assert (one.exits()[0].status, one.room.of(ExitTriggered), one.sales()) == ("armed", [], [])

    one.room.tell(DifferenceResolved(difference_id=difference_id, reason="a gift"))
    one.candle("85", "86", "84", "85")
    assert one.sales() == [(Decimal(85), Decimal("0.9"))]


def test_refused_exit_tries_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the venue is not called and nothing is stored."""
    one = guarded_floor()
    monkeypatch.setattr(PaperExchange, "_refusal", lambda *_: Refused("funds", "not enough"))
    one.candle("100", "101", "80", "85")
    for _ in range(5):
        one.room.clock.now += timedelta(seconds=10)
        one.quote("85")
    assert (one.exits()[0].status, len(one.room.of(ExitTriggered))) == ("armed", 1)

    one.room.clock.now += timedelta(seconds=10)
    one.quote("85")
    assert len(one.room.of(ExitTriggered)) == 2


def test_exit_below_the_venues_minimum_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent again only when a higher price or a larger holding makes it large enough."""
    least = replace(RULES, minimum_value=Decimal(100))
    refused = Refused("below_minimum", "90 is below the least value 100")
    one = guarded_floor("95", "110")
    monkeypatch.setattr(PaperExchange, "rules", lambda *_: least)
    monkeypatch.setattr(PaperExchange, "_refusal", lambda _, ticket: refused if ticket.base_size < 1 else None)

    def seen(bid: str) -> int:
        one.room.clock.now += timedelta(minutes=2)
        one.quote(bid)
        return len(one.room.of(ExitTriggered))

    assert [seen(bid) for bid in ("94", "93", "111", "90")] == [1, 1, 1, 1]
    assert seen("112") == 2
    one.set_exit(1, stop=Decimal(96))
    assert seen("95") == 3
    assert [type(event) for event in one.room.of(OrderRefused)] == [OrderRefused] * 3
    one.room.hold("0.5")
    assert [seen("94"), seen("94")] == [3, 4]
    assert one.exits()[-1].status == "triggered"


def test_quote_triggers_an_exit() -> None:
    """A bid at or beyond a level sells at the next price."""
    one = guarded_floor()
    one.quote("95")
    assert one.exits()[0].status == "armed"
    one.quote("89.5")
    assert one.exits()[0].status == "triggered"
    one.candle("89", "90", "88", "89")
    assert one.sales() == [(Decimal(89), Decimal("0.9"))]

    levels = one.exits()[0]
    assert touched_by_quote(levels, Quote(BTC, Decimal(110), Decimal(111), NOON)) is not None


def test_trailing_stop_follows_the_price_up() -> None:
    """It stays at its distance below the highest candle, survives a restart, and sells the whole holding."""
    one = guarded_floor(None, None)
    one.set_exit(1, stop=Decimal(95), trail=Decimal("0.05"))
    one.candle("100", "120", "100", "118")
    one.candle("118", "119", "115", "116")
    one.start()
    one.candle("116", "117", "115", "116")
    assert one.exits()[0].stop == Decimal(114)
    one.candle("116", "117", "113", "114")

    assert one.sales() == [(Decimal(114), Decimal("0.9"))]


SWINGS: Final = [
    ("100", "110", "99", "105"),
    ("106", "120", "105", "118"),
    ("118", "125", "115", "124"),
    ("124", "126", "117", "118"),
]
"""Each falls below the stop that follows its own high; the last one alone falls below the stop that stood before."""


def trailed_through(kills: set[int]) -> tuple[Floor, int]:
    """The triggers of a trailing stop on these candles, interrupted at these effects, and the number of effects."""
    hook = KillAt()
    one = guarded_floor(None, None, hook=hook)
    one.set_exit(1, stop=Decimal(95), trail=Decimal("0.05"))
    hook.numbers, hook.seen = kills, 0
    for swing in SWINGS:
        one.candle(*swing)
    return one, hook.seen


def sold_by_its_own_high() -> list[int]:
    """The effects at which an interrupted program sold otherwise than an uninterrupted one."""
    plain, effects = trailed_through(set())
    assert triggerings(plain) == [(Decimal("118.75"), plain.bars[-1].closed_at)]
    return [n for n in range(1, effects + 1) if triggerings(trailed_through({n})[0]) != triggerings(plain)]


def triggerings(one: Floor) -> list[tuple[Decimal, datetime]]:
    """Price and candle end of each trigger."""
    found = [(envelope.event, envelope.occurred_at) for envelope in one.room.envelopes(ExitTriggered)]
    return [(event.price, at) for event, at in found if isinstance(event, ExitTriggered)]


def test_replayed_candle_does_not_trigger_the_stop_that_followed_it() -> None:
    """Interrupted anywhere, the stop sells at the same place and price."""
    assert sold_by_its_own_high() == []


def test_stop_reached_by_its_own_candle_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a replayed candle is compared with the moved stop."""
    monkeypatch.setattr(ExitService, "_seen_through", lambda *_: False)

    assert sold_by_its_own_high() != []


def test_stop_moved_down_by_hand_stays_when_the_candle_is_replayed() -> None:
    """A candle raises a trailing stop once."""
    one = guarded_floor(None, None)
    exit_id = one.set_exit(1, stop=Decimal(95), trail=Decimal("0.05"))
    one.candle("100", "110", "99", "105")
    moved = ExitChanged(exit_id=exit_id, bought=ZERO, stop=Decimal(80), trail=Decimal("0.05"))
    one.room.tell(moved)
    one.again()

    assert (one.exits()[-1].stop, one.sales()) == (Decimal(80), [])


def test_holding_is_divided_among_exits_newest_first() -> None:
    """An exit for the whole holding takes nothing from the others."""
    one = guarded_floor()
    one.emit("80", "120", bot="two")
    one.candle("100", "101", "99", "100")
    one.set_exit(1, stop=Decimal(50))
    exits = one.exits()

    assert list(guarded(exits, Decimal("1.2")).values()) == [Decimal("1.2"), Decimal("0.9"), Decimal("0.3")]


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A Daybook that holds some BTC."""
    with open_daybook(database_url, tmp_path) as running:
        running.post("trades/execute", {"product_id": "BTC-USD", "side": "buy", "quote_size": "50"}, "buy")
        running.pass_seconds(2)
        yield running


def test_exit_is_set_moved_and_removed_over_http(daybook: Daybook) -> None:
    """The list shows its state; each command has effect once; an ended exit cannot be moved."""
    body = {"product_id": "BTC-USD", "stop_loss": "1", "take_profit": "10000000"}
    first = daybook.post("exits", body, "e1")
    assert (first.status_code, first.json()["quantity"], first.json()["status"]) == (201, None, "armed")
    assert daybook.post("exits", body, "e1").content == first.content
    again = daybook.post("exits", body, "e2")
    assert (again.status_code, problem_of(again)) == (409, "exit-exists")
    exit_id = first.json()["exit_id"]

    moved = daybook.post(f"exits/{exit_id}/change", {"trailing": "0.5"}, "e3").json()
    assert (moved["take_profit"], moved["trailing"]) == (None, "0.5")
    assert Decimal(moved["stop_loss"]) > 1
    assert [one["exit_id"] for one in daybook.read("exits")] == [exit_id]

    gone = daybook.post(f"exits/{exit_id}/remove", {"reason": "changed my mind"}, "e4").json()
    assert (gone["status"], gone["reason"]) == ("disarmed", "changed my mind")
    assert daybook.read("exits") == []
    late = daybook.post(f"exits/{exit_id}/change", {"trailing": "0.4"}, "e5")
    assert (late.status_code, problem_of(late)) == (409, "exit-ended")


def test_manual_stop_sells_the_position(daybook: Daybook) -> None:
    """A stop above the market is reached by the next candle, and the whole holding is sold."""
    exit_id = daybook.post("exits", {"product_id": "BTC-USD", "stop_loss": "9000000"}, "e1").json()["exit_id"]
    daybook.pass_seconds(3)

    assert daybook.read("exits") == []
    (sale,) = [one for one in daybook.read("trades")["items"] if one["side"] == "sell"]
    assert sale["triggered_by"] == f"exit:{exit_id}"
    daybook.post("verification")
    assert daybook.post("verification").json()["verified"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"product_id": "BTC-USD"}, 400),
        ({"product_id": "BTC-USD", "trailing": "1"}, 400),
        ({"product_id": "BTC-USD", "stop_loss": "2", "take_profit": "1"}, 400),
        ({"product_id": "ETH-USD", "stop_loss": "2"}, 422),
        ({"product_id": "BTC-USD", "stop_loss": "2", "account": "nobody"}, 422),
    ],
)
def test_invalid_exit_is_refused(daybook: Daybook, body: dict[str, str], status: int) -> None:
    """Without levels, with crossed levels, or without a holding: nothing is stored."""
    before = daybook.head()

    assert daybook.post("exits", body, "e1").status_code == status
    assert daybook.head() == before
    assert daybook.post(f"exits/{derived_id('none')}/remove", {"reason": "x"}, "e2").status_code == 404
