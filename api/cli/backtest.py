"""`daybook backtest`: bots on recorded candles, with the review, orders and ledger of live trading, at stated costs."""

import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Final

import rich_click as click

from api.backtest import chart
from api.backtest.audit import audited
from api.backtest.compare import comparison_json, print_comparison, read_results
from api.backtest.report import print_result, print_sweep, print_walk, result_json, sweep_json, walk_json, write_files
from api.backtest.run import BacktestSpec, BotSpec, market_of, result_of, simulation_of
from api.backtest.sweep import axis_of
from api.backtest.sweep import sweep as run_sweep
from api.backtest.walk_forward import walk_forward as run_walk_forward
from api.cli.options import AS_JSON, moment, progress_of
from api.cli.workers import EXECUTOR, Workers
from api.runtime.output_files import check_folder, check_target
from execution.exchanges.paper.exchange import PaperTerms
from ledger.values import exact_decimal


@click.group()
def backtest() -> None:
    """Backtest bots on recorded candles. All results are simulated, and labelled so.

    Exit codes: 0 done, 1 failure, 2 usage, 3 a difference.

    Example: daybook backtest run --candles coinbase-BTC-USD-1h.csv --bot ma_cross --fee 0.001 --half-spread 0.0005
    """


Callback = Callable[[click.Context, click.Parameter, str | None], Decimal | None]


def decimal_option(bounds: str, within: Callable[[Decimal], bool]) -> Callback:
    """Return a callback that parses a plain decimal within these bounds. It raises BadParameter."""

    def parse(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Decimal | None:
        try:
            number = None if value is None else exact_decimal(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if number is not None and not within(number):
            raise click.BadParameter(f"{value} must be {bounds}")
        return number

    return parse


CASH: Final = decimal_option("above 0", lambda number: number > 0)
FEE: Final = decimal_option("from 0 to below 1", lambda number: 0 <= number < 1)
FRACTION: Final = decimal_option("from 0 to 1", lambda number: 0 <= number <= 1)
SHARE: Final = decimal_option("above 0 and up to 1", lambda number: 0 < number <= 1)


def _limits(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, Decimal], ...]:
    """Parse limits written name=value, each once. Raises BadParameter."""
    found: dict[str, Decimal] = {}
    for text in values:
        name, equals, number = text.partition("=")
        if not equals or name in found:
            raise click.BadParameter(f"{text[:60]!r}: write each limit once, as name=value")
        try:
            found[name] = exact_decimal(number)
        except ValueError as error:
            raise click.BadParameter(f"{name[:40]}: {error}") from None
    return tuple(sorted(found.items()))


def specified(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a backtest to a command; passed on as one BacktestSpec, `spec`."""

    @click.option("--candles", type=click.Path(path_type=Path), required=True, help="A CSV file of candles.")
    @click.option("--bot", "bots", multiple=True, required=True, metavar="KIND", help="A bot; repeatable.")
    @click.option("--params", multiple=True, metavar="JSON", help="Parameters of a bot, in the order of --bot.")
    @click.option("--cash", default="10000", show_default=True, callback=CASH, help="In the quote currency.")
    @click.option("--fee", required=True, callback=FEE, help="Taker fee as a fraction: 0.001 is 0.1 %; or 0.")
    @click.option("--maker-fee", callback=FEE, help="Fee of resting orders; that of --fee by default.")
    @click.option(
        "--half-spread", required=True, callback=FRACTION, help="Price distance of a fill from the open; or 0."
    )
    @click.option("--impact", default="0.001", show_default=True, callback=FRACTION, help="At the full volume share.")
    @click.option("--volume-share", default="0.1", show_default=True, callback=SHARE, help="Of a candle, at most.")
    @click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", callback=_limits, help="Policy to try.")
    @click.option(
        "--from", "begin", metavar="TIME", callback=moment, help="Trade from here; warm up on what is before."
    )
    @click.option("--until", "end", metavar="TIME", callback=moment, help="Trade up to here.")
    @click.option("--seed", default=0, show_default=True, help="Random seed of the paper exchange.")
    @click.option("--exits/--no-exits", default=True, help="Watch stop-loss and take-profit of signals, or not.")
    @wraps(command)
    def run(
        *,
        candles: Path,
        bots: tuple[str, ...],
        params: tuple[str, ...],
        cash: Decimal,
        fee: Decimal,
        maker_fee: Decimal | None,
        half_spread: Decimal,
        impact: Decimal,
        volume_share: Decimal,
        limits: tuple[tuple[str, Decimal], ...],
        begin: datetime | None,
        end: datetime | None,
        seed: int,
        exits: bool,
        **options: object,
    ) -> None:
        if len(params) > len(bots):
            raise click.UsageError(f"{len(params)} --params for {len(bots)} --bot: give at most one for each bot")
        maker = fee if maker_fee is None else maker_fee
        try:
            terms = PaperTerms(half_spread, impact, volume_share, fee, maker, seed=seed, free=fee == 0 or maker == 0)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        parameters = (*params, *("{}" for _ in bots[len(params) :]))
        chosen = tuple(BotSpec(kind, text) for kind, text in zip(bots, parameters, strict=True))
        command(spec=BacktestSpec(candles, chosen, cash, terms, limits, begin, end, exits), **options)

    return run


@backtest.command()
@specified
@AS_JSON
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with chart and figures.")
@click.option("--png", type=click.Path(path_type=Path), help="Write a chart of the daily equity.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write result, log, trades, lots and equity to this folder."
)
def run(spec: BacktestSpec, as_json: bool, html: Path | None, png: Path | None, out: Path | None) -> None:
    """Run bots over the candles of a file: decisions at each close, fills at the next open or later, at these costs.

    Reports the whole log, its value, and buy and hold beside it. The same command gives the same hashes.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest run --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005 --json
    """
    # Unwritable targets fail before the work is done.
    if out is not None:
        check_folder(out)
    for picture in (png, html):
        if picture is not None:
            check_target(picture)
            chart.check_drawing()
    simulation = simulation_of(spec, market_of(spec))
    result = result_of(simulation)
    if as_json:
        click.echo(result_json(result))
    else:
        print_result(result)
    if out is not None:
        write_files(out, simulation, result)
    if png is not None:
        chart.write_png(png, simulation, result)
    if html is not None:
        chart.write_html(html, simulation, result)


@backtest.command()
@specified
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=12, show_default=True, help="Number of cut-off points."
)
def audit(spec: BacktestSpec, samples: int) -> None:
    """Detect look-ahead and understated warm-up of bots on the candles of a file.

    Repeats the backtest on candles that end at a cut-off, and on candles that are random after it: signals up to the
    cut-off must be the same. Then with a longer history: the signals of warm bots must be the same.

    Exit codes: 0 no difference, 3 a difference, 1 failure, 2 usage.

    Example: daybook backtest audit --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005
    """
    sys.exit(3 if audited(spec, samples, click.echo) else 0)


OVER = click.option(
    "--over", multiple=True, required=True, metavar="NAME=VALUES", help="length=7,14 or length=5..50/5 or limit.NAME=…"
)
WORKERS = click.option("--workers", type=click.IntRange(1, 64), default=1, help="Number of parallel backtests.")


@backtest.command()
@specified
@OVER
@WORKERS
@EXECUTOR
@click.option(
    "--out", type=click.Path(path_type=Path), help="Store each result in this folder; continue from those there."
)
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Number of results to show.")
@AS_JSON
def sweep(
    spec: BacktestSpec,
    over: tuple[str, ...],
    workers: int,
    executor: str | None,
    out: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Run one backtest for each combination of parameters, best Sharpe ratio first.

    Shows the deflated Sharpe ratio of the best: the probability that it is more than the luck of so many trials.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest sweep --candles coinbase-BTC-USD-1h.csv --bot ma_cross --fee 0.001 --half-spread 0.0005
    --over fast=5..20/5 --over slow=30,50 --workers 2
    """
    axes = [axis_of(text) for text in over]
    with progress_of("backtests", shown=not as_json) as progress:
        found = run_sweep(spec, axes, Workers(workers, executor).executor, out, progress)
    if as_json:
        click.echo(sweep_json(found))
    else:
        print_sweep(found, top)


@backtest.command("walk-forward")
@specified
@OVER
@click.option("--folds", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="Number of folds.")
@click.option("--purge", type=click.IntRange(0), default=0, show_default=True, help="Bars left out before each test.")
@click.option(
    "--embargo", default="0.01", show_default=True, callback=FRACTION, help="And this fraction of all bars as well."
)
@click.option("--anchored", is_flag=True, help="Train from the first bar each time, not on equally long windows.")
@WORKERS
@EXECUTOR
@AS_JSON
def walk_forward(
    spec: BacktestSpec,
    over: tuple[str, ...],
    count: int,
    purge: int,
    embargo: Decimal,
    anchored: bool,
    workers: int,
    executor: str | None,
    as_json: bool,
) -> None:
    """Choose parameters on one window of candles and trade them on the next, repeatedly, to the end of the file.

    Only the tests count: the choice has never seen their candles.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest walk-forward --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005
    --over length=7,14,21 --folds 4
    """
    axes, new_executor = [axis_of(text) for text in over], Workers(workers, executor).executor
    with progress_of("folds", shown=not as_json) as progress:
        found = run_walk_forward(
            spec, axes, new_executor, count, purge=purge, embargo=embargo, anchored=anchored, progress=progress
        )
    if as_json:
        click.echo(walk_json(found))
    else:
        print_walk(found)


@backtest.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@AS_JSON
def compare(results: tuple[Path, ...], as_json: bool) -> None:
    """Compare results: folders that `backtest run --out` wrote, or files of `backtest run --json`.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest compare rsi-run ma-run
    """
    found = read_results(results)
    if as_json:
        click.echo(comparison_json(found))
    else:
        print_comparison(found)
