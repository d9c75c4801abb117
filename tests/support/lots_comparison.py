"""Comparison of a lots report with the oracle of exact fractions."""

import csv
import io
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from ledger.imports.trade_file import TradeFile, read_trades
from ledger.reports.lots import LotSale, LotsReport, View, lots_report
from tests.support.oracle import TOLERANCE, OracleBook, OracleSell, TradeRow, matched_by


def check_against_oracle(rows: list[TradeRow], report: LotsReport) -> None:
    """Check that the report equals the oracle's by the same method: money to 1e-12, quantities exactly."""
    books = matched_by(report.method, rows)
    assert set(report.totals) == set(books)
    for instrument, book in books.items():
        sells = {sell.id: sell for sell in report.sells if sell.instrument == instrument}
        assert len(sells) == len(book.sells)
        for expected in book.sells:
            check_sell(sells[expected.id], expected)
        check_rest(report, instrument, book)


def check_sell(sell: LotSale, expected: OracleSell) -> None:
    assert [match.lot_id for match in sell.matches] == [match.lot_id for match in expected.matches]
    for match, oracle in zip(sell.matches, expected.matches, strict=True):
        assert Fraction(match.quantity) == oracle.quantity
        assert near(match.proceeds, oracle.proceeds)
        assert near(match.cost_basis, oracle.cost_basis)
        assert match.realized_pnl == match.proceeds - known(match.cost_basis)
    assert Fraction(sell.quantity) == expected.quantity
    assert sell.realized_pnl == sell.proceeds - known(sell.cost_basis)
    assert near(sell.proceeds, total(match.proceeds for match in expected.matches))
    assert near(sell.cost_basis, total(match.cost_basis for match in expected.matches))
    assert Fraction(sell.unmatched_quantity or 0) == expected.unmatched_quantity
    assert near(sell.unmatched_proceeds or "0", expected.unmatched_proceeds)
    assert (sell.unmatched_quantity is not None) == bool(expected.unmatched_quantity)


def check_rest(report: LotsReport, instrument: str, book: OracleBook) -> None:
    open_lots = [lot for lot in report.open_lots if lot.instrument == instrument]
    matches = [match for sell in report.sells if sell.instrument == instrument for match in sell.matches]
    totals = report.totals[instrument]
    assert [lot.lot_id for lot in open_lots] == [lot.lot_id for lot in book.lots]
    for lot, oracle in zip(open_lots, book.lots, strict=True):
        assert Fraction(lot.quantity) == oracle.quantity
        assert near(lot.cost_basis, oracle.quantity * oracle.unit_cost)
    assert total(Fraction(one.quantity) for some in (matches, open_lots) for one in some) == book.bought
    assert Fraction(totals.open_quantity) == total(lot.quantity for lot in book.lots)
    assert near(totals.open_cost_basis, total(lot.quantity * lot.unit_cost for lot in book.lots))
    assert near(totals.fees, book.fees)
    pnl = total(match.proceeds - match.cost_basis for sell in book.sells for match in sell.matches)
    assert near(totals.realized_pnl, pnl)


def near(figure: Decimal | str | None, expected: Fraction) -> bool:
    """Return True if the figure is known and equals `expected` to 1e-12."""
    return figure is not None and abs(Fraction(figure) - expected) <= TOLERANCE


def known(figure: Decimal | None) -> Decimal:
    assert figure is not None
    return figure


def total(numbers: Iterable[Fraction]) -> Fraction:
    return sum(numbers, Fraction(0))


def report_of(folder: Path, text: str, view: View | None = None) -> LotsReport:
    return lots_report(read(folder, text), view)


def read(folder: Path, text: str, base: str = "USD") -> TradeFile:
    path = folder / "trades.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return read_trades(path, base)


def as_csv(rows: list[TradeRow]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
