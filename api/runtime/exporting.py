"""`daybook export` of a stored portfolio: files of the owner's, each of which appears whole or not at all."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from api.runtime.proofs import draft_of, whole_file
from api.runtime.settings import Settings
from api.runtime.stored_portfolio import stored_portfolio
from ledger.booking.lots import Lot, Match
from ledger.exports.beancount import beancount_text
from ledger.exports.parquet import write_parquet
from ledger.exports.trades import trade_lines
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections.portfolio import base_currency_of
from ledger.projections.reversals import Reversal
from ledger.projections.trades import TradeView
from ledger.replay.history import events_at
from ledger.reports.gains import TaxYear, gains_lines, gains_report
from ledger.reports.lot_methods import Method
from ledger.reports.trade_names import trade_names
from ledger.rows import Row, Rows
from ledger.values import decimal_text, time_text

TABLES: Final[dict[str, type[Row]]] = {"trades": TradeView, "lots": Lot, "matches": Match}
LOT_COLUMNS: Final = (
    "product_id",
    "lot_id",
    "opened_at",
    "quantity",
    "cost",
    "open_quantity",
    "open_cost",
    "short",
    "triggered_by",
)


def write_trades(settings: Settings, path: Path, portfolio: str, past: PointInTime) -> str:
    """The trades are in the file; says so in one sentence. Raises what opening the portfolio raises, as all of these do."""

    def lines(reading: StoredReading) -> Iterator[tuple[str, ...]]:
        gone = {one.event_id for one in reading.rows.history(Reversal)}
        log = (one for one in events_at(reading, past) if one.event_id not in gone)
        return trade_lines(log, base_currency_of(reading.rows))

    return _write_csv(settings, path, portfolio, past, "trades", lines)


def write_lots(settings: Settings, path: Path, portfolio: str, past: PointInTime) -> str:
    """All lots are in the file, open and closed."""
    return _write_csv(settings, path, portfolio, past, "lots", lambda reading: lot_lines(reading.rows))


def write_gains(
    settings: Settings,
    path: Path,
    portfolio: str,
    past: PointInTime,
    year: TaxYear | None,
    method: Method,
    holding_period_days: int,
) -> str:
    """The gains of the year are in the file."""

    def lines(reading: StoredReading) -> Iterator[tuple[str, ...]]:
        report = gains_report(reading.rows, year, method, holding_period_days)
        return gains_lines(report, trade_names(reading.rows))

    return _write_csv(settings, path, portfolio, past, "lines", lines)


def write_beancount(settings: Settings, path: Path, portfolio: str, past: PointInTime) -> str:
    """The portfolio is in the file as a ledger for beancount. Raises CannotExport."""
    with stored_portfolio(settings, portfolio, past) as reading, whole_file(path) as file:
        for line in beancount_text(reading.rows, events_at(reading, past)):
            file.write(line + "\n")
    return f"{path}: the portfolio {portfolio} as a beancount ledger"


def write_parquet_file(settings: Settings, path: Path, portfolio: str, past: PointInTime, table: str) -> str:
    """The table is in the file as Parquet. Raises NoParquet."""
    with stored_portfolio(settings, portfolio, past) as reading, draft_of(path) as draft:
        count = write_parquet(draft, TABLES[table], reading.rows.history(TABLES[table]))
    return f"{path}: {count} {table} of {portfolio}"


def lot_lines(rows: Rows) -> Iterator[tuple[str, ...]]:
    """A heading, then every lot in order of its time."""
    currency, names = base_currency_of(rows), trade_names(rows)
    yield LOT_COLUMNS
    for lot in sorted(rows.history(Lot), key=lambda one: (one.opened_at, one.position, one.leg)):
        yield (
            f"{lot.asset}-{currency}",
            names.get(lot.event_id, str(lot.event_id)),
            time_text(lot.opened_at),
            decimal_text(lot.quantity),
            decimal_text(lot.cost) if lot.cost_known else "unknown",
            decimal_text(lot.open_quantity),
            decimal_text(lot.open_cost) if lot.cost_known else "unknown",
            "yes" if lot.short else "no",
            lot.triggered_by or "",
        )


Lines = Callable[[StoredReading], Iterable[tuple[str, ...]]]


def _write_csv(settings: Settings, path: Path, portfolio: str, past: PointInTime, what: str, lines: Lines) -> str:
    with stored_portfolio(settings, portfolio, past) as reading, whole_file(path) as file:
        count = _written(csv.writer(file, lineterminator="\n").writerow, lines(reading))
    return f"{path}: {count - 1} {what} of {portfolio}"


def _written(write: Callable[[tuple[str, ...]], object], lines: Iterable[tuple[str, ...]]) -> int:
    count = 0
    for line in lines:
        write(line)
        count += 1
    return count
