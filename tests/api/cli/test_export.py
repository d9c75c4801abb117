"""The commands `daybook export` and `daybook lots --portfolio`."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from api.cli import cli
from api.cli.lots import report_json
from ledger.booking.lots import Lot, Match
from ledger.exports import parquet as parquet_export
from ledger.exports.parquet import NoParquet, write_parquet
from ledger.postgres.book import PostgresBook
from ledger.projections.trades import TradeView
from ledger.reports.lot_methods import Method
from ledger.reports.lots import View, portfolio_lots_report
from tests.support.events import Story, realistic_batches, record_all
from tests.support.processes import Home, new_home


@pytest.fixture
def story() -> Story:
    return Story("exported")


@dataclass(frozen=True, slots=True)
class Said:
    returncode: int
    stdout: str
    stderr: str


class Console:
    """Runs the commands in this process: the same output and exit code, without the start of a process."""

    def __init__(self, home: Home) -> None:
        self.folder = home.folder
        self._home = home

    def run(self, *arguments: str) -> Said:
        ended = CliRunner().invoke(cli, list(arguments), env=self._home.environment(), prog_name="daybook")
        return Said(ended.exit_code, ended.stdout, ended.stderr)


@pytest.fixture
def home(
    database_url: str, postgres_book: PostgresBook, story: Story, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Console]:
    """A home whose ledger holds a whole story."""
    record_all(postgres_book, story, realistic_batches(story, 60))
    with new_home(candles=100, database_url=database_url) as made:
        monkeypatch.chdir(made.folder)
        yield Console(made)


def report(book: PostgresBook, story: Story, method: Method) -> Any:
    with book.reading(story.portfolio_id) as reading:
        return report_json(portfolio_lots_report(reading.rows, View(method)))


def test_lots_reports_a_portfolio_like_a_file(home: Console, postgres_book: PostgresBook, story: Story) -> None:
    """The same JSON as for a file, by product id and chosen method; the text form has every digit."""
    for method in ("fifo", "hifo"):
        done = home.run("lots", "--portfolio", "exported", "--method", method, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout) == report(postgres_book, story, Method(method))
    plain = home.run("lots", "--portfolio", str(story.portfolio_id), "--holding-period", "1").stdout
    assert plain.startswith("Sales, first in first out")
    assert report(postgres_book, story, Method.FIFO)["totals"]["BTC-USD"]["realized_pnl"] in plain.split()
    assert "term" in plain.split()


def test_wrong_use_ends_with_exit_code_2(home: Console) -> None:
    """A file together with a portfolio, neither, an unknown method and an invalid day are wrong use."""
    (home.folder / "trades.csv").write_text("id,time,instrument,side,quantity,price\n", encoding="utf-8")
    for arguments, said in (
        (("lots", "trades.csv", "--portfolio", "exported"), "either a file of trades or --portfolio"),
        (("lots",), "either a file of trades or --portfolio"),
        (("lots", "trades.csv", "--method", "average"), "average"),
        (("lots", "trades.csv", "--method", "lifo", "--specific", "names.json"), "cannot be combined with --method"),
        (("lots", "trades.csv", "--holding-period", "-1"), "-1"),
        (("export", "gains", "g.csv", "--portfolio", "exported", "--year-start", "02-30"), "02-30"),
        (("export", "gains", "g.csv"), "--portfolio"),
    ):
        done = home.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr


def test_export_of_an_unknown_portfolio_is_one_sentence(home: Console) -> None:
    """Every export ends with one sentence and writes no file."""
    for what in ("trades", "lots", "gains", "beancount", "parquet"):
        done = home.run("export", what, "out", "--portfolio", "nobody")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "there is no portfolio called 'nobody'" in done.stderr
    assert not (home.folder / "out").exists()


def test_export_refuses_targets_that_are_not_regular_files(home: Console) -> None:
    """A folder, a device and a missing folder are one sentence each; a link stays a link to the written file."""
    (home.folder / "real.csv").write_text("old", encoding="utf-8")
    (home.folder / "link.csv").symlink_to("real.csv")
    (home.folder / "folder").mkdir()
    os.mkfifo(home.folder / "pipe")
    for what in ("trades", "lots", "gains", "beancount", "parquet"):
        for target, said in (
            ("folder", "not a regular file"),
            ("pipe", "not a regular file"),
            ("nowhere/out", "no folder"),
        ):
            done = home.run("export", what, target, "--portfolio", "exported")
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert said in done.stderr
    assert home.run("export", "trades", "link.csv", "--portfolio", "exported").returncode == 0
    assert (home.folder / "link.csv").is_symlink()
    assert (home.folder / "real.csv").read_text(encoding="utf-8").startswith("id,time")
    assert (home.folder / "pipe").is_fifo()


def test_export_refuses_stopped_views(home: Console, superuser: psycopg.Connection[tuple[Any, ...]]) -> None:
    """While a portfolio's views are stopped nothing is exported: one sentence gives position and reason."""
    superuser.execute("update view_checkpoints set stopped_position = 7, stopped_reason = 'planted'")

    for arguments in (("lots",), ("export", "gains", "out"), ("export", "parquet", "out")):
        done = home.run(*arguments, "--portfolio", "exported")
        assert (done.returncode, done.stdout) == (1, "")
        assert "stopped before position 7 (planted)" in done.stderr
    assert not (home.folder / "out").exists()


def test_export_works_in_a_process_of_its_own(database_url: str, postgres_book: PostgresBook, story: Story) -> None:
    """A real process writes the file, prints its sentence and ends with 0."""
    record_all(postgres_book, story, realistic_batches(story, 20))
    with new_home(candles=100, database_url=database_url) as home:
        done = home.run("export", "gains", "gains.csv", "--portfolio", "exported")
        assert (done.returncode, done.stderr) == (0, "")
        assert rows_of(home.folder / "gains.csv")


def test_every_export_is_complete_and_repeatable(home: Console) -> None:
    """Each file is complete, summarised in one sentence, and identical the next time."""
    for what in ("trades", "lots", "gains", "beancount", "parquet"):
        made = []
        for name in ("one", "two"):
            done = home.run("export", what, name, "--portfolio", "exported")
            assert (done.returncode, done.stderr) == (0, ""), what
            assert done.stdout.startswith(f"{name}: ")
            made.append((home.folder / name).read_bytes())
        assert made[0] == made[1]
        assert len(made[0]) > 500
    assert sorted(path.name for path in home.folder.iterdir() if path.is_file() and path.name.startswith(".")) == []


def test_exported_lots_and_gains_equal_the_report(home: Console, postgres_book: PostgresBook, story: Story) -> None:
    """Open lots and the sum of gains equal those of the portfolio report."""
    home.run("export", "lots", "lots.csv", "--portfolio", "exported")
    home.run("export", "gains", "gains.csv", "--portfolio", "exported", "--method", "fifo")
    book = report(postgres_book, story, Method.FIFO)

    lots = rows_of(home.folder / "lots.csv")
    assert {
        (one["lot_id"], one["product_id"], one["open_quantity"]) for one in lots if one["open_quantity"] != "0"
    } == {(one["lot_id"], one["instrument"], one["quantity"]) for one in book["open_lots"]}
    gains = rows_of(home.folder / "gains.csv")
    summed = sum(Decimal(one["gain"]) for one in gains if one["section"] == "total")
    assert summed == sum(Decimal(total["realized_pnl"]) for total in book["totals"].values())
    assert len([one for one in gains if one["section"] == "gain"]) > 0


def test_gains_are_limited_to_the_tax_year(home: Console) -> None:
    """A year without trades has no gains; the year of the trades has them all."""
    for year, found in (("2026", True), ("2020", False)):
        home.run("export", "gains", "gains.csv", "--portfolio", "exported", "--year", year)
        assert any(one["section"] == "gain" for one in rows_of(home.folder / "gains.csv")) == found


def test_exported_trades_can_be_read_by_lots(home: Console, postgres_book: PostgresBook, story: Story) -> None:
    """All trades but the reversed ones are exported; daybook lots reads every row."""
    home.run("export", "trades", "trades.csv", "--portfolio", "exported")
    done = home.run("lots", "trades.csv", "--json")

    assert done.returncode == 0, done.stderr
    trades = rows_of(home.folder / "trades.csv")
    with postgres_book.reading(story.portfolio_id) as reading:
        known = list(reading.rows.history(TradeView))
    assert {one["id"] for one in trades} == {one.venue_trade_id for one in known if not one.reversed}
    assert any(one.reversed for one in known)
    assert len(json.loads(done.stdout)["sells"]) == sum(one["side"] == "sell" for one in trades) > 0


def test_lots_closes_the_lots_assigned_in_a_file(home: Console) -> None:
    """--specific closes the assigned lots; an unknown lot and an unusable file are one sentence each."""
    (home.folder / "trades.csv").write_text(
        "id,time,instrument,side,quantity,price\n"
        "b1,2024-01-01T00:00:00Z,BTC-USD,buy,1,100\n"
        "b2,2024-01-02T00:00:00Z,BTC-USD,buy,1,200\n"
        "s1,2024-01-03T00:00:00Z,BTC-USD,sell,1,300\n",
        encoding="utf-8",
    )
    for names, code, said in (
        ('{"s1": [["b2", "0.5"]]}', 0, ""),
        ('{"s1": [["b9", "0.5"]]}', 1, "no trade 'b9'"),
        ('{"s1": [["b2", 0.5]]}', 1, "with quantities as text"),
        ("[", 1, "assigns no lots"),
    ):
        (home.folder / "names.json").write_text(names, encoding="utf-8")
        done = home.run("lots", "trades.csv", "--specific", "names.json", "--json")
        assert (done.returncode, done.stderr.count("\n")) == (code, code), done.stderr
        assert said in done.stderr
        if not code:
            (sale,) = json.loads(done.stdout)["sells"]
            assert [(one["lot_id"], one["quantity"]) for one in sale["matches"]] == [("b2", "0.5"), ("b1", "0.5")]
    assert "does not exist" in home.run("lots", "trades.csv", "--specific", "none.json").stderr


@pytest.mark.parametrize("kind", [TradeView, Lot, Match])
def test_parquet_keeps_every_digit(kind: type[Any], postgres_book: PostgresBook, story: Story, tmp_path: Path) -> None:
    """The file holds the values of the rows: decimals with all digits, times in UTC."""

    record_all(postgres_book, story, realistic_batches(story, 40))
    check_parquet(postgres_book, story, kind, tmp_path)
    assert write_parquet(tmp_path / "none.parquet", kind, []) == 0


def test_parquet_digit_lost_is_found(
    postgres_book: PostgresBook, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: decimals cut to eight places."""

    def cut(value: object) -> object:
        return round(value, 8) if isinstance(value, Decimal) else honest(value)

    honest = parquet_export._plain
    monkeypatch.setattr(parquet_export, "_plain", cut)
    record_all(postgres_book, story, realistic_batches(story, 40))
    with pytest.raises(AssertionError):
        check_parquet(postgres_book, story, Match, tmp_path)


def check_parquet(book: PostgresBook, story: Story, kind: type[Any], tmp_path: Path) -> None:
    with book.reading(story.portfolio_id) as reading:
        rows = list(reading.rows.history(kind))
    assert write_parquet(tmp_path / "rows.parquet", kind, rows) == len(rows) > 0
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    for row, found in zip(rows, table.to_pylist(), strict=True):
        for name, value in found.items():
            expected = getattr(row, name)
            assert value == (expected if isinstance(expected, Decimal | datetime | int | None) else str(expected))


def test_parquet_names_the_extra_when_pyarrow_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The extra is named, and no file is left behind."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(NoParquet, match=r"pip install 'daybook\[parquet\]'"):
        write_parquet(tmp_path / "rows.parquet", Lot, [])
    assert list(tmp_path.iterdir()) == []


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
