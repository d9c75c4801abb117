"""`daybook lots`: lots and gains of a file of trades or of a stored portfolio, as JSON or as lines in which no digit is cut."""

import json
import sys
from collections.abc import Container, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import rich_click as click
from pydantic import TypeAdapter, ValidationError

from api.cli.options import AS_JSON, DAYS, METHODS, asset, at_any_time, warn
from api.runtime.portfolios import stored_portfolio
from api.runtime.settings import Settings, load_settings
from ledger.imports.files import BadFile
from ledger.imports.trade_file import read_trades
from ledger.log.point_in_time import PointInTime
from ledger.reports.lot_methods import Method
from ledger.reports.lots import LotSale, LotsReport, LotTotals, Names, View, lots_report, portfolio_lots_report
from ledger.values import Quantity, decimal_text, time_text

READ, UNREADABLE = 0, 1
UNKNOWN: Final = "unknown"
ORDERS: Final = {
    "fifo": "first in first out",
    "lifo": "last in first out",
    "hifo": "highest cost first",
    "specific": "lots as named",
}
_NAMES: Final[TypeAdapter[dict[str, list[tuple[str, Decimal]]]]] = TypeAdapter(dict[str, list[tuple[str, Quantity]]])


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--portfolio", metavar="NAME", help="A stored portfolio instead of a file.")
@click.option(
    "--base", default="USD", show_default=True, callback=asset, help="Quote currency of bare symbols such as AAPL."
)
@click.option(
    "--method",
    type=METHODS,
    default="fifo",
    show_default=True,
    help="Which lot a sale closes first; the ledger uses FIFO.",
)
@click.option(
    "--specific", type=click.Path(path_type=Path), help="A JSON file that assigns lots to sales; the rest is FIFO."
)
@click.option("--holding-period", type=DAYS, metavar="DAYS", help="Mark each match as short-term or long-term.")
@at_any_time
@AS_JSON
def lots(
    file: Path | None,
    portfolio: str | None,
    past: PointInTime,
    base: str,
    method: str,
    specific: Path | None,
    holding_period: int | None,
    as_json: bool,
) -> None:
    """Lots and gains of a stored portfolio, or of a CSV or JSON file of trades, Daybook's or an exchange's.

    A file needs no database. Exit codes: 0 done, 1 unreadable rows (each is listed) or an unusable file, 2 usage.

    Example: daybook lots trades.csv --method hifo --json
    """
    if (file is None) == (portfolio is None):
        raise click.UsageError("Give either a file of trades or --portfolio.")
    if file is not None and past:
        raise click.UsageError("--as-of and --known-at need --portfolio: a file has no history.")
    if specific and method != "fifo":
        raise click.UsageError("--specific cannot be combined with --method.")
    names = read_names(specific) if specific else None
    view = View(Method.SPECIFIC if specific else Method(method), names, holding_period)
    if file is not None:
        sys.exit(print_lots(file, base, view, as_json=as_json))
    sys.exit(print_portfolio_lots(load_settings(), str(portfolio), past, view, as_json=as_json))


def print_lots(path: Path, base: str, view: View, *, as_json: bool) -> int:
    """Print the report of a file, its errors on standard error; return the exit code. Raises BadFile and BadChoice."""
    trade_file = read_trades(path, base)
    _print(lots_report(trade_file, view), as_json=as_json)
    return UNREADABLE if trade_file.unreadable else READ


def print_portfolio_lots(settings: Settings, portfolio: str, past: PointInTime, view: View, *, as_json: bool) -> int:
    """Print the report of a stored portfolio; return the exit code. Raises BadChoice, BadSettings and ViewsBehind."""
    with stored_portfolio(settings, portfolio, past) as reading:
        report = portfolio_lots_report(reading.rows, view)
    _print(report, as_json=as_json)
    return READ


def read_names(path: Path) -> Names:
    """Read lots assigned to sales: {"sale id": [["lot id", "quantity"], ...], ...}. Raises BadFile."""
    try:
        return _NAMES.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: check the path") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" for part in found["loc"])
        form = '{"sale id": [["lot id", "quantity"]]}, with quantities as text'
        raise BadFile(f"{path} assigns no lots{where and f' at {where}'}: {found['msg']}: it must be {form}") from None


def _print(report: LotsReport, *, as_json: bool) -> None:
    text = json.dumps(report_json(report), ensure_ascii=False, indent=2) if as_json else "\n".join(report_lines(report))
    click.echo(text)
    for error in report.errors:
        named = " ".join(part for part in (error["id"], error["instrument"]) if part)
        warn(f"{named}: {error['error']}" if named else error["error"])


def report_json(report: LotsReport) -> dict[str, object]:
    """The report as JSON values: decimals and times as text, an unknown cost as "unknown", fields at their default omitted.

    With a holding period every match has a term, "unknown" where it cannot be determined.
    """
    kept = {"term"} if report.holding_period is not None else set()
    parts = ("sells", "open_lots", "totals", "errors")
    return {"method": report.method.value, **{name: _json_value(getattr(report, name), kept) for name in parts}}


def _json_value(value: object, kept: Container[str]) -> object:
    """The JSON form of one value; fields named in `kept` appear even at their default."""
    match value:
        case None:
            return UNKNOWN
        case Decimal():
            return decimal_text(value)
        case datetime():
            return time_text(value)
        case tuple():
            return [_json_value(one, kept) for one in value]
        case Mapping():
            return {name: _json_value(one, kept) for name, one in value.items()}
    if not is_dataclass(value):
        return value
    stated = ((field, getattr(value, field.name)) for field in fields(value))
    return {
        field.name: _json_value(found, kept) for field, found in stated if found != field.default or field.name in kept
    }


def report_lines(report: LotsReport) -> Iterator[str]:
    """Yield the report, one figure to a line, uncut and unwrapped however narrow the terminal."""
    yield f"Sales, {ORDERS[report.method]}"
    for sale in report.sells:
        yield from _sale_lines(sale, terms=report.holding_period is not None)
    if not report.sells:
        yield "  none"
    yield ""
    yield "Open lots"
    for lot in report.open_lots:
        yield f"  {lot.instrument}  {'short ' if lot.short else ''}lot {lot.lot_id}"
        yield from _figures(4, quantity=lot.quantity, cost=lot.cost_basis)
    if not report.open_lots:
        yield "  none"
    for instrument, total in report.totals.items():
        yield ""
        yield f"Total of {instrument}"
        yield from _total_lines(total)


def _sale_lines(sale: LotSale, *, terms: bool) -> Iterator[str]:
    yield f"  {sale.instrument}  {'sale' if sale.kind == 'trade' else sale.kind} {sale.id}  {time_text(sale.time)}"
    yield from _figures(4, quantity=sale.quantity, proceeds=sale.proceeds, cost=sale.cost_basis)
    yield from _figures(4, realised=sale.realized_pnl)
    for match in sale.matches:
        yield f"    from lot {match.lot_id}"
        yield from _figures(6, quantity=match.quantity, proceeds=match.proceeds, cost=match.cost_basis)
        yield from _figures(6, realised=match.realized_pnl)
        if terms:
            yield f"      {'term':<15}{match.term or UNKNOWN:>30}"
    if sale.unknown_cost_quantity is not None:
        yield "    at an unknown cost"
        yield from _figures(6, quantity=sale.unknown_cost_quantity, proceeds=sale.unknown_cost_proceeds)
    if sale.unmatched_quantity is not None:
        yield "    without a lot"
        yield from _figures(6, quantity=sale.unmatched_quantity, proceeds=sale.unmatched_proceeds)


def _total_lines(total: LotTotals) -> Iterator[str]:
    yield from _figures(2, realised=total.realized_pnl, fees=total.fees)
    yield from _figures(2, open_quantity=total.open_quantity, open_cost=total.open_cost_basis)
    if total.unknown_cost_quantity is not None:
        yield from _figures(2, cost_unknown=total.unknown_cost_quantity)


def _figures(indent: int, **numbers: Decimal | None) -> Iterator[str]:
    for name, number in numbers.items():
        text = UNKNOWN if number is None else decimal_text(number)
        yield f"{' ' * indent}{name.replace('_', ' '):<15}{text:>30}"
