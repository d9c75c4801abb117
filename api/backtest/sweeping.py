"""Sweeps: one backtest for each combination of settings, side by side, each kept on disk as soon as it is done.

A combination is known by the id of its run, so a sweep that was cut off goes on where it stood, and equal runs are run once.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.backtest.backtesting import BacktestResult, BacktestSpec, market_of, run_backtest
from api.backtest.sweep_axes import Axis, Variants, variants_of
from api.backtest.trials import Trial, keep_in, kept_in, track_of, trial_of
from execution.backtest.deflated_sharpe import deflated_sharpe
from ledger.log.envelope import canonical_json
from ledger.replay.parallel import NewExecutor, run_all


@dataclass(frozen=True, slots=True)
class Sweep:
    """All trials, the best Sharpe ratio first, those without one last; `sweep_hash` stands for every log of them.

    `deflated` is the probability that the first one's ratio is more than the luck of the best of so many. `refused`
    combinations were not run because the bot does not take them, the first for this `reason`.
    """

    trials: tuple[Trial, ...]
    sweep_hash: str
    deflated: float | None
    refused: int
    reason: str


def sweep(
    base: BacktestSpec,
    axes: Sequence[Axis],
    new_executor: NewExecutor,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Sweep:
    """Every combination of the axes' values, run on `base`. `progress` hears how many of how many are done.

    Results in `folder` are not run again, new ones are added there. The same at every number of workers, and after some
    were killed. Raises BadBacktest before anything runs, and WorkersLost.
    """
    chosen = variants_of(base, axes, market_of(base))
    variants = chosen.specs
    known = {run_id: trial for run_id, trial in kept_in(folder) if run_id in variants}
    done = dict(known)
    progress(len(done), len(variants))

    def keep(run_id: str, result: BacktestResult) -> None:
        done[run_id] = trial_of(result, variants[run_id][1])
        keep_in(folder, done[run_id])
        progress(len(done), len(variants))

    waiting = {run_id: (spec,) for run_id, (spec, _) in variants.items() if run_id not in known}
    if waiting:
        run_all(run_backtest, waiting, new_executor, keep, "backtests")
    return _ranked([done[run_id] for run_id in variants], chosen)


def _ranked(trials: Sequence[Trial], chosen: Variants) -> Sweep:
    ranked = sorted(trials, key=lambda one: (one.sharpe is None, -(one.sharpe or 0), one.run_id))
    logs = sorted((one.run_id, one.log_hash) for one in trials)
    digest = hashlib.sha256(canonical_json(logs).encode()).hexdigest()
    return Sweep(tuple(ranked), digest, _deflated(ranked), chosen.refused, chosen.reason)


def _deflated(ranked: Sequence[Trial]) -> float | None:
    """That of the best trial among all that have a ratio."""
    tracks = [track for track in map(track_of, ranked) if track is not None]
    return deflated_sharpe(tracks[0], [track.sharpe for track in tracks]) if tracks else None
