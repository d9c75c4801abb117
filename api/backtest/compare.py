"""Comparison of backtests, read from their result files."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from api.backtest.report import percent, rounded
from api.backtest.run import BadBacktest

MONEY: Final = ("equity", "profit")
SHARES: Final = ("time_weighted_return", "cagr", "max_drawdown", "exposure_average")
RATIOS: Final = ("sharpe", "sortino", "calmar", "turnover")
COUNTS: Final = ("signals", "orders", "trades")

Result = Mapping[str, Any]


def read_results(paths: Sequence[Path]) -> list[tuple[str, Result]]:
    """Read each result, named by its file or folder. Raises BadBacktest for a missing or invalid one."""
    return [(str(path), _read(path)) for path in paths]


def print_comparison(found: Sequence[tuple[str, Result]]) -> None:
    """Print one column for each result, and a warning if they have different candles."""
    console = Console(highlight=False, soft_wrap=True)
    console.print("SIMULATED: backtests on recorded candles")
    table = Table("figure", *(name for name, _ in found))
    for figure in (*MONEY, *SHARES, *RATIOS):
        show = percent if figure in SHARES else rounded
        table.add_row(figure, *(show(_decimal(one["performance"][figure])) for _, one in found))
    for count in COUNTS:
        table.add_row(count, *(str(one[count]) for _, one in found))
    table.add_row("buy and hold", *(percent(_decimal(one["buy_and_hold"]["time_weighted_return"])) for _, one in found))
    table.add_row("run", *(str(one["run_id"])[:12] for _, one in found))
    console.print(table)
    if len({(one["data_hash"], one["began_at"], one["ended_at"]) for _, one in found}) > 1:
        console.print("warning: these results have different candles or times and are hardly comparable")


def comparison_json(found: Sequence[tuple[str, Result]]) -> str:
    """Return the results as one JSON object by name."""
    return json.dumps(dict(found), ensure_ascii=False, indent=2)


def _read(path: Path) -> Result:
    file = path / "result.json" if path.is_dir() else path
    try:
        result = json.loads(file.read_text())
    except OSError as error:
        raise BadBacktest(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        result = None
    if not _is_result(result):
        raise BadBacktest(f"{file} is not the result of a backtest: create one with backtest run --out or --json")
    return dict(result)


def _is_result(found: Any) -> bool:
    try:
        for figure in (*MONEY, *SHARES, *RATIOS):
            _decimal(found["performance"][figure])
        _decimal(found["buy_and_hold"]["time_weighted_return"])
        return all(name in found for name in (*COUNTS, "run_id", "data_hash", "began_at", "ended_at"))
    except (KeyError, TypeError, InvalidOperation):
        return False


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
