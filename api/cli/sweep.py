"""`daybook backtest sweep`, `walk-forward` and `compare`: many backtests, and how much of the best of them is luck."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from api.cli.backtest import SHARE, specified
from api.cli.options import one_sentence

if TYPE_CHECKING:
    from decimal import Decimal

    from api.backtest.backtesting import BacktestSpec
    from ledger.replay.parallel import NewExecutor

OVER = click.option(
    "--over", multiple=True, required=True, metavar="NAME=VALUES", help="length=7,14 or length=5..50/5 or limit.NAME=…"
)
WORKERS = click.option("--workers", type=click.IntRange(1, 64), default=1, help="So many backtests at once.")
EXECUTOR = click.option("--executor", metavar="URL", help="A Dask cluster that does the work: dask://host:port.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@specified
@OVER
@WORKERS
@EXECUTOR
@click.option("--out", type=click.Path(path_type=Path), help="Keep each result in this folder; go on from those there.")
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Show so many of the best.")
@AS_JSON
@one_sentence
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
        found = sweeping.sweep(spec, axes, _workers(workers, executor), out, progress)
    if as_json:
        click.echo(sweep_report.sweep_json(found))
    else:
        sweep_report.print_sweep(found, top)


@click.command("walk-forward")
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
@one_sentence
def walk_forward(
    spec: "BacktestSpec",
    over: tuple[str, ...],
    count: int,
    purge: int,
    embargo: "Decimal",
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

    axes, made = [axis_of(text) for text in over], _workers(workers, executor)
    with sweep_report.progress_shown("folds", quiet=as_json) as progress:
        found = walking_forward.walk_forward(
            spec, axes, made, count, purge=purge, embargo=embargo, anchored=anchored, progress=progress
        )
    if as_json:
        click.echo(sweep_report.walk_json(found))
    else:
        sweep_report.print_walk(found)


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@AS_JSON
@one_sentence
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


def _workers(workers: int, executor: str | None) -> "NewExecutor":
    """What does the work: this process where one worker is enough, else processes or a cluster."""
    from api.cli.replaying import Labour, new_executor

    if workers == 1 and executor is None:
        return partial(ThreadPoolExecutor, 1)
    return partial(new_executor, Labour(workers, executor))
