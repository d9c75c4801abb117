"""Figures of the legacy system: reproduced exactly, with each difference to the ledger explained by cause."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from migrations.legacy.check.formulas import Formulas
from migrations.legacy.check.pnl import ProductPnl
from tests.support.legacy.databases import make_legacy
from tests.support.legacy.imports import move_of


def as_the_old_system(path: Path) -> dict[str, dict[str, float]]:
    """Calculate the five figures of each product as the old system did: loops over its rows, in floats."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("select * from trades where status in ('completed', 'filled')")]
    found: dict[str, dict[str, float]] = {}
    rows = [row for row in rows if (row["side"] or "").upper() in ("BUY", "SELL")]
    rows.sort(key=lambda row: (moment_of(row), row["id"]))
    for product in {(row["product_id"] or "?").upper() for row in rows}:
        found[product] = figures_of([row for row in rows if (row["product_id"] or "?").upper() == product])
    return found


def moment_of(row: dict[str, Any]) -> str:
    for name in ("filled_at", "created_at"):
        text = str(row[name] or "")
        if text.startswith("20"):
            text = text.replace("T", " ").removesuffix("Z").removesuffix("+00:00")
            return text if "." in text else text + ".000000"
    return "1970"


def number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e14 else 0.0


def figures_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    cash = realized = tranche_cash = tranche_net = net = bought = bought_usd = prices = last = 0.0
    buys, lots = 0, list[list[float]]()
    for row in rows:
        size, price = number(row["size"]), number(row["price"])
        usd = size * price if row.get("size_usd") is None else number(row["size_usd"])
        fee = number(row.get("commission")) or number(row.get("fee"))
        cash = cash - usd - fee if row["side"].upper() == "BUY" else cash + usd - fee
        if row["status"] != "filled" or row["side"] not in ("BUY", "SELL"):
            continue  # counted by the cash flow only
        last = price
        if row["side"] == "BUY":
            net, bought, bought_usd, prices, buys = (
                net + size,
                bought + size,
                bought_usd + usd,
                prices + price,
                buys + 1,
            )
            if size > 0:
                lots.append([size, usd, price])
        else:
            net, left = net - size, size
            while left > 0 and lots:
                if lots[0][0] > left:
                    realized += (price - lots[0][2]) * left
                    lots[0][1] -= lots[0][2] * left
                    lots[0][0] -= left
                    break
                realized += price * lots[0][0] - lots[0][1]
                left -= lots[0][0]
                del lots[0]
        if row.get("bot_id") is not None:
            sign = 1 if row["side"] == "BUY" else -1
            tranche_cash -= sign * usd
            tranche_net += sign * size
    open_size = 0.0
    for lot in lots:
        open_size += lot[0]
    return {
        "cash_flow": cash,
        "fifo": realized,
        "fifo_unrealized": open_size * (last - (bought_usd / bought if bought else 0.0)),
        "tranches": tranche_cash + tranche_net * last,
        "sql_net": net * (prices / buys if buys else 0.0),
    }


def imported_figures(engine: Engine, folder: Path, seed: int, generation: int) -> tuple[Path, dict[str, ProductPnl]]:
    legacy = make_legacy(folder / f"{seed}.db", seed, 60, generation)
    move = move_of(engine, legacy, folder, f"mine {seed}")
    move.run()
    checked = move.check()
    assert checked.wrong == ()
    return legacy.path, checked.pnl


@pytest.mark.parametrize("generation", [1, 3, 5])
def test_legacy_figures_are_reproduced_exactly(generation: int, engine: Engine, tmp_path: Path) -> None:
    """Equal to the old system's loops, digit for digit."""
    path, pnl = imported_figures(engine, tmp_path, 70 + generation, generation)
    wanted = as_the_old_system(path)
    assert len(wanted) >= 4
    for product, figures in wanted.items():
        found = {name: one.legacy for name, one in pnl[product].formulas.items()}
        assert found == {name: Decimal(repr(value)) for name, value in figures.items()}, product


def test_nearly_reproduced_figure_is_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a lot sold whole counts with its price instead of its USD value."""
    monkeypatch.setattr(Formulas, "_sell", sell_at_price)
    path, pnl = imported_figures(engine, tmp_path, 75, 5)
    wanted = as_the_old_system(path)
    assert any(Decimal(repr(wanted[name]["fifo"])) != pnl[name].formulas["fifo"].legacy for name in wanted)


def sell_at_price(self: Any, trade: Any) -> None:
    left = trade.size
    while left > 0 and self._lots:
        taken = min(left, self._head_size)
        self._realized += (trade.price - self._lots[0].price) * taken
        left, self._head_size = left - taken, self._head_size - taken
        if not self._head_size:
            self._lots.popleft()
            if self._lots:
                self._head_size, self._head_usd = self._lots[0].size, self._lots[0].usd


ROWS = "insert into trades (id, product_id, side, size, price, size_usd, commission, order_id, status, bot_id, filled_at) values "


def causes_of(engine: Engine, folder: Path, *statements: str, formula: str = "fifo") -> dict[str, str]:
    """Return the causes of one formula of BTC-USD that are not 0."""
    legacy = make_legacy(folder / "legacy.db", 1, 0, 5)
    with closing(sqlite3.connect(legacy.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    move = move_of(engine, legacy, folder, "mine")
    move.run()
    checked = move.check()
    assert checked.wrong == ()
    found = checked.pnl["BTC-USD"].formulas[formula]
    return {name: str(value.normalize()) for name, value in found.causes.items() if value}


FILL = (
    "insert into raw_trades (id, fill_id, order_id, product_id, side, size, size_in_quote, price, commission, created_at)"
    " values "
)


def test_cause_is_duplicate_when_one_execution_has_two_rows(engine: Engine, tmp_path: Path) -> None:
    """By hand: 1 bought at 100 with a fee of 1, in rows of the bot and of the sync. The cash flow is -201: 100 for the
    duplicate, 1 for the fee, and 100 for the coin still owned."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, null, 'o1', 'completed', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 1.0, 'f1', 'filled', 1, '2025-09-20 10:00:01')",
        FILL + "(1, 'f1', 'o1', 'BTC-USD', 'BUY', 1.0, 0, 100.0, 1.0, '2025-09-20T10:00:01Z')",
        formula="cash_flow",
    )
    assert causes == {"duplicate": "1E+2", "fee": "1", "average_cost": "1E+2"}


def test_cause_is_fee_when_the_formula_omits_fees(engine: Engine, tmp_path: Path) -> None:
    """By hand: bought 1 at 100 (fee 1), sold at 150 (fee 2): the old FIFO gives 50, the ledger 47."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 1.0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'SELL', 1.0, 150.0, 150.0, 2.0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert causes == {"fee": "-3"}


def test_cause_is_oversell_when_more_is_sold_than_bought(engine: Engine, tmp_path: Path) -> None:
    """By hand: bought 1 at 100, sold 3 at 200. The cash flow is +500, of which 400 are unmatched proceeds."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'SELL', 3.0, 200.0, 600.0, 0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
        formula="cash_flow",
    )
    assert causes == {"oversell": "-4E+2"}


def test_cause_is_price_when_the_fill_has_another_price(engine: Engine, tmp_path: Path) -> None:
    """By hand: sent at 100 and filled at 101, sold at 200: the old FIFO gives 100, the ledger 99."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        FILL + "(1, 'f1', 'o1', 'BTC-USD', 'BUY', 1.0, 0, 101.0, 0, '2025-09-20T10:00:01Z')",
        ROWS + "(2, 'BTC-USD', 'SELL', 1.0, 200.0, 200.0, 0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert causes == {"price": "-1"}


def test_cause_is_paper_when_a_mock_trade_was_counted(engine: Engine, tmp_path: Path) -> None:
    """The mock trade is imported into the paper portfolio."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS
        + "(2, 'BTC-USD', 'SELL', 1.0, 900.0, 900.0, 0, 'mock-1757000000-0a1b2c3d', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert causes == {"paper": "-8E+2"}
    paper = move_of(engine, tmp_path / "legacy.db", tmp_path, "mine paper")
    assert paper.trades() == {("BTC-USD", "sell", "1", "900", "0"): 1}


def test_cause_is_unit_when_a_size_in_quote_was_read_as_base(engine: Engine, tmp_path: Path) -> None:
    """By hand: 100 dollars at 50 are 2 coins; the old net size counted 100 coins, 5,000 at the average price."""
    causes = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 100.0, 50.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        formula="sql_net",
    )
    assert causes == {"unit": "-4.9E+3"}
