"""The wiring: which parts there are and how they hold together, for as long as the program runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Engine

from api.auth import owner_token_hash
from api.first_run import ensure_portfolio, portfolio_id_of
from api.market_loop import WARMUP_BARS, MarketLoop
from api.settings import Settings
from execution.exchanges.paper import PaperExchange
from execution.trade_service import TradeService, ticket_of
from ledger.database import open_database
from ledger.log import NoSuchPortfolio
from ledger.postgres_book import PostgresBook
from ledger.projections.cash import Balance
from ledger.projections.orders import OrderView
from ledger.values import ZERO, Clock, system_clock
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
        paper = PaperExchange(feed.instruments, balances_of(book, portfolio_id), feed.now)
        restore_paper_orders(book, portfolio_id, paper)
        trader = TradeService(book, portfolio_id, {paper.venue: paper}, feed.now)
        loop = MarketLoop(book, portfolio_id, feed, paper, trader, time.monotonic)
        yield System(
            settings, engine, book, feed, name, portfolio_id, trader, loop, system_clock, token_hash, new_token
        )


def portfolio_name(feed: CandleFeed) -> str:
    """Each market has its own portfolio, so that simulated, recorded and live prices never meet in one."""
    return f"paper {feed.mark_source}"[:100]


def last_market_time(book: PostgresBook, portfolio_id: UUID) -> datetime | None:
    """The latest time that the portfolio's newest events speak of, or None for a new portfolio."""
    try:
        head = book.log.head(portfolio_id)
    except NoSuchPortfolio:
        return None
    return max(envelope.occurred_at for envelope in book.log.read(portfolio_id, max(head.position - 200, 0)))


def balances_of(book: PostgresBook, portfolio_id: UUID) -> Callable[[str, str], Decimal]:
    """How much of an asset an account holds, as the ledger has it now."""

    def balance(account: str, asset: str) -> Decimal:
        with book.reading(portfolio_id) as reading:
            found = reading.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    return balance


def restore_paper_orders(book: PostgresBook, portfolio_id: UUID, paper: PaperExchange) -> None:
    """The paper venue has the accepted orders again that the log knows to be open."""
    with book.reading(portfolio_id) as reading:
        orders = [one for one in reading.rows.where(OrderView) if one.venue == paper.venue and one.status == "accepted"]
    for order in orders:
        placed_at = order.submitted_at or order.requested_at
        paper.restore(ticket_of(order), placed_at, order.filled_quantity, order.filled_value, order.fills)
