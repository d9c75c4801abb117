"""Chart of a backtest's equity curve, and a page with chart and figures. Needs matplotlib, from the extra `charts`."""

import io
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from api.backtest.report import closes_of, figure_rows
from api.backtest.run import BacktestResult, Simulation, buy_and_hold_of
from api.runtime.output_files import draft_of, whole_file
from ledger.errors import DaybookError
from ledger.values import time_text


class NoCharts(DaybookError):
    """A chart cannot be drawn."""


def write_png(path: Path, simulation: Simulation, result: BacktestResult) -> None:
    """Write a chart of the daily equity of the bots and of buy and hold. Raises NoCharts and BadTarget."""
    with draft_of(path) as draft:
        draft.write_bytes(_picture(simulation, result, "png"))


def write_html(path: Path, simulation: Simulation, result: BacktestResult) -> None:
    """Write a self-contained page with chart, figures, assumptions and hashes. Raises NoCharts and BadTarget."""
    svg = _picture(simulation, result, "svg").decode()
    rows = "".join(f"<tr>{''.join(f'<td>{escape(one)}</td>' for one in row)}</tr>" for row in figure_rows(result))
    notes = "".join(f"<li>{escape(one)}</li>" for one in (*result.assumptions, *result.performance.notes))
    span = f"{time_text(result.began_at)} to {time_text(result.ended_at)}"
    with whole_file(path) as file:
        file.write(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(result.label)}</title>'
            "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
            "td{padding:.2em 1em .2em 0}svg{width:100%;height:auto}code{overflow-wrap:anywhere}</style>"
            f"<h1>{escape(result.label)}</h1><p>{escape(result.instrument)} {escape(result.timeframe)}, {span}</p>"
            f"{svg[svg.index('<svg') :]}<table><tr><th></th><th>bots</th><th>buy and hold</th></tr>{rows}</table>"
            f"<h2>Assumptions</h2><ul>{notes}</ul>"
            f"<p>run <code>{result.run_id}</code><br>log <code>{result.log_hash}</code></p></html>\n"
        )


def check_drawing() -> None:
    """Check that charts can be drawn. Raises NoCharts."""
    if find_spec("matplotlib") is None:
        raise NoCharts("drawing needs matplotlib: run make extras, or pip install 'daybook[charts]'")


def _picture(simulation: Simulation, result: BacktestResult, kind: Literal["png", "svg"]) -> bytes:
    """The chart as a file. Equal results give equal files, without date or software."""
    check_drawing()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": result.run_id, "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 5), layout="constrained")
        axes = figure.subplots()
        for name, one in (("bots", simulation), ("buy and hold", buy_and_hold_of(simulation))):
            days = [
                (np.datetime64(close.day), float(close.equity)) for close in closes_of(one) if close.equity is not None
            ]
            axes.plot([day for day, _ in days], [equity for _, equity in days], label=name)
        axes.set_title(f"{result.label}: {result.instrument} {result.timeframe}")
        axes.set_ylabel(f"equity, {result.performance.base_currency}")
        axes.grid(alpha=0.3)
        axes.legend()
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=150, metadata={"Software" if kind == "png" else "Date": None})
    return file.getvalue()
