"""`daybook export`: write the ledger to files, each complete or not at all."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import rich_click as click

from api.cli.legacy import export_legacy
from api.cli.options import DAYS, IN_PORTFOLIO, METHODS, ONE_PORTFOLIO, at_any_time, month_and_day
from api.runtime.output_files import draft_of, whole_file
from api.runtime.portfolios import chosen_portfolios, open_ledger, stored_portfolio
from api.runtime.settings import load_settings
from ledger.booking.lots import Lot, Match
from ledger.exports.beancount import beancount_text
from ledger.exports.events import event_line
from ledger.exports.lots import lot_lines
from ledger.exports.parquet import write_parquet
from ledger.exports.trades import trade_lines
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import PostgresLog
from ledger.projections.portfolio import base_currency_of
from ledger.projections.reversals import Reversal
from ledger.projections.trades import TradeView
from ledger.replay.history import events_at
from ledger.reports.gains import gains_lines, gains_report, tax_year
from ledger.reports.lot_methods import Method
from ledger.reports.trade_names import trade_names
from ledger.rows import Row
from ledger.values import system_clock

TABLES: Final[dict[str, type[Row]]] = {"trades": TradeView, "lots": Lot, "matches": Match}
Lines = Callable[[StoredReading], Iterable[tuple[str, ...]]]


@click.group()
def export() -> None:
    """Write the ledger to a file.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl
    """


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@ONE_PORTFOLIO
def events(file: Path, portfolio: str | None) -> None:
    """Write the log as JSON lines, one event a line, for docs/verify_log.py and backups.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl && python3 docs/verify_log.py log.jsonl
    """
    with open_ledger(load_settings()) as engine:
        chosen = chosen_portfolios(engine, portfolio)
        count = 0
        with whole_file(file) as stream:
            for one in chosen:
                for envelope in PostgresLog(engine, system_clock).read(one):
                    stream.write(event_line(envelope) + "\n")
                    count += 1
    click.echo(f"{file}: {count} events of {len(chosen)} portfolios")


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
def trades(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write the trades as a CSV file for daybook lots. Reversed trades are left out.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export trades trades.csv --portfolio NAME
    """

    def lines(reading: StoredReading) -> Iterator[tuple[str, ...]]:
        gone = {one.event_id for one in reading.rows.history(Reversal)}
        log = (one for one in events_at(reading, past) if one.event_id not in gone)
        return trade_lines(log, base_currency_of(reading.rows))

    _write_csv(file, portfolio, past, "trades", lines)


@export.command(name="lots")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
def export_lots(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write all lots, open and closed, as CSV.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export lots lots.csv --portfolio NAME
    """
    _write_csv(file, portfolio, past, "lots", lambda reading: lot_lines(reading.rows))


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
    help="First day of the tax year, in UTC.",
)
@click.option("--method", type=METHODS, default="fifo", show_default=True, help="Which lot a sale closes first.")
@click.option(
    "--holding-period", type=DAYS, default=365, show_default=True, metavar="DAYS", help="Longer holdings are long-term."
)
def gains(
    file: Path,
    portfolio: str,
    past: PointInTime,
    year: int | None,
    year_start: tuple[int, int],
    method: str,
    holding_period: int,
) -> None:
    """Write realised gains as CSV, one line for each match; matches of unknown cost apart, then totals by term.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export gains gains-2025.csv --portfolio NAME --year 2025
    """
    chosen = tax_year(year, *year_start) if year else None

    def lines(reading: StoredReading) -> Iterator[tuple[str, ...]]:
        report = gains_report(reading.rows, chosen, Method(method), holding_period)
        return gains_lines(report, trade_names(reading.rows))

    _write_csv(file, portfolio, past, "lines", lines)


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
def beancount(file: Path, portfolio: str, past: PointInTime) -> None:
    """Write the portfolio as a ledger for beancount 3, with the same lots and gains.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export beancount ledger.beancount --portfolio NAME && bean-check ledger.beancount
    """
    with stored_portfolio(load_settings(), portfolio, past) as reading, whole_file(file) as stream:
        stream.writelines(f"{line}\n" for line in beancount_text(reading.rows, events_at(reading, past)))
    click.echo(f"{file}: the portfolio {portfolio} as a beancount ledger")


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@at_any_time
@click.option(
    "--table",
    type=click.Choice(list(TABLES)),
    default="trades",
    show_default=True,
    help="Rows to write.",
)
def parquet(file: Path, portfolio: str, past: PointInTime, table: str) -> None:
    """Write trades, lots or matches as Parquet. Needs the extra daybook\\[parquet].

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export parquet matches.parquet --portfolio NAME --table matches
    """
    with stored_portfolio(load_settings(), portfolio, past) as reading, draft_of(file) as draft:
        count = write_parquet(draft, TABLES[table], reading.rows.history(TABLES[table]))
    click.echo(f"{file}: {count} {table} of {portfolio}")


export.add_command(export_legacy)


def _write_csv(path: Path, portfolio: str, past: PointInTime, noun: str, lines: Lines) -> None:
    count = -1  # the heading is not data
    with stored_portfolio(load_settings(), portfolio, past) as reading, whole_file(path) as stream:
        rows = csv.writer(stream, lineterminator="\n")
        for line in lines(reading):
            rows.writerow(line)
            count += 1
    click.echo(f"{path}: {count} {noun} of {portfolio}")
