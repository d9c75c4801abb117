"""`daybook lots`: the report of a file of trades or of a portfolio as JSON or as lines for people, which cut no digit."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

import click
from pydantic import TypeAdapter, ValidationError

from api.cli.options import warn
from api.runtime.settings import Settings
from api.runtime.stored_portfolio import stored_portfolio
from ledger.imports.files import BadFile, read_trades
from ledger.log.point_in_time import Cut
from ledger.reports.lots import LotsReport, Names, Sell, Totals, View, lots_report, portfolio_lots_report
from ledger.values import Quantity

READ, UNREADABLE = 0, 1
ORDERS: Final = {
    "fifo": "first in first out",
    "lifo": "last in first out",
    "hifo": "highest cost first",
    "specific": "lots as named",
}
_NAMES: Final[TypeAdapter[dict[str, list[tuple[str, Decimal]]]]] = TypeAdapter(dict[str, list[tuple[str, Quantity]]])


def print_lots(path: Path, base: str, view: View, *, as_json: bool) -> int:
    """Prints the report of a file and, on standard error, its errors; returns the exit code. Raises BadFile, BadChoice."""
    trade_file = read_trades(path, base)
    _print(lots_report(trade_file, view), as_json=as_json)
    return UNREADABLE if trade_file.unreadable else READ


def print_portfolio_lots(settings: Settings, portfolio: str, past: Cut, view: View, *, as_json: bool) -> int:
    """The same of a stored portfolio. Raises BadChoice and what opening the portfolio raises."""
    with stored_portfolio(settings, portfolio, past) as reading:
        report = portfolio_lots_report(reading.rows, view)
    _print(report, as_json=as_json)
    return READ


def read_names(path: Path) -> Names:
    """The lots named for sales: {"sale id": [["lot id", "quantity"], ...], ...}. Raises BadFile."""
    try:
        return _NAMES.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: check the path") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" for part in found["loc"])
        form = '{"sale id": [["lot id", "quantity"]]}, with quantities as text'
        raise BadFile(f"{path} names no lots{where and f' at {where}'}: {found['msg']}: it must be {form}") from None


def _print(report: LotsReport, *, as_json: bool) -> None:
    text = json.dumps(report, ensure_ascii=False, indent=2) if as_json else "\n".join(report_lines(report))
    click.echo(text)
    for error in report["errors"]:
        named = " ".join(part for part in (error["id"], error["instrument"]) if part)
        warn(f"{named}: {error['error']}" if named else error["error"])


def report_lines(report: LotsReport) -> Iterator[str]:
    """The report, a number and its name to a line: nothing is cut or folded, however narrow the window is."""
    yield f"Sales, {ORDERS[report['method']]}"
    for sell in report["sells"]:
        yield from _sell_lines(sell)
    if not report["sells"]:
        yield "  none"
    yield ""
    yield "Open lots"
    for lot in report["open_lots"]:
        yield f"  {lot['instrument']}  {'short ' if 'short' in lot else ''}lot {lot['lot_id']}"
        yield from _figures(4, quantity=lot["quantity"], cost=lot["cost_basis"])
    if not report["open_lots"]:
        yield "  none"
    for instrument, total in report["totals"].items():
        yield ""
        yield f"Total of {instrument}"
        yield from _total_lines(total)


def _sell_lines(sell: Sell) -> Iterator[str]:
    yield f"  {sell['instrument']}  {sell.get('kind', 'sale')} {sell['id']}  {sell['time']}"
    yield from _figures(4, quantity=sell["quantity"], proceeds=sell["proceeds"], cost=sell["cost_basis"])
    yield from _figures(4, realised=sell["realized_pnl"])
    for match in sell["matches"]:
        yield f"    from lot {match['lot_id']}"
        yield from _figures(6, quantity=match["quantity"], proceeds=match["proceeds"], cost=match["cost_basis"])
        yield from _figures(6, realised=match["realized_pnl"])
        if "term" in match:
            yield f"      {'term':<15}{match['term']:>30}"
    if "unknown_cost_quantity" in sell:
        yield "    at a cost that is not known"
        yield from _figures(6, quantity=sell["unknown_cost_quantity"], proceeds=sell["unknown_cost_proceeds"])
    if "unmatched_quantity" in sell:
        yield "    from no lot"
        yield from _figures(6, quantity=sell["unmatched_quantity"], proceeds=sell["unmatched_proceeds"])


def _total_lines(total: Totals) -> Iterator[str]:
    yield from _figures(2, realised=total["realized_pnl"], fees=total["fees"])
    yield from _figures(2, open_quantity=total["open_quantity"], open_cost=total["open_cost_basis"])
    if "unknown_cost_quantity" in total:
        yield from _figures(2, cost_unknown=total["unknown_cost_quantity"])


def _figures(indent: int, **numbers: str) -> Iterator[str]:
    for name, number in numbers.items():
        yield f"{' ' * indent}{name.replace('_', ' '):<15}{number:>30}"
