"""The wiring: which parts there are and how they hold together, for as long as the program runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine

from api.auth import owner_token_hash
from api.first_run import ensure_portfolio, portfolio_id_of
from api.market_loop import WARMUP_BARS, MarketClock, MarketLoop
from api.settings import Settings
from execution.exchanges.paper import PaperExchange
from execution.exchanges.paper_memory import balances_of, restore_paper_orders
from execution.trade_service import TradeService
from ledger.database import open_database
from ledger.log import NoSuchPortfolio
from ledger.postgres_book import PostgresBook
from ledger.values import Clock, new_id, system_clock
from signals.market import CandleFeed, open_feed, timeframe_text


@dataclass(frozen=True, slots=True)
class System:
    """Everything that a request may need."""

    settings: Settings
    engine: Engine
    book: PostgresBook
    feed: CandleFeed
    portfolio_name: str
    portfolio_id: UUID
    trader: TradeService
    loop: MarketLoop
    clock: Clock
    token_hash: str
    new_token: str | None


@contextmanager
def open_system(settings: Settings) -> Iterator[System]:
    """The system, ready to be driven: database open and migrated, feed started where it left off, paper orders restored."""
    with open_database(settings.data_dir, settings.database) as engine:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        token_hash, new_token = owner_token_hash(
            settings.data_dir, settings.owner_token.get_secret_value() if settings.owner_token else None
        )
        book = PostgresBook(engine, system_clock)
        feed = open_feed(settings.feed, clock=system_clock, elapsed=time.monotonic)
        name = portfolio_name(feed)
        feed.start(WARMUP_BARS, last_market_time(book, portfolio_id_of(name)))
        timeframe = timeframe_text(feed.timeframe)
        portfolio_id = ensure_portfolio(book, name, feed.instruments[0], timeframe, feed.now())
        clock = MarketClock(feed)
        paper = PaperExchange(feed.instruments, balances_of(book, portfolio_id), clock)
        restore_paper_orders(book, portfolio_id, paper)
        trader = TradeService(book, portfolio_id, {paper.venue: paper}, clock, sender=str(new_id()))
        loop = MarketLoop(book, portfolio_id, feed, clock, paper, trader, time.monotonic)
        yield System(
            settings, engine, book, feed, name, portfolio_id, trader, loop, system_clock, token_hash, new_token
        )


def portfolio_name(feed: CandleFeed) -> str:
    """Each market has its own portfolio, so that simulated, recorded and live prices never meet in one."""
    return f"paper {feed.mark_source}"[:100]


def last_market_time(book: PostgresBook, portfolio_id: UUID) -> datetime | None:
    """Just before the latest time that the portfolio's newest events speak of, or None for a new portfolio.

    Just before: the candle that closed at that time may not have gone through every station, and goes again.
    """
    try:
        head = book.log.head(portfolio_id)
    except NoSuchPortfolio:
        return None
    newest = book.log.read(portfolio_id, max(head.position - 200, 0))
    return max(envelope.occurred_at for envelope in newest) - timedelta(microseconds=1)
