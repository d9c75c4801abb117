"""RP2 and beancount, each in its own process over files, book random histories as Daybook does, match by match to 1e-12.

Where their definitions differ, the histories keep clear of the difference: RP2 knows no rebates, pairs lots and sales of
one moment as it finds them, ranks HIFO by price without fees, and holds 31 digits; beancount knows days but no hours,
keeps unit costs, and does not split proceeds over lots. Trades are therefore ten days apart with fees of 0 or more, and
where HIFO is compared with RP2 there are no fees.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.reports.lot_methods import Method
from ledger.reports.lots import LotMatch, LotSale, LotsReport, View, lots_report
from tests.second_opinions.asking import ask
from tests.support.lots_comparison import as_csv, near, read
from tests.support.oracle import TradeRow, plain_rows

METHODS: Final = (Method.FIFO, Method.LIFO, Method.HIFO)
HISTORIES: Final = 2_000
TRADES: Final = 60

pytestmark = pytest.mark.nightly


def histories(method: Method, *, fees: bool = True) -> list[list[TradeRow]]:
    rows = [plain_rows(seed, TRADES) for seed in range(HISTORIES)]
    if fees:
        return rows
    return [[{**row, "fee": "0", "fee_asset": ""} for row in one] for one in rows]


def ours(rows: list[TradeRow], method: Method, folder: Path) -> LotsReport:
    return lots_report(read(folder, as_csv(rows)), View(method, holding_period=365))


# --- RP2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_rp2_matches_as_we_do(method: Method, tmp_path: Path) -> None:
    """RP2 pairs the same lots with the same sales: quantity, proceeds, cost basis, gain to 1e-12, and term."""
    asked = histories(method, fees=method is not Method.HIFO)
    answers = ask("ask_rp2.py", [{"method": method, "rows": rows} for rows in asked], tmp_path)

    for rows, answer in zip(asked, answers, strict=True):
        check_rp2(ours(rows, method, tmp_path), answer)


def test_rp2_finds_a_planted_difference(tmp_path: Path) -> None:
    """Planted: one trade with another price, or another method, is not what RP2 says."""
    rows = plain_rows(1, TRADES)
    (answer,) = ask("ask_rp2.py", [{"method": "fifo", "rows": rows}], tmp_path)
    check_rp2(ours(rows, Method.FIFO, tmp_path), answer)

    with pytest.raises(AssertionError):
        check_rp2(ours([{**rows[0], "price": "1.23"}, *rows[1:]], Method.FIFO, tmp_path), answer)
    with pytest.raises(AssertionError):
        check_rp2(ours(rows, Method.LIFO, tmp_path), answer)


def check_rp2(report: LotsReport, answer: Sequence[dict[str, Any]]) -> None:
    """RP2 takes 365 days for long, we more than 365: no two of the trades are 365 days apart to the second."""
    theirs = {(one["sell"], one["lot"]): one for one in answer}
    found = {(sell.id, match.lot_id): match for sell, match in matches_of(report)}
    assert set(found) == set(theirs)
    assert len(found) == len(answer)
    for pair, match in found.items():
        their = theirs[pair]
        assert Fraction(match.quantity) == Fraction(their["quantity"])
        assert near(match.proceeds, Fraction(their["proceeds"]))
        assert near(match.cost_basis, Fraction(their["cost_basis"]))
        assert near(match.realized_pnl, Fraction(their["gain"]))
        assert (match.term == "long") == their["long"]


# --- beancount --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_beancount_matches_as_we_do(method: Method, tmp_path: Path) -> None:
    """Beancount's own booking closes the same lots: quantity and cost basis of each match, gain of each sale, open lots."""
    asked = histories(method)
    answers = ask("ask_beancount.py", [ledger_of(rows, method) for rows in asked], tmp_path)

    for rows, answer in zip(asked, answers, strict=True):
        check_beancount(ours(rows, method, tmp_path), answer)


def test_beancount_finds_a_planted_difference(tmp_path: Path) -> None:
    """Planted: one trade with another price, or another method, is not what beancount says."""
    rows = plain_rows(1, TRADES)
    (answer,) = ask("ask_beancount.py", [ledger_of(rows, Method.FIFO)], tmp_path)
    check_beancount(ours(rows, Method.FIFO, tmp_path), answer)

    with pytest.raises(AssertionError):
        check_beancount(ours([{**rows[0], "price": "1.23"}, *rows[1:]], Method.FIFO, tmp_path), answer)
    with pytest.raises(AssertionError):
        check_beancount(ours(rows, Method.LIFO, tmp_path), answer)


def ledger_of(rows: Sequence[TradeRow], method: Method) -> str:
    """The rows as a beancount ledger that names no lot for a sale and leaves the gain for beancount to fill in."""
    lines = [
        f'option "booking_method" "{method.name}"',
        "2000-01-01 open Assets:Coins",
        "2000-01-01 open Assets:Cash",
        "2000-01-01 open Income:Gains",
    ]
    for row in rows:
        lines += entry_of(row)
    return "\n".join(lines) + "\n"


def entry_of(row: TradeRow) -> Iterator[str]:
    quantity, fee, worth = (
        Fraction(row["quantity"]),
        Fraction(row["fee"]),
        Fraction(row["quantity"]) * Fraction(row["price"]),
    )
    in_coins, buying = bool(row["fee_asset"]), row["side"] == "buy"
    sign = 1 if buying else -1
    coins = sign * quantity - (fee if in_coins else 0)
    cash = -sign * worth - (0 if in_coins else fee)
    yield f'{row["time"][:10]} * "{row["id"]}"'
    cost = f'{{{{{exact(-cash)} USD, "{row["id"]}"}}}}' if buying else "{}"
    yield f"  Assets:Coins  {exact(coins)} COIN {cost}"
    yield f"  Assets:Cash  {exact(cash)} USD"
    if not buying:
        yield "  Income:Gains"


def exact(number: Fraction) -> str:
    """The number with 18 decimal places, which hold it whole."""
    units = number * 10**18
    assert units.denominator == 1
    digits = str(abs(units.numerator)).rjust(19, "0")
    return f"{'-' if units < 0 else ''}{digits[:-18]}.{digits[-18:]}"


def check_beancount(report: LotsReport, answer: dict[str, Any]) -> None:
    assert answer["errors"] == []
    found = [(sell.id, match) for sell, match in matches_of(report)]
    assert [(sale, match.lot_id) for sale, match in found] == [(one["sell"], one["lot"]) for one in answer["matches"]]
    for (_, match), their in zip(found, answer["matches"], strict=True):
        assert Fraction(match.quantity) == Fraction(their["quantity"])
        assert near(match.cost_basis, Fraction(their["cost_basis"]))
    gains = {one["sell"]: Fraction(one["gain"]) for one in answer["gains"]}
    assert set(gains) == {sell.id for sell in report.sells}
    assert all(near(sell.realized_pnl, gains[sell.id]) for sell in report.sells)
    rest = {one["lot"]: one for one in answer["open"]}
    assert set(rest) == {lot.lot_id for lot in report.open_lots}
    for lot in report.open_lots:
        quantity = Fraction(rest[lot.lot_id]["quantity"])
        assert Fraction(lot.quantity) == quantity
        assert near(lot.cost_basis, quantity * Fraction(rest[lot.lot_id]["unit"]))


def matches_of(report: LotsReport) -> Iterator[tuple[LotSale, LotMatch]]:
    for sell in report.sells:
        for match in sell.matches:
            yield sell, match
