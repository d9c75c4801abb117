"""Exits: one order for each arming whatever is cut off, the stop before the target, and a stop that never loosens."""

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
from tests.support.paper_market import MINUTE
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

FREE: Final = PaperTerms(Decimal(0), Decimal(0), Decimal(1), Decimal(0), Decimal(0), free=True)


class Floor:
    """A paper market on which exits are watched; `hook` sees every effect and may cut the program off at any."""

    def __init__(self, book: Book, name: str, hook: Hook = quiet, service: type[ExitService] = ExitService) -> None:
        self.room = Room(book, name, venue="paper")
        self._hook = hook
        self.kills = hook if isinstance(hook, KillAt) else KillAt()
        self._kind = service
        self._minutes = 0
        self.bars: list[Bar] = []
        self.start()

    def start(self) -> None:
        """The program starts: all it knows is in the log."""
        room, watched = self.room, WatchedBook(self.room.book, self._hook)
        self._paper = PaperExchange((BTC,), balances_of(room.book, room.portfolio_id), room.clock, FREE)
        restore_paper_orders(room.book, room.portfolio_id, self._paper)
        self.trader = room.service(WatchedExchange(self._paper, self._hook), book=watched)
        self._exits = self._kind(watched, room.portfolio_id, self._paper, self.trader)

    def candle(self, *prices: str, volume: str = "1000") -> None:
        """The next candle (open, high, low, close) has closed and gone through every station, kills or not."""
        figures = [Decimal(text) for text in (*prices, volume)]
        one = Candle(BTC, MINUTE, NOON + self._minutes * MINUTE, *figures)
        self._minutes += 1
        self.bars.append(one)
        self.room.clock.now = one.closed_at
        self._surely(lambda: self._through(one))

    def again(self) -> None:
        """The last candle comes once more."""
        self._surely(lambda: self._through(self.bars[-1]))

    def quote(self, bid: str) -> None:
        price = Decimal(bid)
        self._surely(lambda: self._exits.on_quote(Quote(BTC, price, price, self.room.clock())))

    def says(self, stop: str | None, target: str | None, score: str = "0.9", bot: str = "one") -> None:
        """The bot has spoken, and its order is on its way."""
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
        """A person guards all that is held."""
        exit_id = derived_id("set", self.room.portfolio_id, number)
        event = ExitArmed(exit_id=exit_id, account=ACCOUNT, instrument=BTC, bought=ZERO, **levels)
        return self.room.tell(event, exit_id)

    def exits(self) -> list[ExitView]:
        with self.room.reading() as reading:
            return sorted(reading.rows.history(ExitView), key=lambda one: one.position)

    def held(self) -> Decimal:
        return balances_of(self.room.book, self.room.portfolio_id)(ACCOUNT, "BTC")

    def sales(self) -> list[tuple[Decimal, Decimal]]:
        """Price and quantity of what exits sold."""
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
    """90 USD were put into a purchase at 100."""
    made = floor(**options)
    made.says(stop, target)
    made.candle("100", "101", "99", "100")
    return made


# --- one order for each arming ----------------------------------------------------------------------------------------


def faults_of(one: Floor) -> list[str]:
    """What is wrong with the exits and their orders."""
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
    """Stops that fell although nobody moved them."""
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
    """Targets that were taken from a candle that reached the stop too, as it stood by then."""
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
    """A market that goes these ways, with purchases, sales and a person's exits, cut off at these effects."""
    one = Floor(book or MemoryBook(SteppingClock()), name, KillAt(kills))
    price = 100
    for number, (act, move, up, down, volume) in enumerate(steps):
        if act in ("buy", "bare"):
            stop, target = (str(price - 5), str(price + 5)) if act == "buy" else (None, None)
            one.says(stop, target, bot=f"bot {number}")
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
def test_each_arming_sells_once_whatever_is_cut_off(steps: Any, kills: set[int]) -> None:
    """Killed at any effects and started again: one order for each arming, nothing touched is forgotten, no stop loosens."""
    assert faults_of(played(steps, kills)) == []


def test_each_arming_sells_once_in_the_database(book: Book) -> None:
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


def test_exits_cut_off_all_along_a_life_sell_once() -> None:
    """The same all along one life, one effect after the other."""
    clean = played(EVERY, set())
    assert (faults_of(clean), len(clean.sales()) >= 3) == ([], True)
    for number in range(1, clean.kills.seen + 1, 2):
        assert faults_of(played(EVERY, {number})) == [], f"killed at {number}"


# --- planted mistakes -------------------------------------------------------------------------------------------------


def test_an_exit_that_is_not_stored_with_its_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the order alone, under an id of its own each time."""

    def forgetful(exit: ExitView, touch: Touch, size: Decimal, venue: str, state: Any) -> list[NewEvent]:
        _, order = honest(exit, touch, size, venue, state)
        new_id = derived_id("again", exit.exit_id, state.position)
        named = order.event.model_copy(update={"client_order_id": client_order_id(new_id)})
        return [replace(order, event=named, event_id=new_id)]

    honest = exit_events.triggered
    monkeypatch.setattr(exit_service, "triggered", forgetful)

    assert faults_of(played(EVERY, set())) != []


def test_an_exit_that_prefers_its_target_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: where a candle reached both, the better one is taken."""

    def hopeful(levels: Any, one: Bar, half_spread: Decimal) -> Touch | None:
        without_stop = type("Levels", (), {"stop": None, "target": levels.target})()
        return touched(without_stop, one, half_spread) or touched(levels, one, half_spread)

    monkeypatch.setattr(exit_service, "touched", hopeful)

    assert stops_after_targets(played(EVERY, set())) != []


def test_a_stop_that_loosens_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Buys for some minutes with a near stop and a near target, then says nothing of note."""

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


def test_a_bot_with_levels_does_live_what_it_did_in_the_backtest(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_stop_and_a_target_sell_what_was_bought() -> None:
    """The exit is named after the purchase, and so are its order and its trade."""
    one = guarded_floor()
    (exit,) = one.exits()
    assert (exit.status, exit.quantity, exit.exit_id) == ("armed", Decimal("0.9"), exit.order_id)
    one.candle("100", "111", "99", "100")

    (ended,) = one.exits()
    assert (ended.status, ended.reason, one.sales()) == ("disarmed", "sold", [(Decimal(110), Decimal("0.9"))])
    sold = one.room.of(TradeExecuted)[-1]
    assert isinstance(sold, TradeExecuted)
    assert sold.triggered_by == f"exit:{exit.exit_id}"


def test_what_an_exit_order_left_is_guarded_again_once() -> None:
    """A stop that the volume of its candles could not take is armed anew when its order has ended."""
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


def test_exits_follow_what_is_held() -> None:
    """A sale takes from the oldest exit; one with nothing left to guard is disarmed."""
    one = guarded_floor()
    one.says("80", "120", bot="two")
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


def test_while_trading_is_halted_exits_wait() -> None:
    """Nothing is triggered during a halt; afterwards the exit stands as before."""
    one = guarded_floor()
    one.room.halt()
    one.candle("100", "101", "80", "85")
    assert (one.exits()[0].status, one.sales()) == ("armed", [])

    one.room.tell(TradingResumed(reason="calm"))
    one.candle("85", "86", "84", "85")
    assert one.sales() == [(Decimal(85), Decimal("0.9"))]


def test_while_a_difference_is_unexplained_exits_of_its_account_wait() -> None:
    """An order that would not be sent is not stored either, however often the price is seen; explained, it is sold once."""
    one = guarded_floor()
    found = DifferenceFound(account=ACCOUNT, venue="paper", subject="balance of BTC", ledger="1", venue_says="2")
    difference_id = one.room.tell(found)
    for _ in range(3):
        one.candle("100", "101", "80", "85")
    assert (one.exits()[0].status, one.room.of(ExitTriggered), one.sales()) == ("armed", [], [])

    one.room.tell(DifferenceResolved(difference_id=difference_id, reason="a gift"))
    one.candle("85", "86", "84", "85")
    assert one.sales() == [(Decimal(85), Decimal("0.9"))]


def test_an_exit_whose_order_was_refused_tries_again_a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """At prices in between, where it would most likely be refused again, the venue is not asked and nothing is stored."""
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


def test_an_exit_too_small_for_the_venue_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its price is seen it is not sent again; when a higher price or more to sell makes it large enough it is."""
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


def test_a_quote_triggers_too() -> None:
    """What is bid at or beyond a level sells at the next price there is."""
    one = guarded_floor()
    one.quote("95")
    assert one.exits()[0].status == "armed"
    one.quote("89.5")
    assert one.exits()[0].status == "triggered"
    one.candle("89", "90", "88", "89")
    assert one.sales() == [(Decimal(89), Decimal("0.9"))]

    levels = one.exits()[0]
    assert touched_by_quote(levels, Quote(BTC, Decimal(110), Decimal(111), NOON)) is not None


def test_a_trailing_stop_follows_the_price_up_and_stays() -> None:
    """It stands at its distance below the highest candle, survives a restart there, and sells all that is held."""
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
    """A trailing stop through these candles, cut off at these effects and started again; how many effects there were."""
    hook = KillAt()
    one = guarded_floor(None, None, hook=hook)
    one.set_exit(1, stop=Decimal(95), trail=Decimal("0.05"))
    hook.numbers, hook.seen = kills, 0
    for swing in SWINGS:
        one.candle(*swing)
    return one, hook.seen


def sold_by_its_own_high() -> list[int]:
    """The effects at which a program that was cut off there sold otherwise than one that was not."""
    plain, effects = trailed_through(set())
    assert triggerings(plain) == [(Decimal("118.75"), plain.bars[-1].closed_at)]
    return [n for n in range(1, effects + 1) if triggerings(trailed_through({n})[0]) != triggerings(plain)]


def triggerings(one: Floor) -> list[tuple[Decimal, datetime]]:
    """At which price and at the end of which candle exits were triggered."""
    found = [(envelope.event, envelope.occurred_at) for envelope in one.room.envelopes(ExitTriggered)]
    return [(event.price, at) for event, at in found if isinstance(event, ExitTriggered)]


def test_a_candle_that_comes_again_is_not_held_against_the_stop_that_followed_it() -> None:
    """Wherever the program is cut off, the stop sells what it would have sold, where it would have."""
    assert sold_by_its_own_high() == []


def test_a_stop_that_its_own_candle_reaches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a candle that comes again is judged by the stop as it stands now."""
    monkeypatch.setattr(ExitService, "_seen_through", lambda *_: False)

    assert sold_by_its_own_high() != []


def test_a_stop_that_a_person_moved_down_stays_there_when_the_candle_comes_again() -> None:
    """The same candle raises it once."""
    one = guarded_floor(None, None)
    exit_id = one.set_exit(1, stop=Decimal(95), trail=Decimal("0.05"))
    one.candle("100", "110", "99", "105")
    moved = ExitChanged(exit_id=exit_id, bought=ZERO, stop=Decimal(80), trail=Decimal("0.05"))
    one.room.tell(moved)
    one.again()

    assert (one.exits()[-1].stop, one.sales()) == (Decimal(80), [])


def test_what_is_guarded_is_shared_out_newest_first() -> None:
    """What is held goes to the newest exits; one for all that is held takes nothing from the others."""
    one = guarded_floor()
    one.says("80", "120", bot="two")
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


def test_a_person_sets_moves_and_removes_an_exit(daybook: Daybook) -> None:
    """It is listed as it stands; each command is done once; an ended one can be moved no more."""
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


def test_a_persons_stop_sells_the_position(daybook: Daybook) -> None:
    """A stop above the market is reached by the next candle, and all that is held is sold."""
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
def test_an_exit_that_cannot_be_is_refused(daybook: Daybook, body: dict[str, str], status: int) -> None:
    """Without levels, with levels that cross, where nothing is held: nothing is stored."""
    before = daybook.head()

    assert daybook.post("exits", body, "e1").status_code == status
    assert daybook.head() == before
    assert daybook.post(f"exits/{derived_id('none')}/remove", {"reason": "x"}, "e2").status_code == 404
