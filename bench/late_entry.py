"""Cost of a late entry by the number of later trades: `python -m bench.late_entry [--behind N]`.

The trades are in four assets. A late entry refolds the later trades of its own asset, about a quarter of them.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from bench.database import fresh_database
from bench.ledger_speed import append_encoded, opened
from bench.trades import new, time_of, trade
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import PostgresLog
from ledger.replay.verify import rebuild_portfolio
from ledger.values import system_clock

SAMPLES = 9
AFTER = (0, 10, 100, 1_000, 10_000)


def main() -> None:
    """Print the median cost of a late entry at each place."""
    parser = argparse.ArgumentParser(description="Measure the cost of a late entry.")
    parser.add_argument("--behind", type=int, default=20_000, help="number of trades")
    behind = parser.parse_args().behind
    with fresh_database() as (url, engine):
        for after, times in measure(engine, url, behind).items():
            print(f"{after:>8,} of {behind:,} trades are later: {statistics.median(times):10.1f} ms")


def measure(engine: Engine, url: str, behind: int) -> dict[int, Sequence[float]]:
    """Measure single late entries in milliseconds, by the number of later trades."""
    book = PostgresBook(engine, system_clock)
    portfolio_id = opened(book, "late")
    append_encoded(PostgresLog(engine, system_clock), portfolio_id, 0, behind)
    rebuild_portfolio(engine, portfolio_id)
    with psycopg.connect(url, autocommit=True) as connection:
        # The server would do so within two minutes; until then its plans may be bad.
        connection.execute("analyze")
    found: dict[int, Sequence[float]] = {}
    for after in (one for one in AFTER if one < behind):
        found[after] = [_record(book, portfolio_id, behind - after, sample) for sample in range(SAMPLES)]
    return found


def _record(book: PostgresBook, portfolio_id: UUID, place: int, sample: int) -> float:
    """Record a trade just before the one at `place`; return milliseconds."""
    late = replace(
        new(trade(place * SAMPLES + sample), 0),
        occurred_at=time_of(place) - timedelta(seconds=0.5) + timedelta(microseconds=sample),
    )
    started = time.perf_counter()
    book.record(portfolio_id, [late])
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
