"""Our own roads: appending, recording with projections, rebuilding, verifying."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Engine

from bench.figures import Figure, peak_memory_mb, rate
from bench.raw_limits import RawLimits
from ledger.envelope import NewEvent
from ledger.event_parts import Fee
from ledger.events import CashDeposited, Event, PortfolioOpened, TradeExecuted
from ledger.postgres_book import PostgresBook
from ledger.replay import rebuild_portfolio, verify_portfolio
from ledger.values import Asset, Instrument, Side, derived_id, new_id, system_clock

SINGLE = 1_000
BATCH = 500


def measure_ledger(engine: Engine, limits: RawLimits, events: int) -> list[Figure]:
    """Each figure beside the raw limit that bounds it."""
    book = PostgresBook(engine, system_clock)
    singles, batches, long_log = (_opened(book, name) for name in ("singles", "batches", "long"))
    append = rate(
        "append, one event a commit", "events/s", SINGLE, lambda: _append_each(book, singles, 0), limits.commits
    )
    recorded = _opened(book, "recorded")
    record = rate(
        "append with all projections, one a commit",
        "events/s",
        SINGLE,
        lambda: _record_each(book, recorded),
        limits.commits,
    )
    batch = rate(
        f"append in batches of {BATCH}",
        "events/s",
        events,
        lambda: _append_batches(book, batches, events),
        limits.copied,
    )
    _append_batches(book, long_log, events)
    rebuild = rate(
        "rebuild: read, chain, fold, write views",
        "events/s",
        events,
        lambda: rebuild_portfolio(engine, long_log),
        limits.fifo,
    )
    verify = rate(
        "verify: read, chain, fold, compare",
        "events/s",
        events,
        lambda: verify_portfolio(engine, long_log),
        limits.fifo,
    )
    result = verify_portfolio(engine, long_log)
    if result.differences or result.broken:
        raise SystemExit(f"the measured log does not verify: {result.differences[:3]} {result.broken}")
    late = rate(
        f"append with all projections after {events} events", "events/s", SINGLE, lambda: _record_more(book, long_log, events),
        limits.commits,
    )  # fmt: skip
    memory = Figure("peak memory of this process", peak_memory_mb(), "MB")
    return [append, record, late, batch, rebuild, verify, memory]


def _opened(book: PostgresBook, name: str) -> UUID:
    portfolio_id = derived_id("bench", name)
    opened = PortfolioOpened(name=name, base_currency=Asset("USD"))
    cash = CashDeposited(account="paper", asset=Asset("USD"), amount=Decimal(1_000_000))
    book.record(portfolio_id, [_new(opened, 0), _new(cash, 0)])
    return portfolio_id


def _append_each(book: PostgresBook, portfolio_id: UUID, first: int) -> None:
    for number in range(first, first + SINGLE):
        book.log.append(portfolio_id, [_new(_trade(number), number)])


def _record_each(book: PostgresBook, portfolio_id: UUID) -> None:
    for number in range(SINGLE):
        book.record(portfolio_id, [_new(_trade(number), number)])


def _record_more(book: PostgresBook, portfolio_id: UUID, first: int) -> None:
    for number in range(first, first + SINGLE):
        book.record(portfolio_id, [_new(_trade(number), number)])


def _append_batches(book: PostgresBook, portfolio_id: UUID, events: int) -> None:
    for start in range(0, events, BATCH):
        numbers = range(start, min(start + BATCH, events))
        book.log.append(portfolio_id, [_new(_trade(number), number) for number in numbers])


def _trade(number: int) -> TradeExecuted:
    return TradeExecuted(
        account="paper",
        venue="bench",
        venue_trade_id=str(number),
        instrument=Instrument("BTC-USD"),
        side=Side.BUY if number % 2 == 0 else Side.SELL,
        quantity=Decimal(number % 7 + 1) / 100,
        price=Decimal("100.25"),
        fees=(Fee(asset=Asset("USD"), amount=Decimal("0.01")),),
        quote_rate=Decimal(1),
        triggered_by="bot:bench",
    )


def _new(event: Event, number: int) -> NewEvent:
    return NewEvent(event, fresh_id := new_id(), _START + timedelta(seconds=number), "bench", fresh_id)


_START = system_clock().replace(year=2026, month=1, day=1)
