"""The figures of the legacy system: reproduced to the last digit, and taken to the ledger's cause by cause."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from migrations.legacy.check.formulas import Formulas
from migrations.legacy.check.pnl import ProductPnl
from tests.support.legacy_databases import make_legacy
from tests.support.legacy_imports import move_of


def as_the_old_system(path: Path) -> dict[str, dict[str, float]]:
    """The five figures of each product, computed as the old system did: plain loops over its own rows, in binary numbers."""
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
            continue  # only the cash flow counted those
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
def test_each_old_figure_is_reproduced_to_the_last_digit(generation: int, engine: Engine, tmp_path: Path) -> None:
    """What the old system's own loops give in binary numbers is what the report calls recorded, digit for digit."""
    path, pnl = imported_figures(engine, tmp_path, 70 + generation, generation)
    wanted = as_the_old_system(path)
    assert len(wanted) >= 4
    for product, figures in wanted.items():
        found = {name: one.legacy for name, one in pnl[product].formulas.items()}
        assert found == {name: Decimal(repr(value)) for name, value in figures.items()}, product


def test_a_figure_that_is_only_nearly_reproduced_is_found(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a lot that is sold whole counts with its price instead of its USD value."""
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
    """The causes that are not 0, of one formula of BTC-USD."""
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


def test_an_execution_in_two_rows_is_a_duplicate(engine: Engine, tmp_path: Path) -> None:
    """By hand: 1 bought at 100 with a fee of 1, as the bot's row and as the sync's. The cash flow says -201; the second
    time is taken off (+100), the fee too (+1), and what is left is the price of a coin that is still there (+100)."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, null, 'o1', 'completed', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 1.0, 'f1', 'filled', 1, '2025-09-20 10:00:01')",
        FILL + "(1, 'f1', 'o1', 'BTC-USD', 'BUY', 1.0, 0, 100.0, 1.0, '2025-09-20T10:00:01Z')",
        formula="cash_flow",
    )
    assert said == {"duplicate": "1E+2", "fee": "1", "average_cost": "1E+2"}


def test_fees_are_a_cause(engine: Engine, tmp_path: Path) -> None:
    """By hand: bought 1 at 100 (fee 1), sold it at 150 (fee 2): the old FIFO says 50, the ledger 47."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 1.0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'SELL', 1.0, 150.0, 150.0, 2.0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert said == {"fee": "-3"}


def test_a_sale_of_more_than_was_bought_is_oversell(engine: Engine, tmp_path: Path) -> None:
    """By hand: bought 1 at 100, sold 3 at 200. The cash flow says +500; 400 of it are proceeds of what nobody bought."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS + "(2, 'BTC-USD', 'SELL', 3.0, 200.0, 600.0, 0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
        formula="cash_flow",
    )
    assert said == {"oversell": "-4E+2"}


def test_a_price_when_sending_is_told_from_that_of_the_fill(engine: Engine, tmp_path: Path) -> None:
    """By hand: sent at 100 and filled at 101, sold at 200: the old FIFO says 100, the ledger 99."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        FILL + "(1, 'f1', 'o1', 'BTC-USD', 'BUY', 1.0, 0, 101.0, 0, '2025-09-20T10:00:01Z')",
        ROWS + "(2, 'BTC-USD', 'SELL', 1.0, 200.0, 200.0, 0, 'o2', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert said == {"price": "-1"}


def test_paper_trades_never_reach_real_figures(engine: Engine, tmp_path: Path) -> None:
    """A mock trade that the old FIFO counted is a cause, and stands in a paper account of a portfolio of its own."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        ROWS
        + "(2, 'BTC-USD', 'SELL', 1.0, 900.0, 900.0, 0, 'mock-1757000000-0a1b2c3d', 'filled', 1, '2025-09-21 10:00:00')",
    )
    assert said == {"paper": "-8E+2"}
    paper = move_of(engine, tmp_path / "legacy.db", tmp_path, "mine paper")
    assert paper.trades() == {("BTC-USD", "sell", "1", "900", "0"): 1}


def test_the_size_in_quote_is_a_unit(engine: Engine, tmp_path: Path) -> None:
    """By hand: 100 dollars at 50 are 2 coins, of which the old net made 100 coins: 5,000 at the average price."""
    said = causes_of(
        engine,
        tmp_path,
        ROWS + "(1, 'BTC-USD', 'BUY', 100.0, 50.0, 100.0, 0, 'o1', 'filled', 1, '2025-09-20 10:00:00')",
        formula="sql_net",
    )
    assert said == {"unit": "-4.9E+3"}
