"""The loop that drives everything: each closed candle leads to fills, exits, marks, signals, review and orders."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.exchanges.paper.exchange import PaperExchange
from execution.exits.exit_service import ExitService
from execution.halts import HaltWatch
from execution.orders.trade_service import TradeService
from ledger.events import BotFailed, MarkRecorded, SignalEmitted
from ledger.locks import LocalHaltLock
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict
from ledger.projections.book import Book
from ledger.projections.bots import BotView
from ledger.projections.policy import signal_policy
from ledger.projections.valuation import Mark
from ledger.rows import Rows
from ledger.values import Instrument, derived_id
from signals.bot import Bot
from signals.market.candle import Candle, FeedUnavailable, Quote
from signals.market.feed import CandleFeed
from signals.market.playback import PlayedFeed
from signals.registry import NO_BOTS
from signals.runner import ClosedCandles, Evaluation, evaluate, signal_id

WARMUP_BARS: Final = 600
"""Candles of history at the start; more are fetched when a bot needs them."""
MOST_BARS: Final = 100_000
"""Maximum candles of history: a bot that needs more never becomes warm, and reports so."""
MARK_EVERY_S: Final = 1.0
CONTRADICTION: Final = "it gave two different signals for the same candles"


class MarketClock:
    """Market time: a live feed's clock; on a played feed the close of the newest candle in processing.

    A played feed releases many candles at once and is then ahead of their processing. Create it after the feed has
    started.
    """

    def __init__(self, feed: CandleFeed) -> None:
        self._feed = feed
        self._reached = feed.now()

    def __call__(self) -> datetime:
        return self._reached if isinstance(self._feed, PlayedFeed) else self._feed.now()

    def reach(self, candle: Candle) -> None:
        """Advance to the candle's close; market time never runs backwards."""
        self._reached = max(self._reached, candle.closed_at)


class MarketLoop:
    """Moves one portfolio along one feed. `tick` may be called at any pace, and again after a failure.

    A candle is kept until every step has processed it, so a failure in between repeats it; all events have derived ids,
    so repeating records nothing twice.
    """

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        feed: CandleFeed,
        clock: MarketClock,
        paper: PaperExchange,
        trader: TradeService,
        elapsed: Callable[[], float],
        enabled: Callable[[Rows], Mapping[str, Bot]] = lambda _: NO_BOTS,
        halts: HaltWatch | None = None,
        late_start: Callable[[], None] | None = None,
    ) -> None:
        self._exits = ExitService(book, portfolio_id, paper, trader)
        self._book = book
        self._portfolio_id = portfolio_id
        self._feed = feed
        self._clock = clock
        self._paper = paper
        self._trader = trader
        self._elapsed = elapsed
        self._enabled = enabled
        self.halts = halts or HaltWatch(book, portfolio_id, clock, LocalHaltLock())
        self._late_start = late_start
        self._waiting: list[Candle] = []
        self._marked: dict[Instrument, float] = {}
        self._reach: dict[Instrument, int] = {}
        self._gate = threading.Lock()
        self.evaluations: dict[str, Evaluation] = {}
        self.candles = 0

    def begin(self) -> None:
        """Record a mark for each instrument without one: the close of the last candle in the feed's history.

        Orders can then be valued at once, before another candle has closed.
        """
        for instrument in self._feed.instruments:
            with self._book.reading(self._portfolio_id) as reading:
                known = reading.rows.get(Mark, str(instrument))
            for candle in self._feed.history(instrument, 1) if known is None else ():
                self._mark(instrument, candle.close, candle.closed_at)

    def tick(self) -> None:
        """Process all candles and quotes since the last tick."""
        with self._gate:
            self._trader.step()  # orders are advanced even if the market is unreachable
            self.halts.look()
            self._start_late()
            self._waiting += self._feed.poll()
            while self._waiting:
                self._process(self._waiting[0])
                self._waiting.pop(0)
                self.candles += 1
            quotes = self._feed.quotes()
            for quote in quotes:
                self._on_quote(quote)
            if quotes:
                self._trader.step()

    def evaluate_now(self, bot_id: str) -> Evaluation | None:
        """Evaluate the bot at the last closed candle; record and review a new signal. None for an unknown bot."""
        with self._gate:
            with self._book.reading(self._portfolio_id) as reading:
                bot = reading.rows.get(BotView, bot_id)
            if bot is None:
                return None
            if self._late_start is not None:
                raise FeedUnavailable(f"{self._feed.label} could not be reached since the start: Daybook keeps trying")
            self._evaluate([bot], self._waiting)
            self._trader.step()
            return self.evaluations[bot_id]

    @property
    def unreached(self) -> bool:
        """`True` while the feed could not be started because its market cannot be reached."""
        return self._late_start is not None

    def _start_late(self) -> None:
        """Start the feed if it could not be started before. Raises FeedUnavailable (retry) and BadFeed."""
        if self._late_start is not None:
            self._late_start()
            self.begin()
            self._late_start = None

    def _process(self, candle: Candle) -> None:
        self._clock.reach(candle)
        with self._trader.exclusively():
            self._paper.on_bar(candle)
        self._trader.step()
        self.halts.look()
        self._exits.on_bar(candle)
        self._mark(candle.instrument, candle.close, candle.closed_at)
        with self._book.reading(self._portfolio_id) as reading:
            running = [bot for bot in reading.rows.where(BotView) if bot.status == "running"]
        self._evaluate([bot for bot in running if bot.instrument == candle.instrument], self._waiting[1:])
        self._trader.step()

    def _evaluate(self, bots: Sequence[BotView], ahead: Sequence[Candle]) -> None:
        """Evaluate the bots at the last candle before those `ahead`; record their signals and failures together."""
        new: list[NewEvent] = []
        closed: dict[str, ClosedCandles] = {}
        with self._book.reading(self._portfolio_id) as reading:
            policy, foreign = signal_policy(reading.rows), self._enabled(reading.rows)
        for bot in bots:
            if bot.instrument not in closed:
                closed[bot.instrument] = self._closed(Instrument(bot.instrument), ahead)
            evaluation = evaluate(bot, closed[bot.instrument], policy, self._clock(), foreign)
            if self._reached_further(Instrument(bot.instrument), evaluation.bars_needed, len(ahead)):
                closed[bot.instrument] = self._closed(Instrument(bot.instrument), ahead)
                evaluation = evaluate(bot, closed[bot.instrument], policy, self._clock(), foreign)
            self.evaluations[bot.bot_id] = evaluation
            if evaluation.signal_event is not None:
                new.append(new_signal(evaluation.signal_event))
            elif evaluation.failure is not None:
                new.append(new_failure(bot, evaluation.failure))
        if new:
            self._record(new, bots)

    def _closed(self, instrument: Instrument, ahead: Sequence[Candle]) -> ClosedCandles:
        """The instrument's candles before those `ahead`, shared by all bots of this evaluation."""
        unseen = sum(1 for candle in ahead if candle.instrument == instrument)
        candles = self._feed.history(instrument, self._reach.get(instrument, WARMUP_BARS) + unseen)
        return ClosedCandles(candles, len(candles) - unseen)

    def _reached_further(self, instrument: Instrument, bars: int, ahead: int) -> bool:
        """Request more history if a bot needs `bars` candles; `True` if there may be more now."""
        wanted = min(bars, MOST_BARS)
        if wanted <= self._reach.get(instrument, WARMUP_BARS):
            return False
        self._feed.reach_back(instrument, wanted + ahead)
        self._reach[instrument] = wanted
        return True

    def _record(self, new: Sequence[NewEvent], bots: Sequence[BotView]) -> None:
        try:
            self._book.record(self._portfolio_id, new)
        except Conflict:
            # A bot that contradicts itself is broken; the loop and the other bots are not.
            for one in new:
                self._record_alone(one, bots)

    def _record_alone(self, new: NewEvent, bots: Sequence[BotView]) -> None:
        """Record the bot's signal or, if it contradicts an earlier one, the bot's failure."""
        signal = new.event
        try:
            self._book.record(self._portfolio_id, [new])
        except Conflict:
            if not isinstance(signal, SignalEmitted):
                raise
            bot = next(one for one in bots if one.bot_id == signal.bot_id)
            failure = new_failure(bot, BotFailed(bot_id=bot.bot_id, asof=signal.asof, error=CONTRADICTION))
            self._book.record(self._portfolio_id, [failure])

    def _on_quote(self, quote: Quote) -> None:
        with self._trader.exclusively():
            self._paper.on_quote(quote)
        self._mark(quote.instrument, (quote.bid + quote.ask) / 2, quote.at)
        self._trader.step()  # fills at this quote have exits from now on
        self._exits.on_quote(quote)

    def _mark(self, instrument: Instrument, price: Decimal, at: datetime) -> None:
        """Record a mark, at most once a real second for each instrument, however fast the feed plays."""
        now = self._elapsed()
        if now - self._marked.get(instrument, -MARK_EVERY_S) < MARK_EVERY_S:
            return
        source = self._feed.mark_source
        mark = MarkRecorded(instrument=instrument, price=price, source=source)
        new_id = derived_id("mark", self._portfolio_id, instrument, at, source, price)
        self._book.record(self._portfolio_id, [NewEvent(mark, new_id, at, "market", new_id)])
        self._marked[instrument] = now


def new_signal(signal: SignalEmitted) -> NewEvent:
    """Return the signal as a new event."""
    new_id = signal_id(signal)
    return NewEvent(signal, new_id, signal.asof, f"bot:{signal.bot_id}", new_id)


def new_failure(bot: BotView, failure: BotFailed) -> NewEvent:
    """Return the failure as a new event."""
    # A restarted bot may fail again at the same candle, with the same error or another.
    new_id = derived_id("bot-failed", bot.bot_id, failure.asof, bot.status_since, failure.error)
    return NewEvent(failure, new_id, failure.asof, f"bot:{bot.bot_id}", new_id)
