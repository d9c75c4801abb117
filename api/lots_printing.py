"""`daybook lots FILE`: the report of a file of trades as JSON or as tables."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ledger.files import read_trades
from ledger.lots_report import LotsReport, lots_report

READ, UNREADABLE = 0, 1


def print_lots(path: Path, base: str, *, as_json: bool) -> int:
    """Prints the report and, on standard error, a sentence for each error; returns the exit code. Raises BadFile."""
    trade_file = read_trades(path, base)
    report = lots_report(trade_file)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print_tables(report)
    for error in report["errors"]:
        click.echo(f"daybook: {error['id'] or '?'} {error['instrument']}: {error['error']}", err=True)
    return UNREADABLE if trade_file.unreadable else READ


def _print_tables(report: LotsReport) -> None:
    console = Console()
    sells = _table("Sales, first in first out", "id", "instrument", "time", "quantity", "proceeds", "cost", "realised")
    for sell in report["sells"]:
        sells.add_row(
            sell["id"],
            sell["instrument"],
            sell["time"],
            sell["quantity"],
            sell["proceeds"],
            sell["cost_basis"],
            sell["realized_pnl"],
        )
        for match in sell["matches"]:
            lot = f"  lot {match['lot_id']}"
            sells.add_row(lot, "", "", match["quantity"], match["proceeds"], match["cost_basis"], match["realized_pnl"])
    lots = _table("Open lots", "lot", "instrument", "quantity", "cost")
    for lot_line in report["open_lots"]:
        lots.add_row(lot_line["lot_id"], lot_line["instrument"], lot_line["quantity"], lot_line["cost_basis"])
    totals = _table("Totals", "instrument", "realised", "open quantity", "open cost", "fees")
    for instrument, total in report["totals"].items():
        totals.add_row(
            instrument, total["realized_pnl"], total["open_quantity"], total["open_cost_basis"], total["fees"]
        )
    for table in (sells, lots, totals):
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
