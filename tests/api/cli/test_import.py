"""`daybook import trades FILE` as a person or a script calls it."""

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
    """The exit code and the object of an import into the portfolio called mine."""
    done = home.run("import", "trades", name, "--portfolio", "mine", "--json", *options)
    assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_a_file_goes_in_once(home: Home) -> None:
    """The object has exactly the promised names; the second import finds everything known; the ledger is proven after it."""
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


def test_an_export_goes_in(home: Home) -> None:
    """An exchange's export is recognised; what is no event of value is counted by its reason."""
    (home.folder / "coinbase.csv").write_bytes((SAMPLES / "coinbase-transactions.csv").read_bytes())
    code, found = take(home, "coinbase.csv", "--create")

    assert (code, found["format"], found["rows"], found["imported"]) == (0, "coinbase transactions", 10, 10)
    assert found["ignored"] == {"moved between accounts of one's own (pro withdrawal)": 1}
    assert home.replay()[0] == 0


def test_bad_rows_stop_everything_unless_they_are_skipped(home: Home) -> None:
    """Every bad row is named with line and reason, with exit code 1; with --skip-bad the rest goes in, with exit code 0."""
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


def test_an_id_over_two_lines_is_told_in_one(home: Home) -> None:
    """Whatever stands in a row, it is named in a single line that says in words what is wrong with it."""
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


def test_a_dry_run_says_so_and_writes_nothing(home: Home) -> None:
    """After a dry run there is no portfolio, and the report says that it was one."""
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
def test_a_file_that_cannot_be_used_is_one_sentence(content: str | bytes | None, said: str, tmp_path: Path) -> None:
    """It names the file and what to do, before any database is opened."""
    home = Home(tmp_path, {"data_dir": str(tmp_path / "data")})
    name = "trades.csv" if content is None else write(home, content)
    done = home.run("import", "trades", name, "--portfolio", "mine", "--create")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"daybook: {name} ")
    assert said in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("content", "said"), [('[{"id": ', "is not JSON"), (GOOD + '"b1,2', "is not a CSV file")])
def test_a_file_that_breaks_off_imports_nothing(home: Home, content: str, said: str) -> None:
    """A file that stops being CSV or JSON somewhere is one sentence, and what stood before is not imported."""
    done = home.run("import", "trades", write(home, content), "--portfolio", "mine", "--create")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert home.replay()[1]["portfolios"] == 0


def test_a_portfolio_that_does_not_fit_is_one_sentence(home: Home) -> None:
    """No such portfolio, and one kept in another currency, are told with what to do."""
    name = write(home, GOOD)
    unknown = home.run("import", "trades", name, "--portfolio", "mine")
    take(home, name, "--create")
    other = home.run("import", "trades", name, "--portfolio", "mine", "--base", "EUR")

    for done, said in ((unknown, "there is no portfolio called 'mine'"), (other, "is kept in USD, not in EUR")):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert said in done.stderr


def test_wrong_use_is_exit_code_2(home: Home) -> None:
    """No file, no portfolio, an unknown option and a base that is no asset are wrong use."""
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


def test_a_trade_is_taken_back_by_its_name_and_imported_right(home: Home) -> None:
    """A trade is named by its venue's id; the unchanged file is told as reversed, the corrected one goes in, and again."""
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


def test_what_cannot_be_taken_back_is_one_sentence(home: Home) -> None:
    """A name that no trade has, one that several have, and what moves no value are refused with exit code 1."""
    two = GOOD.replace("fee\n", "fee,account\n").replace("10\n", "10,a\n").replace(",1\n", ",1,b\n").replace("s1", "b1")
    take(home, write(home, two), "--create")

    for name, said in (("x", "no trade called 'x'"), ("b1", "2 trades are called 'b1'")):
        done = reverse(home, name)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    assert home.run("reverse", "b1", "--portfolio", "mine", "--reason", " ").returncode == 2
