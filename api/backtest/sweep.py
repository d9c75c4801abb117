"""Sweeps: one backtest for each combination of settings, each stored on disk as soon as it is done.

A combination is identified by the id of its run: an interrupted sweep continues, and equal runs are run once.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

from api.backtest.market import Market
from api.backtest.run import (
    BacktestResult,
    BacktestSpec,
    BadBacktest,
    RefusedParameters,
    market_of,
    run_backtest,
    run_id_of,
)
from execution.backtest.deflated_sharpe import Track, deflated_sharpe
from ledger.log.envelope import canonical_json
from ledger.replay.parallel import NewExecutor, run_all
from ledger.values import decimal_text

MOST: Final = 100_000
"""The largest number of combinations."""
LIMIT: Final = "limit."
"""Prefix of the policy's limits; other names are parameters of the bot."""
RESULTS: Final = "results.jsonl"
_FIGURES: Final = ("total_return", "sharpe", "max_drawdown", "skewness", "kurtosis", "periods_per_year")

Settings = tuple[tuple[str, object], ...]
"""Name and value of each varied setting."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter of the bot, or a limit of the policy prefixed with "limit.", and the values it takes in turn."""

    name: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """Specification and settings of each combination by run id, in the order of the axes.

    The bot refuses `refused` more combinations, the first for this `reason`.
    """

    specs: Mapping[str, tuple[BacktestSpec, Settings]]
    refused: int
    reason: str


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of one combination. Figures are those of its daily returns; None if undefined."""

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


@dataclass(frozen=True, slots=True)
class Sweep:
    """All results, the highest Sharpe ratio first, those without one last; `sweep_hash` covers every log.

    `deflated` is the probability that the first result's ratio is more than the luck of the best of so many. The bot
    refused `refused` combinations, the first for this `reason`.
    """

    trials: tuple[SweepResult, ...]
    sweep_hash: str
    deflated: float | None
    refused: int
    reason: str


def sweep(
    base: BacktestSpec,
    axes: Sequence[Axis],
    new_executor: NewExecutor,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Sweep:
    """Run `base` with every combination of the axes' values. `progress` gets the number done and the total.

    Results in `folder` are not run again; new ones are added there. The outcome does not depend on the number of workers,
    nor on workers that were killed. Raises BadBacktest before anything runs, and WorkersLost.
    """
    variants = variants_of(base, axes, market_of(base))
    specs = variants.specs
    known = {run_id: result for run_id, result in _stored(folder) if run_id in specs}
    done = dict(known)
    progress(len(done), len(specs))

    def keep(run_id: str, result: BacktestResult) -> None:
        done[run_id] = sweep_result(result, specs[run_id][1])
        _store(folder, done[run_id])
        progress(len(done), len(specs))

    waiting = {run_id: (spec,) for run_id, (spec, _) in specs.items() if run_id not in known}
    if waiting:
        run_all(run_backtest, waiting, new_executor, keep, "backtests")
    results = [done[run_id] for run_id in specs]
    ranked = sorted(results, key=lambda one: (one.sharpe is None, -(one.sharpe or 0), one.run_id))
    logs = sorted((one.run_id, one.log_hash) for one in results)
    digest = hashlib.sha256(canonical_json(logs).encode()).hexdigest()
    return Sweep(tuple(ranked), digest, _deflated(ranked), variants.refused, variants.reason)


def _deflated(ranked: Sequence[SweepResult]) -> float | None:
    """The deflated Sharpe ratio of the best result among all that have a ratio."""
    tracks = [track for track in map(_track, ranked) if track is not None]
    return deflated_sharpe(tracks[0], [track.sharpe for track in tracks]) if tracks else None


def _track(result: SweepResult) -> Track | None:
    """The result's daily Sharpe ratio and moments; None if one is undefined."""
    if result.sharpe is None or result.skewness is None or result.kurtosis is None:
        return None
    daily = result.sharpe / result.periods_per_year.sqrt()
    return Track(float(daily), result.days, float(result.skewness), float(result.kurtosis))


def sweep_result(result: BacktestResult, settings: Settings) -> SweepResult:
    """Return the figures of a backtest with these settings that a sweep compares."""
    figures = result.performance
    return SweepResult(
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


# --- combinations -----------------------------------------------------------------------------------------------------


def axis_of(text: str) -> Axis:
    """Parse "name=a,b,c" or "name=from..to/step". Raises BadBacktest.

    Values are numbers, true, false, or else words; a range includes its end if a step falls on it.
    """
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise BadBacktest(f"{text[:60]!r} is not a setting with values: write length=7,14,21 or length=5..50/5")
    parts = [part.strip() for part in values.split(",")]
    return Axis(name.strip(), tuple(value for part in parts for value in _values(part, text)))


def _values(part: str, text: str) -> Iterator[object]:
    first, dots, rest = part.partition("..")
    if not dots:
        yield _value(part)
        return
    last, _, step = rest.partition("/")
    try:
        low, high, by = Decimal(first), Decimal(last), Decimal(step or 1)
        steps = int((high - low) / by)
    except (InvalidOperation, ZeroDivisionError, OverflowError):
        raise BadBacktest(f"{text[:60]!r} is not a range: write length=5..50/5") from None
    if by <= 0 or not 0 <= steps < MOST:
        raise BadBacktest(f"the range in {text[:60]!r} must rise, in at most {MOST} steps")
    for number in range(steps + 1):
        yield _value(decimal_text(low + number * by))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def variants_of(base: BacktestSpec, axes: Sequence[Axis], market: Market) -> Variants:
    """Return every combination. Raises BadBacktest for unknown axes, too many combinations, or if all are refused."""
    size = prod(len(axis.values) for axis in axes)
    if size > MOST:
        raise BadBacktest(f"{size} combinations (limit: {MOST}): take fewer values")
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise BadBacktest("a setting is varied twice: name each once")
    specs: dict[str, tuple[BacktestSpec, Settings]] = {}
    reasons: list[str] = []
    for values in product(*(axis.values for axis in axes)):
        settings = tuple(zip(names, values, strict=True))
        spec = varied(base, settings)
        try:
            specs.setdefault(run_id_of(spec, market), (spec, settings))
        except RefusedParameters as error:
            reasons.append(str(error))
    if not specs:
        raise BadBacktest(reasons[0] if reasons else "nothing is varied: name a setting and its values")
    return Variants(specs, len(reasons), next(iter(reasons), ""))


def varied(base: BacktestSpec, settings: Settings) -> BacktestSpec:
    """Return the specification with these settings. Raises BadBacktest if a setting does not apply to it."""
    parameters = {name: value for name, value in settings if not name.startswith(LIMIT)}
    limits = {name.removeprefix(LIMIT): value for name, value in settings if name.startswith(LIMIT)}
    if parameters and len(base.bots) != 1:
        name = next(iter(parameters))
        raise BadBacktest(f"{name} could be a setting of any of {len(base.bots)} bots: sweep one bot at a time")
    bots = base.bots
    if parameters:
        before: dict[str, Any] = json.loads(bots[0].parameters)
        bots = (replace(bots[0], parameters=canonical_json(before | parameters)),)
    try:
        new_limits = {name: Decimal(str(value)) for name, value in limits.items()}
    except InvalidOperation:
        raise BadBacktest(f"limits are numbers: {next(iter(limits))} has another value") from None
    return replace(base, bots=bots, limits=tuple(sorted((dict(base.limits) | new_limits).items())))


# --- stored results ---------------------------------------------------------------------------------------------------


def _stored(folder: Path | None) -> Iterator[tuple[str, SweepResult]]:
    """The results in the folder by run id. A truncated last line is skipped, so that its run is repeated."""
    path = None if folder is None else folder / RESULTS
    if path is None or not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            result = _result_from(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        yield result.run_id, result


def _store(folder: Path | None, result: SweepResult) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS
    # A truncated line must not swallow the next one.
    broken = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write(("\n" if broken else "") + canonical_json(result_as_json(result)) + "\n")


def result_as_json(result: SweepResult) -> dict[str, object]:
    """Return the result as JSON values: figures as text, None if undefined."""
    figures: dict[str, Decimal | None] = {name: getattr(result, name) for name in _FIGURES}
    return {
        "run_id": result.run_id,
        "settings": [list(one) for one in result.settings],
        "log_hash": result.log_hash,
        "trades": result.trades,
        "days": result.days,
        "failures": list(result.failures),
        **{name: None if figure is None else str(figure) for name, figure in figures.items()},
    }


def _result_from(found: Mapping[str, Any]) -> SweepResult:
    """Parse the object that `result_as_json` returned. Raises ValueError, KeyError or TypeError for anything else."""
    figures: dict[str, Any] = {name: None if found[name] is None else _decimal(found[name]) for name in _FIGURES}
    return SweepResult(
        run_id=str(found["run_id"]),
        settings=tuple((name, value) for name, value in found["settings"]),
        log_hash=str(found["log_hash"]),
        trades=int(found["trades"]),
        days=int(found["days"]),
        failures=tuple(found["failures"]),
        **figures,
    )


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is not a number") from None
