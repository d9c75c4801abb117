"""The whole program for tests, without HTTP: wired as in `api/runtime/wiring.py`, on candles moved by hand."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final, cast
from uuid import UUID

from api.runtime.first_run import registered
from api.runtime.market_loop import MarketClock, MarketLoop
from api.runtime.market_time import last_market_time
from execution.exchanges.exchange import Exchange
from execution.exchanges.paper.exchange import PaperExchange
from execution.orders.connections import balances_of, restore_paper_orders
from execution.orders.trade_service import TradeService
from ledger.events import AccountOpened, BotRegistered, BotStarted, CashDeposited, Event, PortfolioOpened
from ledger.log.envelope import Envelope, NewEvent
from ledger.postgres.book import PostgresBook
from ledger.projections.book import Book
from ledger.values import Asset, derived_id
from signals.market.candle import Candle
from signals.market.playback import PlayedFeed
from signals.market.recorded import RecordedTape
from signals.market.simulated import simulated_candles
from tests.support.trading import BTC, Hook, WatchedBook, WatchedExchange

WARMUP: Final = 60
QUICK_BOTS: Final = (("cross", "ma_cross", "{}"), ("rsi", "rsi", '{"smoothing":"simple"}'))
"""Bots that need few candles: id, kind and parameters."""


def tape(length: int, seed: int = 3) -> tuple[Candle, ...]:
    """This many simulated minute candles, after those for the bots' warm-up."""
    return tuple(islice(simulated_candles(seed, BTC, timedelta(minutes=1)), WARMUP + length))


def quiet(side: str, effect: str) -> None:
    """A hook without an effect."""


def open_portfolio(book: Book, portfolio_id: UUID, candles: Sequence[Candle], bots: Sequence[BotRegistered]) -> None:
    """Open the portfolio with 10,000 USD on paper, and start these bots."""
    events: list[Event] = [
        PortfolioOpened(name="program", base_currency=Asset("USD")),
        AccountOpened(account="paper", venue="paper", mode="paper"),
        CashDeposited(account="paper", asset=Asset("USD"), amount=Decimal(10_000)),
        *bots,
        *(BotStarted(bot_id=bot.bot_id) for bot in bots),
    ]
    at = candles[WARMUP - 1].closed_at
    book.record(
        portfolio_id,
        [
            NewEvent(one, derived_id(portfolio_id, number), at, "test", portfolio_id)
            for number, one in enumerate(events)
        ],
    )


def quick_bots() -> list[BotRegistered]:
    return [registered(bot_id, kind, BTC, "1m", parameters) for bot_id, kind, parameters in QUICK_BOTS]


class Program:
    """One run of the program on candles, from the market time stored in the book."""

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        candles: Sequence[Candle],
        hook: Hook = quiet,
        loop: type[MarketLoop] = MarketLoop,
        clock: Callable[[PlayedFeed], MarketClock] = MarketClock,
    ) -> None:
        self._seconds = 0.0
        self._looks = 0.0
        self.book = book
        watched = WatchedBook(book, hook)
        self.feed = PlayedFeed(
            RecordedTape(tuple(candles)), "test", "file:test", Decimal(60), lambda: self._seconds, simulated=False
        )
        self.feed.start(WARMUP, last_market_time(cast(PostgresBook, book), portfolio_id))
        market_clock = clock(self.feed)
        self.paper = PaperExchange(self.feed.instruments, balances_of(book, portfolio_id), market_clock)
        restore_paper_orders(book, portfolio_id, self.paper)
        exchange: Exchange = WatchedExchange(self.paper, hook)
        self.trader = TradeService(watched, portfolio_id, {"paper": exchange}, market_clock)
        self.loop = loop(watched, portfolio_id, self.feed, market_clock, self.paper, self.trader, self._look)

    def play(self, candles: int) -> None:
        """Play at most this many candles; the feed releases at most 50 at once."""
        self._seconds += candles
        self.loop.tick()

    def play_out(self) -> None:
        while not self.feed.finished:
            self.play(50)
        self.loop.tick()

    def _look(self) -> float:
        """The real time for marks: each call is late enough for the next mark to be recorded."""
        self._looks += 2
        return self._looks


def story_of(book: Book, portfolio_id: UUID) -> list[tuple[Any, ...]]:
    """The parts of the log that are equal in every run: all but the times of recording and their hashes."""
    return [told(envelope) for envelope in book.log.read(portfolio_id)]


def told(envelope: Envelope) -> tuple[Any, ...]:
    return (envelope.event_id, envelope.type, envelope.payload, envelope.occurred_at, envelope.actor, envelope.metadata)
