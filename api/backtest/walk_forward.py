"""Walk-forward runs: the best settings of each training window are traded on the following test window."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from api.backtest.run import BacktestResult, BacktestSpec, BadBacktest, market_of, run_backtest
from api.backtest.sweep import Axis, SweepResult, sweep_result, variants_of, varied
from execution.backtest.walk_forward import Fold, folds
from ledger.replay.parallel import NewExecutor, run_all
from ledger.reports.metrics import total_return
from ledger.values import ZERO
from signals.market.candle import Candle

Key = TypeVar("Key", bound=Hashable)
Progress = Callable[[int, int], None]
"""Takes the number of finished backtests and the total."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One fold: the best result on its training bars, and the result of the same settings on its test bars.

    `tested` is None if no training result had a Sharpe ratio: nothing was chosen or traded.
    """

    trained_from: datetime
    trained_to: datetime
    tested_from: datetime
    tested_to: datetime
    chosen: SweepResult | None
    tested: SweepResult | None
    buy_and_hold: Decimal | None


@dataclass(frozen=True, slots=True)
class WalkForward:
    """The folds in order of time; returns compound those of the tests, each started with the same cash; undefined is 0.

    `trials` counts the backtests of all trainings.
    """

    stretches: tuple[Stretch, ...]
    total_return: Decimal
    buy_and_hold: Decimal
    trials: int


def walk_forward(
    base: BacktestSpec,
    axes: Sequence[Axis],
    new_executor: NewExecutor,
    count: int,
    *,
    purge: int,
    embargo: Decimal,
    anchored: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> WalkForward:
    """Run `count` folds over the specification's bars; settings are chosen by their Sharpe ratio in training.

    `purge` bars and the fraction `embargo` of all bars separate training and test. Raises BadBacktest and WorkersLost.
    """
    market = market_of(base)
    candles = [
        one
        for one in market.candles
        if (base.begin is None or one.opened_at >= base.begin) and (base.end is None or one.closed_at <= base.end)
    ]
    try:
        cut = folds(len(candles), count, purge=purge, embargo=int(embargo * len(candles)), anchored=anchored)
    except ValueError as error:
        raise BadBacktest(f"{market.name}: {error}") from None
    variants = [variants_of(_within(base, candles, fold.train), axes, market).specs for fold in cut]
    training = {(n, run_id): (spec,) for n, specs in enumerate(variants) for run_id, (spec, _) in specs.items()}
    trained = _run(training, new_executor, progress)
    best = [_best([sweep_result(trained[n, key], specs[key][1]) for key in specs]) for n, specs in enumerate(variants)]
    testing = {n: (_test(base, candles, fold, best[n]),) for n, fold in enumerate(cut)}
    results = _run(testing, new_executor, progress)
    stretches = tuple(_stretch(candles, fold, best[n], results[n]) for n, fold in enumerate(cut))
    tested = total_return((one.tested.total_return if one.tested else None) or ZERO for one in stretches)
    held = total_return(one.buy_and_hold or ZERO for one in stretches)
    return WalkForward(stretches, tested, held, len(training))


def _run(
    wanted: Mapping[Key, tuple[BacktestSpec]], new_executor: NewExecutor, progress: Progress
) -> dict[Key, BacktestResult]:
    done: list[Key] = []

    def count(key: Key, _result: BacktestResult) -> None:
        done.append(key)
        progress(len(done), len(wanted))

    return run_all(run_backtest, wanted, new_executor, count, "backtests")


def _best(results: Sequence[SweepResult]) -> SweepResult | None:
    """The result with the highest Sharpe ratio, or None if none has one."""
    rated = [(one.sharpe, one) for one in results if one.sharpe is not None]
    return max(rated, key=lambda one: one[0])[1] if rated else None


def _test(base: BacktestSpec, candles: Sequence[Candle], fold: Fold, best: SweepResult | None) -> BacktestSpec:
    """The test of the chosen settings; without any, the unchanged specification, for buy and hold alone."""
    spec = _within(base, candles, fold.test)
    return spec if best is None else varied(spec, best.settings)


def _stretch(candles: Sequence[Candle], fold: Fold, best: SweepResult | None, result: BacktestResult) -> Stretch:
    return Stretch(
        trained_from=candles[fold.train[0]].opened_at,
        trained_to=candles[fold.train[-1]].closed_at,
        tested_from=candles[fold.test[0]].opened_at,
        tested_to=candles[fold.test[-1]].closed_at,
        chosen=best,
        tested=None if best is None else sweep_result(result, best.settings),
        buy_and_hold=result.buy_and_hold.time_weighted_return,
    )


def _within(base: BacktestSpec, candles: Sequence[Candle], bars: range) -> BacktestSpec:
    """The specification on these bars, with a warm-up on the candles before them."""
    return replace(base, begin=candles[bars[0]].opened_at, end=candles[bars[-1]].closed_at)
