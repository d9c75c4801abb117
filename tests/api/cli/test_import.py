"""The commands `daybook import trades` and `daybook reverse`."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Home, new_home

HEADER = "id,time,instrument,side,quantity,price,fee\n"
GOOD = (
    HEADER
    + "b1,2024-01-01T10:00:00Z,BTC-USD,buy,1,40000,10\n"
    + "s1,2024-01-02T10:00:00Z,BTC-USD,sell,0.123456789012345678,50000,1\n"
)
BAD = "x1,2024-01-03T10:00:00Z,ETH-USDT,buy,1,2000,1\n"
OBJECT = {
    *(
        "portfolio",
        "file",
        "format",
        "rows",
        "new",
        "known",
        "conflicts",
        "bad",
        "ignored",
        "imported",
        "first",
        "last",
    ),
    *("reversed", "errors", "dry_run"),
}
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "exports"


@pytest.fixture
def home(database_url: str) -> Iterator[Home]:
    """A home with an empty ledger."""
    with new_home(candles=100, database_url=database_url) as made:
        yield made


def write(home: Home, text: str | bytes, name: str = "trades.csv") -> str:
    (home.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def take(home: Home, name: str, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and JSON report of an import into the portfolio called mine."""
    done = home.run("import", "trades", name, "--portfolio", "mine", "--json", *options)
    assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_import_adds_each_trade_once(home: Home) -> None:
    """The report has exactly the promised names; the second import finds everything known; the ledger verifies."""
    name = write(home, GOOD)
    code, found = take(home, name, "--create")

    assert (code, set(found)) == (0, OBJECT)
    assert found == {
        "portfolio": "mine",
        "file": "trades.csv",
        "format": "daybook CSV",
        "rows": 2,
        "new": 2,
        "known": 0,
        "conflicts": 0,
        "bad": 0,
        "ignored": {},
        "imported": 2,
        "first": "2024-01-01T10:00:00Z",
        "last": "2024-01-02T10:00:00Z",
        "reversed": [],
        "errors": [],
        "dry_run": False,
    }
    code, again = take(home, name)
    assert (code, again["known"], again["new"], again["imported"]) == (0, 2, 0, 0)
    proof, replayed = home.replay("--portfolio", "mine")
    assert (proof, replayed["trades"], replayed["events"]) == (0, 2, 4)


def test_import_recognises_an_exchange_export(home: Home) -> None:
    """Rows that are not events of value are counted by reason."""
    (home.folder / "coinbase.csv").write_bytes((SAMPLES / "coinbase-transactions.csv").read_bytes())
    code, found = take(home, "coinbase.csv", "--create")

    assert (code, found["format"], found["rows"], found["imported"]) == (0, "coinbase transactions", 10, 10)
    assert found["ignored"] == {"moved between accounts of one's own (pro withdrawal)": 1}
    assert home.replay()[0] == 0


def test_import_stops_at_bad_rows_unless_they_are_skipped(home: Home) -> None:
    """Every bad row is listed with line and reason, with exit code 1; with --skip-bad the rest is imported, with exit code 0."""
    name = write(home, GOOD + BAD)
    done = home.run("import", "trades", name, "--portfolio", "mine", "--create")

    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("daybook: line 4 (x1): quote_rate is missing: the price is in USDT, not in USD")
    assert "nothing was imported" in second
    assert "0 events imported into mine" in done.stdout
    code, found = take(home, name, "--create", "--skip-bad")
    assert (code, found["imported"], found["bad"]) == (0, 2, 1)
    assert found["errors"][0]["line"] == 4
    assert (home.folder / "trades.csv.bad.csv").read_text().startswith(f"{HEADER.strip()},reason\n{BAD.strip()},")


def test_import_reports_a_bad_row_in_one_line(home: Home) -> None:
    """An id with a line break is reported in a single line."""
    done = home.run(
        "import",
        "trades",
        write(home, GOOD + '"x\n1",2024-01-02T10:00:00Z,BTC-USD,buy,1,1,0\n'),
        "--portfolio",
        "mine",
        "--create",
    )

    named, nothing = done.stderr.splitlines()
    assert named.startswith("daybook: line 4 (x 1): ")
    assert named.endswith("must not contain line breaks or other control characters")
    assert (done.returncode, "nothing was imported" in nothing) == (1, True)


def test_import_writes_nothing_in_a_dry_run(home: Home) -> None:
    """After a dry run there is no portfolio, and the report is marked as a dry run."""
    name = write(home, GOOD)
    done = home.run("import", "trades", name, "--portfolio", "mine", "--create", "--dry-run")

    assert (done.returncode, done.stderr) == (0, "")
    assert "this was a dry run" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert home.replay()[1]["portfolios"] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        ("Datum,Coin\n1,2\n", "coinbase transactions, coinbase fills, binance trades"),
    ],
)
def test_import_of_an_unusable_file_is_one_sentence(content: str | bytes | None, said: str, tmp_path: Path) -> None:
    """It gives the file and the remedy, before a database is opened."""
    home = Home(tmp_path, {"data_dir": str(tmp_path / "data")})
    name = "trades.csv" if content is None else write(home, content)
    done = home.run("import", "trades", name, "--portfolio", "mine", "--create")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"daybook: {name} ")
    assert said in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("content", "said"), [('[{"id": ', "is not JSON"), (GOOD + '"b1,2', "is not a CSV file")])
def test_import_of_a_truncated_file_imports_nothing(home: Home, content: str, said: str) -> None:
    """A file that stops being CSV or JSON somewhere is one sentence, and nothing of it is imported."""
    done = home.run("import", "trades", write(home, content), "--portfolio", "mine", "--create")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert home.replay()[1]["portfolios"] == 0


def test_import_into_an_unsuitable_portfolio_is_one_sentence(home: Home) -> None:
    """An unknown portfolio, and one with another base currency, are reported with the remedy."""
    name = write(home, GOOD)
    unknown = home.run("import", "trades", name, "--portfolio", "mine")
    take(home, name, "--create")
    other = home.run("import", "trades", name, "--portfolio", "mine", "--base", "EUR")

    for done, said in ((unknown, "there is no portfolio called 'mine'"), (other, "is kept in USD, not in EUR")):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert said in done.stderr


def test_import_ends_with_exit_code_2_after_wrong_use(home: Home) -> None:
    """No file, no portfolio, an unknown option and an invalid base are wrong use."""
    name = write(home, GOOD)
    for arguments in (
        (),
        (name,),
        (name, "--portfolio", "x", "--no-such"),
        (name, "--portfolio", "x", "--base", "us dollar"),
    ):
        done = home.run("import", "trades", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage: daybook import trades" in done.stderr
        assert "Traceback" not in done.stderr


def reverse(home: Home, name: str, *options: str) -> Any:
    return home.run("reverse", name, "--portfolio", "mine", "--reason", "mistyped", *options)


def test_reverse_by_venue_id_allows_a_corrected_import(home: Home) -> None:
    """A trade is given by its venue's id; the unchanged file is reported as reversed, the corrected one is imported."""
    take(home, write(home, GOOD), "--create")
    for price in ("41000", "42000"):
        done = reverse(home, "b1", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["type"] == "TradeExecuted"
        same = home.run("import", "trades", "trades.csv", "--portfolio", "mine", "--json")
        (told,) = json.loads(same.stdout)["reversed"]
        assert (told["line"], told["id"]) == (2, "b1")
        assert told["note"].endswith("change the row to enter it again")
        assert told["note"] in same.stderr
        code, found = take(home, write(home, GOOD.replace("40000", price), f"{price}.csv"))
        assert (code, found["new"], found["known"], found["imported"]) == (0, 1, 1, 1)
    lots = json.loads(home.run("lots", "--portfolio", "mine", "--json").stdout)
    (sale,), (lot,) = lots["sells"], lots["open_lots"]
    assert sale["matches"][0]["lot_id"] == lot["lot_id"] == "b1"
    assert Decimal(sale["cost_basis"]) + Decimal(lot["cost_basis"]) == Decimal(42010)
    assert home.replay()[0] == 0


def test_reverse_refuses_in_one_sentence(home: Home) -> None:
    """An unknown name, an ambiguous one, and an event that moves no value are refused with exit code 1."""
    two = GOOD.replace("fee\n", "fee,account\n").replace("10\n", "10,a\n").replace(",1\n", ",1,b\n").replace("s1", "b1")
    take(home, write(home, two), "--create")

    for name, said in (("x", "no trade called 'x'"), ("b1", "2 trades are called 'b1'")):
        done = reverse(home, name)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    assert home.run("reverse", "b1", "--portfolio", "mine", "--reason", " ").returncode == 2
