"""Cost of one append after 10³ … 10⁷ events: `python -m bench.append_curve [--to N] [--svg FILE]`.

At every power of ten, single trades are recorded with all projections, each in a durable transaction. In between, the
log grows in bulk and its views are rebuilt. The curve should be flat.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from bench.database import fresh_database
from bench.ledger_speed import append_encoded, opened
from bench.trades import new, trade
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import PostgresLog
from ledger.replay.verify import rebuild_portfolio
from ledger.values import system_clock

SAMPLES = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds per append after this many events: median and 95th percentile."""

    events: int
    median: float
    slow: float


def main() -> None:
    """Print the cost at every power of ten and draw it."""
    parser = argparse.ArgumentParser(description="Measure the cost of one append after logs of increasing length.")
    parser.add_argument("--to", type=int, default=1_000_000, help="length of the longest log")
    parser.add_argument("--svg", type=Path, help="file for the curve")
    given = parser.parse_args()
    with fresh_database() as (_, engine):
        costs = measure(engine, given.to)
    if given.svg:
        given.svg.write_text(drawn(costs), encoding="utf-8")


def measure(engine: Engine, longest: int) -> list[Cost]:
    """Measure the cost after each power of ten up to `longest`."""
    portfolio_id = opened(PostgresBook(engine, system_clock), "curve")
    log = PostgresLog(engine, system_clock)
    costs: list[Cost] = []
    length, number = 1_000, 0
    while length <= longest:
        append_encoded(log, portfolio_id, number, length)
        rebuild_portfolio(engine, portfolio_id)
        times = _record(engine, portfolio_id, length)
        number = length + SAMPLES
        costs.append(Cost(length, statistics.median(times), statistics.quantiles(times, n=20)[-1]))
        print(
            f"after {length:>10,} events: median {costs[-1].median:.2f} ms, 95th percentile {costs[-1].slow:.2f} ms",
            flush=True,
        )
        length *= 10
    return costs


def _record(engine: Engine, portfolio_id: UUID, first: int) -> list[float]:
    book = PostgresBook(engine, system_clock)
    times: list[float] = []
    for number in range(first, first + SAMPLES):
        event = new(trade(number), number)
        started = time.perf_counter()
        book.record(portfolio_id, [event])
        times.append((time.perf_counter() - started) * 1000)
    return times


def drawn(costs: Sequence[Cost]) -> str:
    """Draw the costs as SVG: length of the log on the x axis, milliseconds on the y axis."""
    top = max(cost.slow for cost in costs) * 1.2

    def at(place: int, value: float) -> str:
        return f"{90 + place * 480 / max(1, len(costs) - 1):.0f},{300 - 250 * value / top:.0f}"

    def line(values: Sequence[float], style: str) -> str:
        points = " ".join(at(place, value) for place, value in enumerate(values))
        return f'<polyline fill="none" {style} points="{points}"/>'

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 370" font-family="sans-serif" font-size="13">',
        '<rect width="640" height="370" fill="#fff"/>',
        '<text x="90" y="28">Milliseconds for one durable append with all projections, by length of the log</text>',
        '<path d="M90 50V300H600" fill="none" stroke="#555"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = 300 - 250 * share
        parts.append(f'<text x="80" y="{height + 4:.0f}" text-anchor="end">{top * share:.1f}</text>')
    for place, cost in enumerate(costs):
        x = at(place, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="320" text-anchor="middle">{cost.events:,}</text>')
    parts += [
        line([cost.median for cost in costs], 'stroke="#06c" stroke-width="2"'),
        line([cost.slow for cost in costs], 'stroke="#c60" stroke-dasharray="5 4"'),
        '<text x="90" y="350" fill="#06c">median</text><text x="220" y="350" fill="#c60">95th percentile</text>',
        f'<text x="600" y="350" text-anchor="end" fill="#777">measured {datetime.now(UTC):%Y-%m-%d}</text></svg>',
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
