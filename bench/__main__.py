"""`make bench`: print measurements; no limits are asserted.

    python -m bench [--events N] [--legacy N] [--candles FILE]

--events: length of the log that is rebuilt (default 20,000). --legacy: trades in the legacy database that is imported
(default 2,000). --candles: CSV file of candles for the backtests, instead of a simulated market.
"""

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench.backtest import measure_backtests
from bench.bots import measure_bots
from bench.database import fresh_database
from bench.figures import Figure, print_figures
from bench.ledger_speed import measure_ledger
from bench.legacy import measure_legacy
from bench.orders import measure_orders
from bench.point_in_time import measure_point_in_time
from bench.raw_limits import measure_raw_limits

SIGNALS = 200


def main() -> None:
    """Print every figure with the raw limit it is compared with."""
    parser = argparse.ArgumentParser(
        description="Measure the ledger and the bots beside the raw limits of this machine."
    )
    parser.add_argument("--events", type=int, default=20_000, help="length of the log that is rebuilt")
    parser.add_argument("--legacy", type=int, default=2_000, help="trades in the legacy database that is imported")
    parser.add_argument("--candles", type=Path, help="a CSV file of candles for the backtests")
    chosen = parser.parse_args()
    events = chosen.events
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}, {events} events"
    )
    figures: list[Figure] = []
    with fresh_database() as (url, engine):
        limits = measure_raw_limits(url, events)
        figures += limits.figures
        figures += measure_ledger(engine, limits, events)
        figures += measure_point_in_time(engine, events)
        figures += measure_legacy(engine, chosen.legacy)
        figures += measure_orders(engine, SIGNALS, limits.commits)
    print_figures(figures)
    print_figures(measure_bots())
    print_figures(measure_backtests(chosen.candles))


main()
