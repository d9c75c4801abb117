"""Market loop: the same candles give the same events, however they arrive and whatever interrupts them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.runtime.market_loop import MARK_EVERY_S, MarketClock, MarketLoop
from execution.exchanges.paper.exchange import PaperExchange
from execution.orders.connections import balances_of
from ledger.events import (
    BotFailed,
    BotRegistered,
    BotStarted,
    MarkRecorded,
    OrderClosed,
    SignalApproved,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.projections.book import Book, MemoryBook
from ledger.projections.bots import BotView
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.projections.policy import signal_policy
from ledger.values import Instrument, derived_id
from signals.bot import Needs, Parameters, Signal, Window
from signals.market.candle import Candle, FeedUnavailable, Quote
from signals.registry import BUILT_IN
from signals.runner import evaluate, signal_id
from tests.support.events import SteppingClock
from tests.support.programs import WARMUP, Program, open_portfolio, quick_bots, story_of, tape
from tests.support.trading import BTC, NOON, KillAt, Killed, Room, Script, ScriptedExchange, market
from tests.support.venues.paper_market import MINUTE, bar

LENGTH = 140
TAPE = tape(LENGTH)
VERDICTS = (SignalApproved, SignalRejected, SignalExpired)


def portfolio(book: Book, name: str, bots: list[BotRegistered] | None = None) -> UUID:
    portfolio_id = derived_id("program")
    if name:
        portfolio_id = derived_id("program", name)
    open_portfolio(book, portfolio_id, TAPE, quick_bots() if bots is None else bots)
    return portfolio_id


def memory() -> MemoryBook:
    return MemoryBook(SteppingClock())


@cache
def clean_story() -> list[Any]:
    """The log of the tape, played a candle at a time without interruption."""
    book = memory()
    program = Program(book, portfolio(book, ""), TAPE)
    for _ in range(LENGTH):
        program.play(1)
    return story_of(book, derived_id("program"))


def test_tape_has_signals_verdicts_and_trades() -> None:
    """The uninterrupted log has many signals, verdicts of two kinds, and closed trades."""
    types = [told[1] for told in clean_story()]

    assert types.count("SignalEmitted") >= 40
    assert types.count("SignalApproved") >= 2
    assert types.count("SignalRejected") >= 10
    assert types.count("TradeExecuted") >= 2
    assert types.count("MarkRecorded") == LENGTH


# --- however the candles arrive ---------------------------------------------------------------------------------------

ticks = st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=8)


def in_pieces(book: Book, pieces: list[tuple[int, bool]], name: str = "", **options: Any) -> list[Any]:
    """The log with one tick for each piece of so many candles, and a restart after the marked pieces."""
    portfolio_id = portfolio(book, name)
    program = Program(book, portfolio_id, TAPE, **options)
    for candles, restarts in pieces:
        program.play(candles)
        if restarts:
            program = Program(book, portfolio_id, TAPE, **options)
    program.play_out()
    return story_of(book, portfolio_id)


@settings(max_examples=8)
@given(ticks)
def test_bursts_and_restarts_do_not_change_the_log(pieces: list[tuple[int, bool]]) -> None:
    """One candle a tick or fifty, in one run or in many: every event, its time and its position are the same."""
    assert in_pieces(memory(), pieces) == clean_story()


@pytest.mark.campaign
@settings(max_examples=30)
@given(ticks)
def test_many_bursts_and_restarts_do_not_change_the_log(pieces: list[tuple[int, bool]]) -> None:
    """The same with more examples."""
    assert in_pieces(memory(), pieces) == clean_story()


@pytest.mark.campaign
def test_bursts_and_restarts_do_not_change_the_log_in_the_database(book: Book) -> None:
    """The same for every kind of book."""
    assert in_pieces(book, [(7, True), (60, False), (1, True)]) == clean_story()


class SeesAhead(MarketLoop):
    """Planted: bots see all candles that the feed has released."""

    def _evaluate(self, bots: Sequence[BotView], ahead: Sequence[Candle]) -> None:
        super()._evaluate(bots, [])


class FeedsClock(MarketClock):
    """Planted: market time is that of the feed, ahead of processing."""

    def __call__(self) -> datetime:
        return self._feed.now()


@pytest.mark.parametrize("planted", [{"loop": SeesAhead}, {"clock": FeedsClock}])
def test_loop_that_looks_ahead_in_a_burst_is_found(planted: dict[str, Any]) -> None:
    """Planted: a loop that depends on the size of bursts gives another log."""
    assert in_pieces(memory(), [(50, False), (50, False)], **planted) != clean_story()


# --- whatever interrupts it -------------------------------------------------------------------------------------------


@cache
def effects() -> list[str]:
    """Every recording and call to the venue on the tape, each before and after."""
    seen: list[str] = []

    def hook(side: str, effect: str) -> None:
        if effect != "read":
            seen.append(f"{side} {effect}")

    book = memory()
    Program(book, portfolio(book, ""), TAPE, hook).play_out()
    return seen


@cache
def of_orders() -> list[int]:
    """The numbers of the effects that concern orders, counted from 1."""
    return [number for number, effect in enumerate(effects(), 1) if "Signal" not in effect and "Mark" not in effect]


class Broken(Exception):
    """A temporary failure."""


def failing_once(number: int) -> list[Any]:
    """The log if a tick raises at this effect and is called again."""
    book, kill = memory(), KillAt({number})

    def hook(side: str, effect: str) -> None:
        try:
            kill(side, effect)
        except Killed as killed:
            raise Broken(effect) from killed

    program = Program(book, portfolio(book, ""), TAPE, hook)
    while program.loop.candles < LENGTH:
        with suppress(Broken):
            program.play(10)
    return story_of(book, derived_id("program"))


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.campaign)])
def test_failed_tick_is_repeated_without_doubling(every: int) -> None:
    """Whatever fails in a tick, calling it again gives the same events, each once.

    The exception is an attempt that fails before it is sent: its outcome is unknown, so it is looked up and never sent.
    """
    orders = of_orders()
    others = sorted(set(range(1, len(effects()) + 1)) - set(orders))
    for number in [*orders[:24], *orders[24::5], *others[:: len(others) // 12]][::every]:
        told = failing_once(number)
        if effects()[number - 1] in ("after OrderSubmitted", "before submit"):
            assert "not_placed" in str(told)
        else:
            assert told == clean_story(), f"failed at {number}: {effects()[number - 1]}"


@cache
def opinions_on_the_tape() -> tuple[set[UUID], set[UUID]]:
    """The ids of the signals that change a bot's opinion, and of all its possible signals, computed from candles alone."""
    book, changes, possible = memory(), set(), set()
    with book.reading(portfolio(book, "")) as reading:
        cards, policy = list(reading.rows.where(BotView)), signal_policy(reading.rows)
    for card in cards:
        band: int | None = None
        for end in range(WARMUP + 1, WARMUP + LENGTH + 1):
            candles = TAPE[:end]
            event = evaluate(card, candles, policy, candles[-1].closed_at).signal_event
            if event is not None:
                possible.add(signal_id(event))
                if policy.band(event.score) != band:
                    changes.add(signal_id(event))
                band = policy.band(event.score)
    return changes, possible


def finished_after(numbers: set[int], book: Book, name: str, loop: type[MarketLoop] = MarketLoop) -> list[str]:
    """The faults after the program is killed at these effects and restarted each time."""
    portfolio_id, hook = portfolio(book, name), KillAt(numbers)
    done = False
    while not done:
        program = Program(book, portfolio_id, TAPE, hook, loop)
        try:
            program.play_out()
            done = True
        except Killed:
            pass
    envelopes = list(book.log.read(portfolio_id))
    signals = {one.event_id for one in envelopes if isinstance(one.event, SignalEmitted)}
    changes, opinions = opinions_on_the_tape()
    faults = [f"{len(changes - signals)} changes of opinion are missing"] if changes - signals else []
    faults += [f"{len(signals - opinions)} signals are no bot's opinion"] if signals - opinions else []
    judged = [one.event.signal_id for one in envelopes if isinstance(one.event, VERDICTS)]
    if sorted(judged) != sorted(signals):
        faults.append("not one verdict for each signal")
    with book.reading(portfolio_id) as reading:
        faults += [f"hangs as {one.status}" for one in reading.rows.where(OrderView) if one.status != "accepted"]
        faults += [str(one) for one in broken_invariants(reading.rows)]
    return faults


numbers_of_effects = st.deferred(lambda: st.one_of(st.integers(1, len(effects())), st.sampled_from(of_orders())))


@settings(max_examples=12)
@given(st.sets(numbers_of_effects, min_size=1, max_size=4))
def test_program_killed_anywhere_loses_no_signal(numbers: set[int]) -> None:
    """Killed at any effects and restarted, every change of a signal is recorded and reviewed once, and the books balance.

    Repeats of an unchanged signal depend on its order, and so on the place of the kill.
    """
    assert finished_after(numbers, memory(), "") == []


@pytest.mark.campaign
@settings(max_examples=50)
@given(st.sets(numbers_of_effects, min_size=1, max_size=4))
def test_program_killed_in_many_places_loses_no_signal(numbers: set[int]) -> None:
    """The same with more examples."""
    assert finished_after(numbers, memory(), "") == []


@pytest.mark.parametrize("places", [1, pytest.param(4, marks=pytest.mark.campaign)])
def test_program_killed_anywhere_loses_no_signal_in_the_database(book: Book, places: int) -> None:
    """The same for every kind of book, at effects all along the tape."""
    for number in of_orders()[3 :: len(of_orders()) // 3][:places]:
        assert finished_after({number, number + 4}, book, str(number)) == []


def test_program_that_resumes_after_the_last_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the candle in processing is taken as done, and its signals are lost."""
    from api.runtime import market_time
    from tests.support import programs

    honest = market_time.last_market_time

    def behind(*known: Any) -> datetime | None:
        at = honest(*known)
        return None if at is None else at + timedelta(microseconds=1)

    monkeypatch.setattr(programs, "last_market_time", behind)
    before_signals = [number for number, effect in enumerate(effects(), 1) if effect.startswith("before SignalEmitted")]
    assert any(finished_after({number}, memory(), "") for number in before_signals)


# --- bots -------------------------------------------------------------------------------------------------------------


class TestBot:
    """A bot with a given function."""

    __test__ = False
    kind: ClassVar[str] = "test"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def __init__(self, act: Callable[[Window], float]) -> None:
        self.act = act

    def needs(self, params: Any) -> Needs:
        return Needs(bars=1)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=self.act(window))


def test_bot(monkeypatch: pytest.MonkeyPatch, act: Callable[[Window], float]) -> BotRegistered:
    """The registration of a bot with this function."""
    monkeypatch.setitem(BUILT_IN, "test", TestBot(act))
    return BotRegistered(bot_id="a-test", kind="test", bot_version="1", instrument=BTC, timeframe="1m", parameters="{}")


test_bot.__test__ = False  # type: ignore[attr-defined]


def events(book: Book, portfolio_id: UUID, kind: type[Any]) -> list[Any]:
    return [one.event for one in book.log.read(portfolio_id) if isinstance(one.event, kind)]


def test_bot_that_raises_fails_alone(monkeypatch: pytest.MonkeyPatch, book: Book) -> None:
    """A bot that raises becomes BotFailed at that candle and is not evaluated again; the other bots continue."""

    def fails_at_the_third(window: Window) -> float:
        if window.asof >= TAPE[WARMUP + 2].closed_at:
            raise RuntimeError("broken inside")
        return 0.01

    failing = test_bot(monkeypatch, fails_at_the_third)
    portfolio_id = portfolio(book, "", [failing, *quick_bots()])
    Program(book, portfolio_id, TAPE).play_out()

    (failure,) = events(book, portfolio_id, BotFailed)
    assert (failure.bot_id, failure.asof) == ("a-test", TAPE[WARMUP + 2].closed_at)
    assert "broken inside" in failure.error
    others = [one for one in events(book, portfolio_id, SignalEmitted) if one.bot_id != "a-test"]
    assert len(others) == len([told for told in clean_story() if told[1] == "SignalEmitted"])


def test_bot_that_contradicts_itself_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot with two signals for one candle keeps the first and is stopped; the loop continues."""
    answers = iter([0.5, -0.5, 0.3])
    book = memory()
    moody = test_bot(monkeypatch, lambda _: next(answers))
    portfolio_id = portfolio(book, "", [moody])
    program = Program(book, portfolio_id, TAPE)
    program.play(1)
    open_again(book, portfolio_id, moody)

    program.loop.evaluate_now("a-test")
    program.play(1)

    (failure,) = events(book, portfolio_id, BotFailed)
    assert "two different signals" in failure.error
    assert [one.score for one in events(book, portfolio_id, SignalEmitted)] == [Decimal("0.5")]


def open_again(book: Book, portfolio_id: UUID, bot: BotRegistered) -> None:
    """Register and start the bot again, as if it had never sent a signal."""
    from ledger.log.envelope import NewEvent

    at = TAPE[WARMUP].closed_at
    for number, event in enumerate((bot, BotStarted(bot_id=bot.bot_id))):
        new_id = derived_id("again", number)
        book.record(portfolio_id, [NewEvent(event, new_id, at, "test", new_id)])


def test_restarted_bot_that_fails_again_is_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted bot that fails at the same candle with another error is recorded again, and no tick fails."""
    numbers = iter(range(9))

    def fails(_: Window) -> float:
        raise RuntimeError(f"failure {next(numbers)}")

    book = memory()
    failing = test_bot(monkeypatch, fails)
    portfolio_id = portfolio(book, "", [failing])
    program = Program(book, portfolio_id, TAPE)
    program.play(1)
    open_again(book, portfolio_id, failing)
    program.loop.evaluate_now("a-test")

    with book.reading(portfolio_id) as reading:
        bot = reading.rows.get(BotView, "a-test")
    assert bot is not None
    assert bot.status == "failed"
    assert len(events(book, portfolio_id, BotFailed)) == 2


def test_evaluate_now_uses_the_last_closed_candle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is reviewed like any other; an unknown bot gives None."""
    book = memory()
    portfolio_id = portfolio(book, "", [test_bot(monkeypatch, lambda _: 0.5)])
    program = Program(book, portfolio_id, TAPE)
    assert program.loop.evaluate_now("nobody") is None

    evaluation = program.loop.evaluate_now("a-test")

    assert evaluation is not None
    assert evaluation.asof == TAPE[WARMUP - 1].closed_at
    assert len(events(book, portfolio_id, SignalRejected)) == 1
    assert program.loop.evaluations["a-test"] is evaluation


# --- a live market ----------------------------------------------------------------------------------------------------


class LiveFeed:
    """A live feed with scripted candles and quotes."""

    label = "test"
    simulated = False
    mark_source = "live"
    instruments: tuple[Instrument, ...] = (BTC,)
    timeframe = MINUTE
    interval_s = 1.0
    finished = False

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.now = clock
        self.candles: list[Candle] = []
        self.said: list[Quote] = []
        self.past: list[Candle] = []
        self.down = False

    def start(self, warmup_bars: int, resume_after: datetime | None) -> None: ...

    def history(self, instrument: Instrument, bars: int) -> list[Candle]:
        return self.past[-bars:]

    def reach_back(self, instrument: Instrument, bars: int) -> None: ...

    def poll(self) -> list[Candle]:
        if self.down:
            raise FeedUnavailable("the venue does not answer")
        released, self.candles = self.candles, []
        return released

    def quotes(self) -> list[Quote]:
        return self.said


class Live:
    """A loop on a live feed, with a scripted or the paper venue."""

    def __init__(self, scripted: ScriptedExchange | None = None) -> None:
        venue = "scripted" if scripted else "paper"
        self.room = Room(memory(), "live", venue=venue)
        self.feed = LiveFeed(self.room.clock)
        clock = MarketClock(self.feed)
        self.paper = PaperExchange((BTC,), balances_of(self.room.book, self.room.portfolio_id), clock)
        self.service = self.room.service(scripted or self.paper)
        self.real_seconds = 0.0
        self.parts = (
            self.room.book,
            self.room.portfolio_id,
            self.feed,
            clock,
            self.paper,
            self.service,
            lambda: self.real_seconds,
        )
        self.loop = MarketLoop(*self.parts)


def test_orders_advance_while_the_market_is_unreachable() -> None:
    """Fills are booked while the feed is down, and the tick raises FeedUnavailable."""
    live = Live(ScriptedExchange((Script(states=("open", "filled"), told=((), (0, 1))),)))
    live.room.mark()
    live.room.request(live.service, market())
    live.feed.down = True

    with pytest.raises(FeedUnavailable):
        live.loop.tick()

    assert len(live.room.of(TradeExecuted)) == 2
    assert len(live.room.of(OrderClosed)) == 1


def test_feed_that_could_not_be_started_is_started_by_a_later_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then no bot is evaluated, and evaluate_now reports the reason; then every instrument has a price."""
    live = Live()
    live.room.tell(test_bot(monkeypatch, lambda _: 0.5))
    answers = iter((False, False, True))

    def start() -> None:
        if not next(answers):
            raise FeedUnavailable("not yet")

    loop = MarketLoop(*live.parts, late_start=start)
    for _ in range(2):
        with pytest.raises(FeedUnavailable, match="not yet"):
            loop.tick()
    with pytest.raises(FeedUnavailable, match="could not be reached since the start"):
        loop.evaluate_now("a-test")

    live.feed.past = [bar(1)]
    loop.tick()

    assert not loop.unreached
    assert len(live.room.of(MarkRecorded)) == 1


def test_quotes_fill_paper_orders_and_become_marks() -> None:
    """On a live feed a market order fills at the far side at once, and the mid price becomes a mark."""
    live = Live()
    live.room.mark()
    live.room.request(live.service, market(base="0.5"))
    live.feed.said = [Quote(BTC, Decimal(100), Decimal(101), NOON + timedelta(seconds=1))]

    live.loop.tick()

    (trade,) = live.room.of(TradeExecuted)
    assert isinstance(trade, TradeExecuted)
    assert (trade.price, trade.quantity) == (Decimal(101), Decimal("0.5"))
    marks = [one.price for one in live.room.of(MarkRecorded) if isinstance(one, MarkRecorded)]
    assert marks == [Decimal(100), Decimal("100.5")]


def test_marks_are_recorded_at_most_once_a_real_second() -> None:
    """However many candles pass, one mark is recorded; after a second, another."""
    live = Live()
    live.feed.candles = [bar(number) for number in range(10)]
    live.loop.tick()
    assert len(live.room.of(MarkRecorded)) == 1

    live.real_seconds += MARK_EVERY_S
    live.feed.candles = [bar(11), bar(12)]
    live.loop.tick()
    assert len(live.room.of(MarkRecorded)) == 2


def test_two_quotes_with_one_time_become_two_marks() -> None:
    """Two prices with the same time are no conflict."""
    live = Live()
    for ask in (101, 102):
        live.feed.said = [Quote(BTC, Decimal(100), Decimal(ask), NOON)]
        live.real_seconds += MARK_EVERY_S
        live.loop.tick()

    assert len(live.room.of(MarkRecorded)) == 2
