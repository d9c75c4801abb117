"""Wiring: creates the parts of a running Daybook and connects them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import Engine

from api.runtime.first_run import ensure_portfolio
from api.runtime.market_loop import WARMUP_BARS, MarketClock, MarketLoop
from api.runtime.market_time import last_market_time
from api.runtime.owner_token import owner_token_hash
from api.runtime.portfolio_accounts import connected_accounts, existing_portfolio
from api.runtime.settings import BadSettings, Settings, usable_folder
from execution.exchanges.paper.exchange import PaperExchange
from execution.halts import HaltWatch
from execution.orders.connections import balances_of, restore_paper_orders
from execution.orders.trade_service import TradeService
from ledger.locks import HaltLock
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import clock_skew, open_database
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.postgres.leadership import PostgresLeadership
from ledger.projections.portfolio import portfolio_id_of
from ledger.replay.history import History
from ledger.replay.verify import rebuild_outdated
from ledger.values import Clock, new_id, system_clock
from signals.market.candle import BadCandle, BadFeed, FeedUnavailable, timeframe_text
from signals.market.feed import CandleFeed, open_feed
from signals.sandbox.bots import ForeignBots

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class System:
    """The parts of a running Daybook."""

    settings: Settings
    engine: Engine
    book: PostgresBook
    past: History
    feed: CandleFeed
    portfolio_name: str
    accounts: tuple[str, ...]
    portfolio_id: UUID
    paper: PaperExchange
    trader: TradeService
    halt_lock: HaltLock
    leadership: PostgresLeadership
    loop: MarketLoop
    foreign_bots: ForeignBots
    clock: Clock
    market_clock: Clock
    token_hash: str
    new_token: str | None


AT_ONCE: Final = nullcontext()
"""A start that cannot be interrupted in between."""


@contextmanager
def open_system(
    settings: Settings,
    *,
    elapsed: Callable[[], float] = time.monotonic,
    starting: AbstractContextManager[object] = AT_ONCE,
) -> Iterator[System]:
    """Open the system: database migrated, feed started where it left off, paper orders restored.

    `elapsed` drives recorded and simulated markets. The database is opened within `starting`. The loop retries an
    unreachable market. Raises BadSettings for an unusable data folder or market, and the errors of opening the database
    and starting the feed.
    """
    usable_folder(settings.data_dir)
    feed = chosen_feed(settings.feed, elapsed)
    with ExitStack() as stack:
        with starting:
            engine = stack.enter_context(open_database(settings.data_dir, settings.database))
        foreign_bots = ForeignBots(at_first=warn_of_root)
        stack.callback(foreign_bots.close)
        system = _wired(settings, engine, feed, elapsed, foreign_bots)
        stack.callback(system.leadership.close)
        yield system


def _wired(
    settings: Settings, engine: Engine, feed: CandleFeed, elapsed: Callable[[], float], foreign_bots: ForeignBots
) -> System:
    token_hash, new_token = owner_token_hash(settings.data_dir, settings.token)
    rebuild_outdated(engine)
    book = PostgresBook(engine, system_clock)
    name = settings.portfolio or portfolio_name(feed)
    connected = connected_accounts(book, settings, portfolio_id_of(name), feed, elapsed)
    feed = connected.feed
    late_start = started_or_later(feed, last_market_time(book, portfolio_id_of(name)))
    if settings.portfolio:
        portfolio_id = existing_portfolio(book, name, feed)
    else:
        portfolio_id = ensure_portfolio(book, name, feed.instruments[0], timeframe_text(feed.timeframe), feed.now())
    clock = MarketClock(feed)
    paper = PaperExchange(feed.instruments, balances_of(book, portfolio_id), clock)
    restore_paper_orders(book, portfolio_id, paper)
    halt_lock, sender = PostgresHaltLock(engine), str(new_id())
    leadership = PostgresLeadership(book, engine, portfolio_id, sender, system_clock)
    exchanges = {paper.venue: paper}
    trader = TradeService(
        book, portfolio_id, exchanges, clock, sender, leadership, connected.exchanges, halt_lock=halt_lock
    )
    halts = HaltWatch(book, portfolio_id, clock, halt_lock, lambda: clock_skew(engine, system_clock))
    loop = MarketLoop(book, portfolio_id, feed, clock, paper, trader, elapsed, foreign_bots.enabled, halts, late_start)
    loop.begin()
    return System(
        settings=settings,
        engine=engine,
        book=book,
        past=History(engine),
        feed=feed,
        portfolio_name=name,
        accounts=connected.shown,
        portfolio_id=portfolio_id,
        paper=paper,
        trader=trader,
        halt_lock=halt_lock,
        leadership=leadership,
        loop=loop,
        foreign_bots=foreign_bots,
        clock=system_clock,
        market_clock=clock,
        token_hash=token_hash,
        new_token=new_token,
    )


def warn_of_root() -> None:
    """Log one warning when running as root: process limits for third-party bots do not apply to root."""
    if os.geteuid() == 0:
        log.warning(
            "a third-party bot is enabled and Daybook runs as root, to whom the limit on processes does not apply"
        )


def chosen_feed(spec: str, elapsed: Callable[[], float]) -> CandleFeed:
    """Return the feed that DAYBOOK_FEED names, not started yet. Raises BadSettings."""
    try:
        return open_feed(spec, clock=system_clock, elapsed=elapsed)
    except (BadFeed, BadCandle) as error:
        raise BadSettings(f"DAYBOOK_FEED cannot be used: {error}") from None


def started_or_later(feed: CandleFeed, resume_after: datetime | None) -> Callable[[], None] | None:
    """Start the feed where it left off; return None, or a function that starts it later if its market is unreachable now.

    Raises BadFeed and BadCandle for permanent errors.
    """
    start = partial(feed.start, WARMUP_BARS, resume_after)
    try:
        start()
    except FeedUnavailable as failure:
        log.warning("the market cannot be reached; retrying", market=feed.label, reason=str(failure))
        return start
    return None


def portfolio_name(feed: CandleFeed) -> str:
    """Return the name of the paper portfolio of this market. Each product, timeframe and source has its own."""
    return f"paper {feed.instruments[0]} {timeframe_text(feed.timeframe)} {feed.mark_source}"[:100]
