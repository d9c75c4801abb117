"""What a sweep or a walk-forward came to, for people and for programs. Everything says SIMULATED."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.backtest.report import percent, plain, rounded
from api.backtest.sweep_axes import Settings
from api.backtest.sweeping import Sweep
from api.backtest.trials import Trial, trial_json
from api.backtest.walking_forward import WalkForward

LABEL: Final = "SIMULATED: backtests on recorded candles"


@contextmanager
def progress_shown(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while the context is open, where a terminal is there; it hears how many of how many are done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, wanted: bar.update(task, completed=done, total=wanted)


def print_sweep(found: Sweep, top: int) -> None:
    """The best `top` trials as a table on standard output, and what their number says of the best."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(LABEL)
    table = Table("settings", "return", "Sharpe", "worst drawdown", "trades", "run")
    for trial in found.trials[:top]:
        table.add_row(_said(trial.settings), *_figures(trial), trial.run_id[:12])
    console.print(table)
    hidden = len(found.trials) - top
    if hidden > 0:
        console.print(f"and {hidden} more")
    if found.refused:
        console.print(f"{found.refused} combinations were left out, the bot refuses them: {found.reason}")
    for trial in found.trials:
        for failure in trial.failures:
            console.print(f"failed with {_said(trial.settings)}: {failure}")
    console.print(f"deflated Sharpe of the best: {_deflated(found)}")
    console.print(f"sweep {found.sweep_hash}")


def sweep_json(found: Sweep) -> str:
    """The sweep as one JSON object; figures are text, with every digit."""
    said = {
        "label": LABEL,
        "sweep_hash": found.sweep_hash,
        "deflated_sharpe": None if found.deflated is None else f"{found.deflated:.6f}",
        "refused": found.refused,
        "trials": [trial_json(trial) for trial in found.trials],
    }
    return json.dumps(said, ensure_ascii=False, indent=2)


def print_walk(found: WalkForward) -> None:
    """The stretches as a table on standard output, and what their tests came to together."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(LABEL)
    table = Table("tested from", "to", "chosen", "trained Sharpe", "return", "Sharpe", "holding")
    for one in found.stretches:
        chosen = ("nothing", "-") if one.chosen is None else (_said(one.chosen.settings), rounded(one.chosen.sharpe))
        tested = ("-", "-") if one.tested is None else (percent(one.tested.total_return), rounded(one.tested.sharpe))
        table.add_row(
            f"{one.tested_from:%Y-%m-%d}", f"{one.tested_to:%Y-%m-%d}", *chosen, *tested, percent(one.buy_and_hold)
        )
    console.print(table)
    console.print(
        f"all tests in a row: {percent(found.total_return)}, buy and hold {percent(found.buy_and_hold)};"
        f" {found.trials} trials were made to choose"
    )


def walk_json(found: WalkForward) -> str:
    """The walk-forward as one JSON object; figures and times are text."""
    stretches = [
        {
            "trained_from": one.trained_from,
            "trained_to": one.trained_to,
            "tested_from": one.tested_from,
            "tested_to": one.tested_to,
            "chosen": one.chosen and trial_json(one.chosen),
            "tested": one.tested and trial_json(one.tested),
            "buy_and_hold": one.buy_and_hold,
        }
        for one in found.stretches
    ]
    totals = {"total_return": found.total_return, "buy_and_hold": found.buy_and_hold, "trials": found.trials}
    return json.dumps(plain({"label": LABEL, **totals, "stretches": stretches}), ensure_ascii=False, indent=2)


def _figures(trial: Trial) -> tuple[str, str, str, str]:
    return percent(trial.total_return), rounded(trial.sharpe), percent(trial.max_drawdown), str(trial.trades)


def _said(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings)


def _deflated(found: Sweep) -> str:
    if found.deflated is None:
        return "none (no trial has a Sharpe ratio)"
    return f"{found.deflated * 100:.1f} % likely to be more than the luck of {len(found.trials)} trials"
