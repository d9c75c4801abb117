"""`daybook backtest`: bots on recorded candles, through the real review, orders and ledger, at stated costs."""

import inspect
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from api.cli.options import moment
from api.cli.workers import EXECUTOR, Workers
from ledger.values import exact_decimal

if TYPE_CHECKING:
    from api.backtest.backtesting import BacktestSpec


@click.group()
def backtest() -> None:
    """Try bots on recorded candles. Everything that comes of it is simulated, and says so.

    Exit codes: 0 done, 1 failure, 2 usage, 3 a difference.

    Example: daybook backtest run --candles coinbase-BTC-USD-1h.csv --bot ma_cross --fee 0.001 --half-spread 0.0005
    """


Callback = Callable[[click.Context, click.Parameter, str | None], Decimal | None]


def decimal_option(what: str, bounds: str, within: Callable[[Decimal], bool]) -> Callback:
    """A callback that gives the option's value, a plain decimal within these bounds, and raises BadParameter."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Decimal | None:
        try:
            number = None if value is None else exact_decimal(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if number is not None and not within(number):
            raise click.BadParameter(f"{value} is no {what}: a number {bounds} is")
        return number

    return read


CASH: Final = decimal_option("cash", "above 0", lambda number: number > 0)
FEE: Final = decimal_option("fee", "from 0 to below 1", lambda number: 0 <= number < 1)
SHARE: Final = decimal_option("share", "from 0 to 1", lambda number: 0 <= number <= 1)
SOME: Final = decimal_option("share", "above 0 and up to 1", lambda number: 0 < number <= 1)


def _limits(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, Decimal], ...]:
    """Limits written name=value, each once. Raises BadParameter."""
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
    """Gives the command the options that say what is simulated; they reach it as `spec`."""

    @click.option("--candles", type=click.Path(path_type=Path), required=True, help="A CSV file of candles.")
    @click.option("--bot", "bots", multiple=True, required=True, metavar="KIND", help="A bot; give one or more.")
    @click.option("--params", multiple=True, metavar="JSON", help="Settings of a bot: the first are the first bot's.")
    @click.option("--cash", default="10000", show_default=True, callback=CASH, help="In the quote currency.")
    @click.option("--fee", required=True, callback=FEE, help="Of takers, as a fraction: 0.001 is 0.1 %; or 0.")
    @click.option("--maker-fee", callback=FEE, help="Of orders that waited; as --fee where left out.")
    @click.option("--half-spread", required=True, callback=SHARE, help="What a fill costs beside the open; or 0.")
    @click.option("--impact", default="0.001", show_default=True, callback=SHARE, help="Of all volume allowed.")
    @click.option("--volume-share", default="0.1", show_default=True, callback=SOME, help="Of a candle, at most.")
    @click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", callback=_limits, help="Policy to try.")
    @click.option("--from", "begin", metavar="TIME", callback=moment, help="Trade from here; before it is history.")
    @click.option("--until", "end", metavar="TIME", callback=moment, help="Trade up to here.")
    @click.option("--seed", default=0, show_default=True, help="Of the paper venue's chance.")
    @click.option("--exits/--no-exits", default=True, help="Watch stop-loss and take-profit of signals, or not.")
    @wraps(command)
    def run(*args: object, **options: object) -> None:
        command(*args, spec=_spec(**{name: options.pop(name) for name in _OPTIONS}), **options)  # type: ignore[arg-type]

    return run


def _spec(
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
) -> "BacktestSpec":
    from api.backtest.backtesting import BacktestSpec, BotSpec
    from execution.exchanges.paper.exchange import PaperTerms

    if len(params) > len(bots):
        raise click.UsageError(f"{len(params)} --params belong to {len(bots)} --bot: give each bot one at most")
    maker = fee if maker_fee is None else maker_fee
    try:
        terms = PaperTerms(half_spread, impact, volume_share, fee, maker, seed=seed, free=fee == 0 or maker == 0)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    settings = (*params, *("{}" for _ in bots[len(params) :]))
    chosen = tuple(BotSpec(kind, text) for kind, text in zip(bots, settings, strict=True))
    return BacktestSpec(candles, chosen, cash, terms, limits, begin, end, exits)


_OPTIONS: Final = tuple(inspect.signature(_spec).parameters)


@backtest.command()
@specified
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with picture and figures.")
@click.option("--png", type=click.Path(path_type=Path), help="Write a picture of the daily equity.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write result, log, trades, lots and equity to this folder."
)
def run(spec: "BacktestSpec", as_json: bool, html: Path | None, png: Path | None, out: Path | None) -> None:
    """Run bots over the candles of a file: decided at each close, filled at the next open or later, at these costs.

    The result is the whole log, what it was worth, and buy and hold beside it. The same command gives the same hashes.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest run --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005 --json
    """
    from api.backtest import chart as backtest_chart
    from api.backtest import report as backtest_report
    from api.backtest.backtesting import market_of, result_of, simulation_of
    from api.runtime.output_files import check_folder, check_target

    # What cannot be written is told before the work is done.
    if out is not None:
        check_folder(out)
    for picture in (png, html):
        if picture is not None:
            check_target(picture)
            backtest_chart.check_drawing()
    simulation = simulation_of(spec, market_of(spec))
    result = result_of(simulation)
    if as_json:
        click.echo(backtest_report.result_json(result))
    else:
        backtest_report.print_result(result)
    if out is not None:
        backtest_report.write_files(out, simulation, result)
    if png is not None:
        backtest_chart.write_png(png, simulation, result)
    if html is not None:
        backtest_chart.write_html(html, simulation, result)


@backtest.command()
@specified
@click.option("--samples", type=click.IntRange(1, 1000), default=12, show_default=True, help="So many cuts are tried.")
def audit(spec: "BacktestSpec", samples: int) -> None:
    """Look for bots that see the future, or need more history than they say, on the candles of a file.

    The backtest is run again on candles that end at a cut, and on candles that are nonsense after it: what was said up
    to the cut must be the same, signal by signal. Then with less history before: once the bots are warm, so must it be.

    Exit codes: 0 nothing differs, 3 something does, 1 failure, 2 usage.

    Example: daybook backtest audit --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005
    """
    from api.backtest.audit import audited

    faults = audited(spec, samples, click.echo)
    sys.exit(3 if faults else 0)


OVER = click.option(
    "--over", multiple=True, required=True, metavar="NAME=VALUES", help="length=7,14 or length=5..50/5 or limit.NAME=…"
)
WORKERS = click.option("--workers", type=click.IntRange(1, 64), default=1, help="So many backtests at once.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@backtest.command()
@specified
@OVER
@WORKERS
@EXECUTOR
@click.option("--out", type=click.Path(path_type=Path), help="Keep each result in this folder; go on from those there.")
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Show so many of the best.")
@AS_JSON
def sweep(
    spec: "BacktestSpec",
    over: tuple[str, ...],
    workers: int,
    executor: str | None,
    out: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Run one backtest for each combination of settings, best Sharpe ratio first.

    Beside the best stands its deflated Sharpe ratio: the probability that it is more than the luck of so many trials.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest sweep --candles coinbase-BTC-USD-1h.csv --bot ma_cross --fee 0.001 --half-spread 0.0005
    --over fast=5..20/5 --over slow=30,50 --workers 2
    """
    from api.backtest import sweep_report, sweeping
    from api.backtest.sweep_axes import axis_of

    axes = [axis_of(text) for text in over]
    with sweep_report.progress_shown("backtests", quiet=as_json) as progress:
        found = sweeping.sweep(spec, axes, Workers(workers, executor).executor, out, progress)
    if as_json:
        click.echo(sweep_report.sweep_json(found))
    else:
        sweep_report.print_sweep(found, top)


@backtest.command("walk-forward")
@specified
@OVER
@click.option("--folds", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many tests.")
@click.option("--purge", type=click.IntRange(0), default=0, show_default=True, help="Bars left out before each test.")
@click.option(
    "--embargo", default="0.01", show_default=True, callback=SHARE, help="And this share of all bars as well."
)
@click.option("--anchored", is_flag=True, help="Train from the first bar each time, not on equally long stretches.")
@WORKERS
@EXECUTOR
@AS_JSON
def walk_forward(
    spec: "BacktestSpec",
    over: tuple[str, ...],
    count: int,
    purge: int,
    embargo: Decimal,
    anchored: bool,
    workers: int,
    executor: str | None,
    as_json: bool,
) -> None:
    """Choose settings on one stretch of candles and trade them on the next, again and again to the end of the file.

    Only the tests count: what was chosen had never seen them.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest walk-forward --candles coinbase-BTC-USD-1h.csv --bot rsi --fee 0.001 --half-spread 0.0005
    --over length=7,14,21 --folds 4
    """
    from api.backtest import sweep_report, walking_forward
    from api.backtest.sweep_axes import axis_of

    axes, made = [axis_of(text) for text in over], Workers(workers, executor).executor
    with sweep_report.progress_shown("folds", quiet=as_json) as progress:
        found = walking_forward.walk_forward(
            spec, axes, made, count, purge=purge, embargo=embargo, anchored=anchored, progress=progress
        )
    if as_json:
        click.echo(sweep_report.walk_json(found))
    else:
        sweep_report.print_walk(found)


@backtest.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@AS_JSON
def compare(results: tuple[Path, ...], as_json: bool) -> None:
    """Put results side by side: folders that `backtest run --out` wrote, or files of `backtest run --json`.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook backtest compare rsi-run ma-run
    """
    from api.backtest import compare as backtest_compare

    found = backtest_compare.read_results(results)
    if as_json:
        click.echo(backtest_compare.comparison_json(found))
    else:
        backtest_compare.print_comparison(found)
