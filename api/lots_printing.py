"""`daybook lots FILE`: the report of a file of trades as JSON or as lines for people, which cut no digit anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from ledger.files import read_trades
from ledger.lots_report import LotsReport, Sell, Totals, lots_report

READ, UNREADABLE = 0, 1


def print_lots(path: Path, base: str, *, as_json: bool) -> int:
    """Prints the report and, on standard error, a sentence for each error; returns the exit code. Raises BadFile."""
    trade_file = read_trades(path, base)
    report = lots_report(trade_file)
    text = json.dumps(report, ensure_ascii=False, indent=2) if as_json else "\n".join(report_lines(report))
    click.echo(text)
    for error in report["errors"]:
        named = " ".join(part for part in (error["id"], error["instrument"]) if part)
        click.echo(f"daybook: {named}: {error['error']}" if named else f"daybook: {error['error']}", err=True)
    return UNREADABLE if trade_file.unreadable else READ


def report_lines(report: LotsReport) -> Iterator[str]:
    """The report, a number and its name to a line: nothing is cut or folded, however narrow the window is."""
    yield "Sales, first in first out"
    for sell in report["sells"]:
        yield from _sell_lines(sell)
    if not report["sells"]:
        yield "  none"
    yield ""
    yield "Open lots"
    for lot in report["open_lots"]:
        yield f"  {lot['instrument']}  lot {lot['lot_id']}"
        yield from _figures(4, quantity=lot["quantity"], cost=lot["cost_basis"])
    if not report["open_lots"]:
        yield "  none"
    for instrument, total in report["totals"].items():
        yield ""
        yield f"Total of {instrument}"
        yield from _total_lines(total)


def _sell_lines(sell: Sell) -> Iterator[str]:
    yield f"  {sell['instrument']}  sale {sell['id']}  {sell['time']}"
    yield from _figures(4, quantity=sell["quantity"], proceeds=sell["proceeds"], cost=sell["cost_basis"])
    yield from _figures(4, realised=sell["realized_pnl"])
    for match in sell["matches"]:
        yield f"    from lot {match['lot_id']}"
        yield from _figures(6, quantity=match["quantity"], proceeds=match["proceeds"], cost=match["cost_basis"])
        yield from _figures(6, realised=match["realized_pnl"])
    if "unmatched_quantity" in sell:
        yield "    from no lot"
        yield from _figures(6, quantity=sell["unmatched_quantity"], proceeds=sell["unmatched_proceeds"])


def _total_lines(total: Totals) -> Iterator[str]:
    yield from _figures(2, realised=total["realized_pnl"], fees=total["fees"])
    yield from _figures(2, open_quantity=total["open_quantity"], open_cost=total["open_cost_basis"])


def _figures(indent: int, **numbers: str) -> Iterator[str]:
    for name, number in numbers.items():
        yield f"{' ' * indent}{name.replace('_', ' '):<15}{number:>30}"
