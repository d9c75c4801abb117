"""Reports of backtests, sweeps and walk-forward runs as tables, JSON and files. All are labelled SIMULATED."""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from api.backtest.run import BacktestResult, Simulation
from api.backtest.sweep import Settings, Sweep, SweepResult, result_as_json
from api.backtest.walk_forward import WalkForward
from api.runtime.output_files import BadTarget, whole_file
from ledger.exports.events import event_line
from ledger.exports.lots import lot_lines
from ledger.exports.trades import trade_lines
from ledger.reports.equity import equity_history
from ledger.reports.metrics import Close
from ledger.values import decimal_text, time_text

LABEL: Final = "SIMULATED: backtests on recorded candles"
PLACES: Final = Decimal("0.01")
SHARES: Final = (
    ("time_weighted_return", "return"),
    ("cagr", "CAGR"),
    ("volatility", "volatility"),
    ("max_drawdown", "worst drawdown"),
    ("exposure_average", "mean exposure"),
)
RATIOS: Final = (("sharpe", "Sharpe"), ("sortino", "Sortino"), ("calmar", "Calmar"), ("turnover", "turnover"))


def print_result(result: BacktestResult) -> None:
    """Print the result as a table with rounded figures; `result_json` has every digit."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(result.label)
    console.print(
        f"{result.instrument} {result.timeframe}, {result.bars} bars from {time_text(result.began_at)}"
        f" to {time_text(result.ended_at)}"
    )
    table = Table("figure", "bots", "buy and hold")
    for name, bots, held in figure_rows(result):
        table.add_row(name, bots, held)
    console.print(table)
    counts = f"{result.signals} signals, {result.orders} orders, {result.trades} trades"
    console.print(f"{counts}, {result.events} events in the log")
    for failure in result.failures:
        console.print(f"failed: {failure}")
    for sentence in (*result.assumptions, *result.performance.notes):
        console.print(f"- {sentence}")
    console.print(f"run {result.run_id}\nlog {result.log_hash}")


def figure_rows(result: BacktestResult) -> Iterator[tuple[str, str, str]]:
    """Yield name, figure of the bots and figure of buy and hold; rounded, a dash if undefined."""
    bots, held = result.performance, result.buy_and_hold
    yield (f"equity, {bots.base_currency}", rounded(bots.equity), rounded(held.equity))
    yield (f"profit, {bots.base_currency}", rounded(bots.profit), rounded(held.profit))
    for name, title in SHARES:
        yield (title, percent(getattr(bots, name)), percent(getattr(held, name)))
    for name, title in RATIOS:
        yield (title, rounded(getattr(bots, name)), rounded(getattr(held, name)))
    yield ("round trips closed", str(bots.closed_lots.count), str(held.closed_lots.count))
    yield ("of them won", percent(bots.closed_lots.win_rate), percent(held.closed_lots.win_rate))
    yield ("profit factor", rounded(bots.closed_lots.profit_factor), rounded(held.closed_lots.profit_factor))


def result_json(result: BacktestResult) -> str:
    """Return the result as one JSON object; decimals and times are text."""
    return json.dumps(plain(asdict(result)), ensure_ascii=False, indent=2)


def write_files(folder: Path, simulation: Simulation, result: BacktestResult) -> list[Path]:
    """Write result.json, events.jsonl (like `daybook export events`), trades.csv, lots.csv and equity.csv.

    Creates the folder if it is missing. Raises BadTarget.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadTarget(f"the folder {folder} cannot be created: {error.strerror}") from None
    log = list(simulation.book.log.read(simulation.plan.portfolio_id))
    lines = {
        "trades.csv": trade_lines(log, result.performance.base_currency),
        "lots.csv": lot_lines(simulation.rows),
        "equity.csv": _equity_lines(simulation),
    }
    for name, rows in lines.items():
        with whole_file(folder / name) as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    with whole_file(folder / "events.jsonl") as file:
        file.writelines(f"{event_line(envelope)}\n" for envelope in log)
    with whole_file(folder / "result.json") as file:
        file.write(result_json(result) + "\n")
    return [folder / name for name in ("result.json", "events.jsonl", *lines)]


def closes_of(simulation: Simulation) -> tuple[Close, ...]:
    """Return the value of the simulated portfolio at the close of each UTC day."""
    log = simulation.book.log.read(simulation.plan.portfolio_id)
    return equity_history(simulation.rows, log, simulation.ended_at).closes


def _equity_lines(simulation: Simulation) -> Iterator[tuple[str, ...]]:
    yield ("day", "equity", "cash", "invested")
    for close in closes_of(simulation):
        numbers = (close.equity, close.cash, close.invested)
        yield (str(close.day), *("unknown" if one is None else decimal_text(one) for one in numbers))


def plain(value: object) -> object:
    """Return the value in JSON types: decimals and times as text."""
    match value:
        case dict():
            return {name: plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case Decimal():
            return decimal_text(value)
        case datetime():
            return time_text(value)
        case date() | Path():
            return str(value)
        case _:
            return value


def rounded(value: Decimal | None) -> str:
    """Format to two places, a dash if undefined."""
    return "-" if value is None else f"{value.quantize(PLACES):,}"


def percent(value: Decimal | None) -> str:
    """Format a fraction in percent to two places, a dash if undefined."""
    return "-" if value is None else f"{(value * 100).quantize(PLACES):,} %"


def print_sweep(found: Sweep, top: int) -> None:
    """Print the best `top` results as a table, and the deflated Sharpe ratio of the best."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(LABEL)
    table = Table("settings", "return", "Sharpe", "worst drawdown", "trades", "run")
    for one in found.trials[:top]:
        table.add_row(_settings_text(one.settings), *_figures(one), one.run_id[:12])
    console.print(table)
    hidden = len(found.trials) - top
    if hidden > 0:
        console.print(f"and {hidden} more")
    if found.refused:
        console.print(f"{found.refused} combinations were left out because the bot refuses them: {found.reason}")
    for one in found.trials:
        for failure in one.failures:
            console.print(f"failed with {_settings_text(one.settings)}: {failure}")
    console.print(f"deflated Sharpe of the best: {_deflated(found)}")
    console.print(f"sweep {found.sweep_hash}")


def sweep_json(found: Sweep) -> str:
    """Return the sweep as one JSON object; figures are text, with every digit."""
    report = {
        "label": LABEL,
        "sweep_hash": found.sweep_hash,
        "deflated_sharpe": None if found.deflated is None else f"{found.deflated:.6f}",
        "refused": found.refused,
        "trials": [result_as_json(one) for one in found.trials],
    }
    return json.dumps(report, ensure_ascii=False, indent=2)


def print_walk(found: WalkForward) -> None:
    """Print the folds as a table, and the total of their tests."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(LABEL)
    table = Table("tested from", "to", "chosen", "trained Sharpe", "return", "Sharpe", "holding")
    for one in found.stretches:
        chosen = (
            ("nothing", "-")
            if one.chosen is None
            else (_settings_text(one.chosen.settings), rounded(one.chosen.sharpe))
        )
        tested = ("-", "-") if one.tested is None else (percent(one.tested.total_return), rounded(one.tested.sharpe))
        table.add_row(
            f"{one.tested_from:%Y-%m-%d}", f"{one.tested_to:%Y-%m-%d}", *chosen, *tested, percent(one.buy_and_hold)
        )
    console.print(table)
    console.print(
        f"all tests in a row: {percent(found.total_return)}, buy and hold {percent(found.buy_and_hold)};"
        f" chosen from {found.trials} backtests"
    )


def walk_json(found: WalkForward) -> str:
    """Return the walk-forward run as one JSON object; figures and times are text."""
    stretches = [
        {
            "trained_from": one.trained_from,
            "trained_to": one.trained_to,
            "tested_from": one.tested_from,
            "tested_to": one.tested_to,
            "chosen": one.chosen and result_as_json(one.chosen),
            "tested": one.tested and result_as_json(one.tested),
            "buy_and_hold": one.buy_and_hold,
        }
        for one in found.stretches
    ]
    totals = {"total_return": found.total_return, "buy_and_hold": found.buy_and_hold, "trials": found.trials}
    return json.dumps(plain({"label": LABEL, **totals, "stretches": stretches}), ensure_ascii=False, indent=2)


def _figures(one: SweepResult) -> tuple[str, str, str, str]:
    return percent(one.total_return), rounded(one.sharpe), percent(one.max_drawdown), str(one.trades)


def _settings_text(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings)


def _deflated(found: Sweep) -> str:
    if found.deflated is None:
        return "none (no combination has a Sharpe ratio)"
    return f"{found.deflated * 100:.1f} % likely to be more than the luck of {len(found.trials)} trials"
