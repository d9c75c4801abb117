"""Trials: the runs of a sweep in what is compared of them, and the file that keeps them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from api.backtest.backtesting import BacktestResult
from api.backtest.sweep_axes import Settings
from execution.backtest.deflated_sharpe import Track
from ledger.log.envelope import canonical_json

RESULTS: Final = "results.jsonl"


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination that has been run. Figures are those of its daily returns; None where undefined."""

    run_id: str
    settings: Settings
    log_hash: str
    trades: int
    days: int
    total_return: Decimal | None
    sharpe: Decimal | None
    max_drawdown: Decimal | None
    skewness: Decimal | None
    kurtosis: Decimal | None
    periods_per_year: Decimal
    failures: tuple[str, ...]


def trial_of(result: BacktestResult, settings: Settings) -> Trial:
    """The result as a trial of these settings."""
    figures = result.performance
    return Trial(
        run_id=result.run_id,
        settings=settings,
        log_hash=result.log_hash,
        trades=result.trades,
        days=figures.full_days,
        total_return=figures.time_weighted_return,
        sharpe=figures.sharpe,
        max_drawdown=figures.max_drawdown,
        skewness=figures.skewness,
        kurtosis=figures.kurtosis,
        periods_per_year=figures.periods_per_year,
        failures=result.failures,
    )


def track_of(trial: Trial) -> Track | None:
    """The trial's record of daily returns, or None where it has no Sharpe ratio or shape."""
    if trial.sharpe is None or trial.skewness is None or trial.kurtosis is None:
        return None
    daily = trial.sharpe / trial.periods_per_year.sqrt()
    return Track(float(daily), trial.days, float(trial.skewness), float(trial.kurtosis))


def kept_in(folder: Path | None) -> Iterator[tuple[str, Trial]]:
    """The trials in the folder; a last line that was cut off is left out, and run again."""
    path = None if folder is None else folder / RESULTS
    if path is None or not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            trial = trial_from(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        yield trial.run_id, trial


def keep_in(folder: Path | None, trial: Trial) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS
    # A line that was cut off must not swallow the next one.
    broken = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write(("\n" if broken else "") + canonical_json(trial_json(trial)) + "\n")


def trial_json(trial: Trial) -> dict[str, object]:
    """The trial as JSON: figures as text, None where undefined."""
    figures = {name: _text(getattr(trial, name)) for name in _FIGURES}
    return {
        "run_id": trial.run_id,
        "settings": [list(one) for one in trial.settings],
        "log_hash": trial.log_hash,
        "trades": trial.trades,
        "days": trial.days,
        "failures": list(trial.failures),
        **figures,
    }


def trial_from(said: Mapping[str, Any]) -> Trial:
    """The trial that `trial_json` gave. Raises ValueError, KeyError or TypeError for anything else."""
    figures: dict[str, Any] = {name: None if said[name] is None else _decimal(said[name]) for name in _FIGURES}
    return Trial(
        run_id=str(said["run_id"]),
        settings=tuple((name, value) for name, value in said["settings"]),
        log_hash=str(said["log_hash"]),
        trades=int(said["trades"]),
        days=int(said["days"]),
        failures=tuple(said["failures"]),
        **figures,
    )


_FIGURES: Final = ("total_return", "sharpe", "max_drawdown", "skewness", "kurtosis", "periods_per_year")


def _text(figure: Decimal | None) -> str | None:
    return None if figure is None else str(figure)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is no number") from None
