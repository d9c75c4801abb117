"""`daybook lots`: lots and gains of a file of trades or of a stored portfolio."""

import sys
from pathlib import Path

import rich_click as click

from api.cli.options import DAYS, METHODS, asset, at_any_time
from api.runtime.settings import load_settings
from ledger.log.point_in_time import PointInTime


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--portfolio", metavar="NAME", help="The lots of this stored portfolio instead of a file.")
@click.option(
    "--base", default="USD", show_default=True, callback=asset, help="What a bare symbol such as AAPL is quoted in."
)
@click.option(
    "--method", type=METHODS, default="fifo", show_default=True, help="Which lot a sale closes first; FIFO is the book."
)
@click.option(
    "--specific", type=click.Path(path_type=Path), help="A JSON file that names lots for sales; the rest is FIFO."
)
@click.option("--holding-period", type=DAYS, metavar="DAYS", help="Tell for each match whether it was held longer.")
@at_any_time
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
    """Lots and gains of a CSV or JSON file of trades, ours or an exchange's, which needs no database, or of a portfolio.

    Exit codes: 0 done, 1 rows that could not be read (each is named) or a file that cannot be used, 2 usage.

    Example: daybook lots trades.csv --method hifo --json
    """
    from api.cli.lots_printing import print_lots, print_portfolio_lots, read_names
    from ledger.reports.lot_methods import Method
    from ledger.reports.lots import View

    if (file is None) == (portfolio is None):
        raise click.UsageError("Name a file of trades or --portfolio, one of the two.")
    if file is not None and past:
        raise click.UsageError("--as-of and --known-at look into a stored portfolio: a file has no past.")
    if specific and method != "fifo":
        raise click.UsageError("--specific names the lots itself: leave --method out.")
    names = read_names(specific) if specific else None
    view = View(Method.SPECIFIC if specific else Method(method), names, holding_period)
    if file is not None:
        sys.exit(print_lots(file, base, view, as_json=as_json))
    sys.exit(print_portfolio_lots(load_settings(), str(portfolio), past, view, as_json=as_json))
