"""The ledger: append, record with projections, import, rebuild, verify."""

import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from bench.figures import Figure, peak_memory_mb, rate
from bench.floor import measure_floor
from bench.raw_limits import RawLimits
from bench.trades import encoded, new, trade, write_csv
from ledger.events import CashDeposited, PortfolioOpened
from ledger.imports.run import ImportRequest, Store, import_trades
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import PostgresLog
from ledger.replay.differences import PortfolioReplay
from ledger.replay.verify import rebuild_portfolio, verify_portfolio
from ledger.values import Asset, derived_id, system_clock

SINGLE = 1_000
BATCH = 2_000
SLOW_EVENTS = 20_000
"""At most this many events for slow measurements, whose cost per event is constant."""


def measure_ledger(engine: Engine, limits: RawLimits, events: int) -> list[Figure]:
    """Measure the ledger, each figure with its raw limit."""
    book, log = PostgresBook(engine, system_clock), PostgresLog(engine, system_clock)
    few = min(events, SLOW_EVENTS)
    singles, recorded, batches, coded = (opened(book, name) for name in ("singles", "recorded", "batches", "coded"))
    long_log = derived_id("bench", "long")

    def measured(name: str, count: int, work: Callable[[], object], limit: Figure) -> Figure:
        return rate(name, "events/s", count, work, limit)

    figures = [
        measured("append, one event per commit", SINGLE, partial(_append_each, log, singles), limits.commits),
        measured(
            "append with all projections, one per commit",
            SINGLE,
            partial(record_each, book, recorded, 0),
            limits.commits,
        ),
        measured(
            f"append of events, batches of {BATCH}", few, partial(_append_events, log, batches, few), limits.copied
        ),
        Figure(
            f"append of encoded events, batches of {BATCH}",
            few / append_encoded(log, coded, 0, few),
            "events/s",
            limits.copied,
        ),
        *_imported(engine, book, long_log, events, limits),
    ]
    results: list[PortfolioReplay] = []
    figures += [
        *measure_floor(engine, long_log, events, limits),
        measured(
            "rebuild: read, verify chain, fold, write", events, lambda: rebuild_portfolio(engine, long_log), limits.fifo
        ),
        measured(
            "verify: read, verify chain, fold, compare",
            events,
            lambda: results.append(verify_portfolio(engine, long_log)),
            limits.fifo,
        ),
    ]
    result = results[0]
    if result.differences or result.broken:
        raise SystemExit(f"the measured log does not verify: {result.differences[:3]} {result.broken}")
    late = partial(record_each, book, long_log, events)
    figures += [
        Figure("peak memory of this process", peak_memory_mb(), "MB"),
        measured(f"append with all projections after {events} events", SINGLE, late, limits.commits),
    ]
    rebuild_portfolio(engine, batches)
    thorough = partial(verify_portfolio, engine, batches, thorough=True)
    figures.append(measured("verify with both methods (--thorough)", few, thorough, limits.fifo))
    return figures


def opened(book: PostgresBook, name: str) -> UUID:
    """Open a portfolio with cash."""
    portfolio_id = derived_id("bench", name)
    cash = CashDeposited(account="paper", asset=Asset("USD"), amount=Decimal(1_000_000))
    book.record(portfolio_id, [new(PortfolioOpened(name=name, base_currency=Asset("USD")), 0), new(cash, 0)])
    return portfolio_id


def append_encoded(log: PostgresLog, portfolio_id: UUID, first: int, last: int) -> float:
    """Append trades `first` to `last`; return the seconds without encoding them."""
    seconds = 0.0
    for start in range(first, last, BATCH):
        rows = [encoded(number) for number in range(start, min(start + BATCH, last))]
        started = time.perf_counter()
        log.append_encoded(portfolio_id, rows)
        seconds += time.perf_counter() - started
    return seconds


def record_each(book: PostgresBook, portfolio_id: UUID, first: int) -> None:
    """Record trades one by one with all projections."""
    for number in range(first, first + SINGLE):
        book.record(portfolio_id, [new(trade(number), number)])


def _append_each(log: PostgresLog, portfolio_id: UUID) -> None:
    for number in range(SINGLE):
        log.append(portfolio_id, [new(trade(number), number)])


def _append_events(log: PostgresLog, portfolio_id: UUID, events: int) -> None:
    for start in range(0, events, BATCH):
        log.append(portfolio_id, [new(trade(number), number) for number in range(start, min(start + BATCH, events))])


def _imported(engine: Engine, book: PostgresBook, portfolio_id: UUID, trades: int, limits: RawLimits) -> list[Figure]:
    """Measure the import of a file into a new portfolio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trades.csv"
        write_csv(path, trades)
        store = Store(book, partial(rebuild_portfolio, engine))
        wanted = ImportRequest(path, portfolio_id, "long", create=True)
        content = path.read_bytes()
        name = "import of a CSV file: read and check twice, append, fold, write"
        done = rate(name, "trades/s", trades, lambda: import_trades(store, wanted, content), limits.copied)
    return [done, Figure("seconds for that import", trades / done.value, "s")]
