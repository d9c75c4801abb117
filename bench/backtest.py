"""Whole backtests (review, orders and ledger included) and live evaluations, on one core.

    python -m bench.backtest [--candles FILE]

Without a file, 20,000 hourly candles of the seeded simulated market. Single processes are measured in CPU time,
sweeps in wall-clock time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from api.backtest.market import Market, recorded_market
from api.backtest.run import BacktestSpec, BotSpec, result_of, run_backtest, simulation_of
from api.backtest.sweep import Axis, sweep
from api.runtime.first_run import registered
from api.runtime.market_loop import MarketClock, MarketLoop
from bench.figures import Figure, print_figures, rate
from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.orders.connections import balances_of
from execution.orders.trade_service import TradeService
from ledger.events import BotStarted, PortfolioOpened
from ledger.log.envelope import NewEvent
from ledger.processes import worker_processes
from ledger.projections.book import MemoryBook
from ledger.values import Instrument, derived_id
from signals.market.candle import Candle
from signals.market.playback import PlayedFeed
from signals.market.recorded import RecordedTape
from signals.market.simulated import simulated_candles

BARS: Final = 20_000
SLOW_BARS: Final = 3_000
"""Bars for the path without vectorised scores, whose cost per bar is constant."""
LIVE_BOTS: Final = 200
LIVE_CANDLES: Final = 20
TIMES: Final = 3
"""Runs of which the fastest counts: interference only slows a run down."""

COSTS: Final = PaperTerms(taker_fee=Decimal("0.001"), maker_fee=Decimal("0.001"))
ALL_IN: Final = tuple(
    (name, Decimal(value))
    for name, value in (
        ("confirmation_minutes", "0"),
        ("cooldown_minutes", "0"),
        ("base_trade", "100000000"),
        ("maximum_trade", "100000000"),
    )
)
CROSSES: Final = (*ALL_IN, *((f"{name}_score", Decimal("0.8")) for name in ("action", "warm", "hot", "cool")))
"""Only the cross itself passes the score limits, not the bars after it."""

RARELY: Final = (*ALL_IN, *((f"{name}_score", Decimal("0.9")) for name in ("action", "warm", "hot", "cool")))
"""Only the strongest scores pass the limits, which is rare."""

BACKTESTS: Final = (
    ("RSI 14 beyond 0.9, few trades", BotSpec("rsi"), RARELY),
    ("Bollinger 100, few trades", BotSpec("bollinger", '{"length": 100}'), RARELY),
    ("MA cross 150/200, few trades", BotSpec("ma_cross", '{"fast": 150, "slow": 200}'), CROSSES),
    ("MA cross 10/20, in and out", BotSpec("ma_cross"), CROSSES),
    ("RSI 14 30/70", BotSpec("rsi"), (*ALL_IN, *((f"{n}_score", Decimal("0.5")) for n in ("action", "warm", "hot")))),
)


def measure_backtests(path: Path | None = None) -> list[Figure]:
    """Measure bars per second of whole backtests, and evaluations per second of a live loop."""
    market = recorded_market(path) if path else Market.of(_simulated(BARS), "simulated.csv")
    figures: list[Figure] = []
    for name, bot, limits in BACKTESTS:
        spec = BacktestSpec(Path(market.name), (bot,), Decimal(10_000), COSTS, limits)
        done = simulation_of(spec, market)
        runs = [_processed("", len(market.candles), partial(simulation_of, spec, market)) for _ in range(TIMES)]
        result = result_of(done)
        label = f"{name}: {result.trades} trades, {result.events} events"
        figures.append(Figure(label, max(run.value for run in runs), "bars/s"))
    part = Market.of(market.candles[:SLOW_BARS], market.name)
    name, bot, limits = BACKTESTS[-1]
    plain = BacktestSpec(Path(market.name), (bot,), Decimal(10_000), COSTS, limits, twins=False)
    figures.append(
        _processed(f"{name} without vectorised scores", len(part.candles), partial(simulation_of, plain, part))
    )
    return [*figures, *_sweeps(part), _live(market)]


def _processed(name: str, bars: int, work: Callable[[], object]) -> Figure:
    return rate(name, "bars/s", bars, work, clock=time.process_time)


def _sweeps(market: Market) -> Iterator[Figure]:
    """Measure combinations per second of a sweep over a file, after its workers have started."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        path = Path(folder) / f"bench-{market.instrument}-{market.timeframe}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("timestamp,open,high,low,close,volume\n")
            for one in market.candles:
                file.write(f"{one.opened_at.isoformat()},{one.open},{one.high},{one.low},{one.close},{one.volume}\n")
        spec = BacktestSpec(path, (BotSpec("ma_cross"),), Decimal(10_000), COSTS, CROSSES)
        axes = [Axis("fast", tuple(range(100, 116))), Axis("slow", (200, 300))]
        for workers in (1, 2):
            with worker_processes(workers) as pool:
                for started in [pool.submit(run_backtest, spec) for _ in range(4 * workers)]:
                    started.result()
                name = f"sweep over {len(market.candles)} bars, few trades, {workers} workers"
                yield rate(name, "combinations/s", 32, partial(sweep, spec, axes, partial(_still_open, pool)))


def _still_open(pool: Executor) -> AbstractContextManager[Executor]:
    return nullcontext(pool)


def _live(market: Market) -> Figure:
    """Measure the market loop with many bots, all evaluated, reviewed and traded at every candle."""
    seconds = 0.0
    timeframe = market.candles[0].timeframe
    feed = PlayedFeed(
        RecordedTape(tuple(market.candles)), "bench", "bench", Decimal(1), lambda: seconds, simulated=False
    )
    feed.start(600, None)
    book, portfolio_id = MemoryBook(feed.now), derived_id("bench", "live")
    kinds = ("rsi", "macd", "ma_cross", "combined")
    bots = [registered(f"bot-{n}", kinds[n % 4], market.instrument, market.timeframe, "{}") for n in range(LIVE_BOTS)]
    events = [
        PortfolioOpened(name="live", base_currency=market.instrument.quote),
        *bots,
        *(BotStarted(bot_id=bot.bot_id) for bot in bots),
    ]
    book.record(
        portfolio_id,
        [NewEvent(one, derived_id(portfolio_id, n), feed.now(), "bench", portfolio_id) for n, one in enumerate(events)],
    )
    clock = MarketClock(feed)
    paper = PaperExchange((market.instrument,), balances_of(book, portfolio_id), clock)
    trader = TradeService(book, portfolio_id, {paper.venue: paper}, clock)
    loop = MarketLoop(book, portfolio_id, feed, clock, paper, trader, lambda: seconds)
    started = time.process_time()
    for _ in range(LIVE_CANDLES):
        seconds += timeframe.total_seconds()
        loop.tick()
    took = time.process_time() - started
    return Figure(f"{LIVE_BOTS} bots live", LIVE_BOTS * loop.candles / took, "evaluations/s")


def _simulated(bars: int) -> list[Candle]:
    return list(islice(simulated_candles(7, Instrument("BTC-USD"), timedelta(hours=1)), bars))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whole backtests and live evaluations.")
    parser.add_argument("--candles", type=Path, help="a CSV file of candles such as coinbase-BTC-USD-1h.csv")
    print_figures(measure_backtests(parser.parse_args().candles))


if __name__ == "__main__":
    main()
