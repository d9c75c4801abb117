"""What a late entry costs by how many trades come after it: `python -m bench.late_entry [--behind N]`.

The trades are of four assets. A late one has those of its own asset folded again that come after it, about a quarter.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from bench.ledger_speed import append_encoded, opened
from bench.trades import new, time_of, trade
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import connected
from ledger.postgres.embedded import embedded_postgres
from ledger.postgres.log import PostgresLog
from ledger.replay.verify import rebuild_portfolio
from ledger.values import system_clock

SAMPLES = 9
AFTER = (0, 10, 100, 1_000, 10_000)


def main() -> None:
    """Prints the middle cost of a late entry at each place."""
    parser = argparse.ArgumentParser(description="Measure what a late entry costs.")
    parser.add_argument("--behind", type=int, default=20_000, help="how many trades there are")
    behind = parser.parse_args().behind
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        Path(folder).chmod(0o755)
        with embedded_postgres(Path(folder)) as url, connected(url) as engine:
            for after, times in measure(engine, url, behind).items():
                print(f"{after:>8,} of {behind:,} trades come after it: {statistics.median(times):10.1f} ms")


def measure(engine: Engine, url: str, behind: int) -> dict[int, Sequence[float]]:
    """The milliseconds of single late entries, by how many trades come after them."""
    book = PostgresBook(engine, system_clock)
    portfolio_id = opened(book, "late")
    append_encoded(PostgresLog(engine, system_clock), portfolio_id, 0, behind)
    rebuild_portfolio(engine, portfolio_id)
    with psycopg.connect(url, autocommit=True) as connection:
        # The server does so by itself within a minute or two; before that it may plan badly.
        connection.execute("analyze")
    found: dict[int, Sequence[float]] = {}
    for after in (one for one in AFTER if one < behind):
        found[after] = [_record(book, portfolio_id, behind - after, sample) for sample in range(SAMPLES)]
    return found


def _record(book: PostgresBook, portfolio_id: UUID, place: int, sample: int) -> float:
    """The milliseconds for one more trade, just before the one at `place`."""
    late = replace(
        new(trade(place * SAMPLES + sample), 0),
        occurred_at=time_of(place) - timedelta(seconds=0.5) + timedelta(microseconds=sample),
    )
    started = time.perf_counter()
    book.record(portfolio_id, [late])
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
