"""The loop that drives everything: closed candles → fills, marks, bots, review and orders, in that order."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.exchanges.paper import PaperExchange
from execution.trade_service import TradeService
from ledger.book import Book
from ledger.envelope import NewEvent
from ledger.events import MarkRecorded
from ledger.projections.bots import BotView
from ledger.values import Instrument, derived_id
from signals.market import Candle, CandleFeed, Quote
from signals.runner import Evaluation, evaluate, signal_id

WARMUP_BARS: Final = 600
MARK_EVERY_S: Final = 1.0


class MarketLoop:
    """Moves one portfolio along one feed. `tick` may be called at any pace; a tick that failed can be called again.

    A candle is kept until it has gone through every station, so a failure in between repeats it; all that is recorded
    on the way has derived ids, so repeating records nothing twice.
    """

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        feed: CandleFeed,
        paper: PaperExchange,
        trader: TradeService,
        elapsed: Callable[[], float],
    ) -> None:
        self._book = book
        self._portfolio_id = portfolio_id
        self._feed = feed
        self._paper = paper
        self._trader = trader
        self._elapsed = elapsed
        self._waiting: list[Candle] = []
        self._marked: dict[Instrument, float] = {}
        self._gate = threading.Lock()
        self.evaluations: dict[str, Evaluation] = {}
        self.candles = 0

    def tick(self) -> None:
        """Everything that the market has said since the last tick has had its consequences."""
        with self._gate:
            self._waiting += self._feed.poll()
            while self._waiting:
                self._through(self._waiting[0])
                self._waiting.pop(0)
                self.candles += 1
            for quote in self._feed.quotes():
                self._on_quote(quote)
            self._trader.step()

    def evaluate_now(self, bot_id: str) -> Evaluation | None:
        """The bot is asked at the last closed candle; a new opinion is recorded and judged. None: no such bot."""
        with self._gate:
            with self._book.reading(self._portfolio_id) as reading:
                bot = reading.rows.get(BotView, bot_id)
            if bot is None:
                return None
            evaluation = self._ask(bot)
            self._record([evaluation])
            self._trader.step()
            return evaluation

    def _through(self, candle: Candle) -> None:
        with self._trader.exclusively():
            self._paper.on_bar(candle)
        self._trader.step()
        self._mark(candle.instrument, candle.close, candle.closed_at)
        with self._book.reading(self._portfolio_id) as reading:
            running = [bot for bot in reading.rows.where(BotView) if bot.status == "running"]
        concerned = [bot for bot in running if bot.instrument == candle.instrument]
        self._record([self._ask(bot) for bot in concerned])
        self._trader.step()

    def _ask(self, bot: BotView) -> Evaluation:
        candles = self._feed.history(Instrument(bot.instrument), WARMUP_BARS)
        evaluation = self.evaluations[bot.bot_id] = evaluate(bot, candles)
        return evaluation

    def _record(self, evaluations: Sequence[Evaluation]) -> None:
        events: list[NewEvent] = []
        for one in evaluations:
            if one.signal_event is not None:
                new_id = signal_id(one.signal_event)
                events.append(NewEvent(one.signal_event, new_id, one.signal_event.asof, f"bot:{one.bot_id}", new_id))
            elif one.failure is not None:
                new_id = derived_id("bot-failed", one.bot_id, one.failure.asof.isoformat())
                events.append(NewEvent(one.failure, new_id, one.failure.asof, f"bot:{one.bot_id}", new_id))
        if events:
            self._book.record(self._portfolio_id, events)

    def _on_quote(self, quote: Quote) -> None:
        with self._trader.exclusively():
            self._paper.on_quote(quote)
        self._mark(quote.instrument, (quote.bid + quote.ask) / 2, quote.at)

    def _mark(self, instrument: Instrument, price: Decimal, at: datetime) -> None:
        """A mark is recorded at most once a real second for each instrument, however fast the feed plays."""
        now = self._elapsed()
        if now - self._marked.get(instrument, -MARK_EVERY_S) < MARK_EVERY_S:
            return
        source = self._feed.mark_source
        mark = MarkRecorded(instrument=instrument, price=price, source=source)
        new_id = derived_id("mark", self._portfolio_id, instrument, at.isoformat(), source)
        self._book.record(self._portfolio_id, [NewEvent(mark, new_id, at, "market", new_id)])
        self._marked[instrument] = now
