"""Cost of readings at points in time: `python -m bench.point_in_time [--events N]`, and part of `make bench`.

Each reads positions and their valuation, like `GET /portfolio/`.
"""

import argparse
import time
from uuid import UUID

from sqlalchemy import Engine

from bench.database import fresh_database
from bench.figures import Figure, print_figures
from bench.ledger_speed import append_encoded, opened
from bench.trades import time_of
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import PostgresLog
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.valuation import value_portfolio
from ledger.replay.history import History
from ledger.replay.verify import rebuild_portfolio
from ledger.values import system_clock


def main() -> None:
    """Print the cost of the readings."""
    parser = argparse.ArgumentParser(description="Measure readings at points in time.")
    parser.add_argument("--events", type=int, default=100_000, help="number of trades")
    events = parser.parse_args().events
    with fresh_database() as (_, engine):
        print_figures(measure_point_in_time(engine, events))


def measure_point_in_time(engine: Engine, events: int) -> list[Figure]:
    """Measure readings of a log of this many trades in milliseconds."""
    log = PostgresLog(engine, system_clock)
    portfolio_id = opened(PostgresBook(engine, system_clock), "past")
    append_encoded(log, portfolio_id, 0, events // 2)
    reported = system_clock()
    append_encoded(log, portfolio_id, events // 2, events)
    rebuild_portfolio(engine, portfolio_id)
    past = History(engine)
    middle, later = time_of(events // 2), time_of(events // 2 + events // 100)
    return [
        _measured(f"as of now, of {events} trades", past, portfolio_id, PointInTime(as_of=system_clock())),
        _measured("as of the middle, first question", past, portfolio_id, PointInTime(as_of=middle)),
        _measured("the same again", past, portfolio_id, PointInTime(as_of=middle)),
        _measured("as of 1 % later", past, portfolio_id, PointInTime(as_of=later)),
        _measured("as of the middle, as known at half", past, portfolio_id, PointInTime(middle, reported)),
    ]


def _measured(name: str, past: History, portfolio_id: UUID, point: PointInTime) -> Figure:
    started = time.perf_counter()
    with past.reading(portfolio_id, point, VALUE_PROJECTIONS) as reading:
        value_portfolio(reading.rows)
    return Figure(f"question: {name}", (time.perf_counter() - started) * 1000, "ms")


if __name__ == "__main__":
    main()
