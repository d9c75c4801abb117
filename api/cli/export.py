"""`daybook export`: what the ledger holds, as files."""

from pathlib import Path

import rich_click as click

from api.cli.options import DAYS, IN_PORTFOLIO, METHODS, at_any_time, month_and_day, one_sentence
from api.runtime.settings import load_settings
from ledger.log.point_in_time import PointInTime


@click.group()
def export() -> None:
    """Write what the ledger holds to a file.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl
    """


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--portfolio", metavar="NAME", help="Only this portfolio (its name or id).")
@one_sentence
def events(file: Path, portfolio: str | None) -> None:
    """Write the log as JSON lines, one event a line, for docs/verify_log.py and for safe keeping.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl && python3 docs/verify_log.py log.jsonl
    """
    from api.runtime.proofs import write_events_file

    click.echo(write_events_file(load_settings(), file, portfolio))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@one_sentence
def trades(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write the trades as a CSV file that daybook lots can read. Reversed trades are left out.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export trades trades.csv --portfolio NAME
    """
    from api.runtime.exporting import write_trades

    click.echo(write_trades(load_settings(), file, portfolio, past))


@export.command(name="lots")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@one_sentence
def export_lots(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write all lots, open and closed, as CSV.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export lots lots.csv --portfolio NAME
    """
    from api.runtime.exporting import write_lots

    click.echo(write_lots(load_settings(), file, portfolio, past))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@click.option("--year", type=click.IntRange(1, 9998), help="Only gains realised in this tax year.")
@click.option(
    "--year-start",
    default="01-01",
    show_default=True,
    metavar="MM-DD",
    callback=month_and_day,
    help="Its first day, in UTC.",
)
@click.option("--method", type=METHODS, default="fifo", show_default=True, help="Which lot a sale closes first.")
@click.option(
    "--holding-period", type=DAYS, default=365, show_default=True, metavar="DAYS", help="Held longer is long."
)
@one_sentence
def gains(
    file: Path,
    portfolio: str,
    past: PointInTime,
    year: int | None,
    year_start: tuple[int, int],
    method: str,
    holding_period: int,
) -> None:
    """Write realised gains as CSV, a line for each match; what has no known cost stands apart, then totals by term.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export gains gains-2025.csv --portfolio NAME --year 2025
    """
    from api.runtime.exporting import write_gains
    from ledger.reports.gains import tax_year
    from ledger.reports.lot_methods import Method

    chosen = tax_year(year, *year_start) if year else None
    click.echo(write_gains(load_settings(), file, portfolio, past, chosen, Method(method), holding_period))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@one_sentence
def beancount(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write the portfolio as a ledger for beancount 3, with the same lots and gains.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export beancount ledger.beancount --portfolio NAME && bean-check ledger.beancount
    """
    from api.runtime.exporting import write_beancount

    click.echo(write_beancount(load_settings(), file, portfolio, past))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@click.option(
    "--table",
    type=click.Choice(["trades", "lots", "matches"]),
    default="trades",
    show_default=True,
    help="What to write.",
)
@one_sentence
def parquet(file: Path, portfolio: str, past: PointInTime, table: str) -> None:
    """Write trades, lots or matches as Parquet. Needs the extra daybook\\[parquet].

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export parquet matches.parquet --portfolio NAME --table matches
    """
    from api.runtime.exporting import write_parquet_file

    click.echo(write_parquet_file(load_settings(), file, portfolio, past, table))
