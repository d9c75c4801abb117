"""The command `daybook lots FILE`."""

import json
from pathlib import Path

import pytest

from tests.support.processes import Home
from tests.support.waiting import DEADLINE_S

HEADER = "id,time,instrument,side,quantity,price,fee\n"
GOOD = (
    HEADER
    + "b1,2024-01-01T10:00:00Z,BTC-USD,buy,1,40000,10\n"
    + "s1,2024-01-02T10:00:00Z,BTC-USD,sell,0.123456789012345678,50000,1\n"
    + "a1,2024-01-03T10:00:00Z,AAPL,buy,3,190.5,0\n"
)
REPORT = {"method", "sells", "open_lots", "totals", "errors"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder without settings."""
    assert DEADLINE_S > 0
    return Home(tmp_path, {})


def write(home: Home, text: str, name: str = "trades.csv") -> str:
    (home.folder / name).write_text(text, encoding="utf-8")
    return name


def test_lots_prints_json(home: Home) -> None:
    """With --json one object is printed, its numbers as text, nothing on standard error, exit code 0."""
    done = home.run("lots", write(home, GOOD), "--json")
    report = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert set(report) == REPORT
    assert report["sells"][0]["quantity"] == "0.123456789012345678"
    assert report["totals"]["BTC-USD"]["realized_pnl"] == "1232.33332223333332322"
    assert not any(isinstance(value, int | float) for total in report["totals"].values() for value in total.values())
    assert list(home.folder.iterdir()) == [home.folder / "trades.csv"], "no database is made"


def test_lots_prints_every_digit_as_text(home: Home) -> None:
    """Without --json every number of the JSON is printed uncut, in lines of at most 80 columns, without decoration."""
    name = write(home, GOOD)
    plain = home.run("lots", name).stdout

    assert max(len(line) for line in plain.splitlines()) <= 80
    assert plain.isascii()
    words = set(plain.split())
    for number in ("0.123456789012345678", "4939.50612838395057678", "1232.33332223333332322", "571.5"):
        assert number in words


def test_lots_reports_unreadable_rows_and_uses_the_rest(home: Home) -> None:
    """A wrong row is listed on standard error and makes the exit code 1; the others are in the report."""
    done = home.run("lots", write(home, GOOD + "x,yesterday,BTC-USD,sell,1,50000,0\n"), "--json")

    assert done.returncode == 1
    assert done.stderr.startswith("daybook: x BTC-USD: line 5: time:")
    assert len(json.loads(done.stdout)["sells"]) == 1


def test_lots_reports_an_oversold_sale_with_exit_code_0(home: Home) -> None:
    """An oversold sale is an error of the report, not of the file."""
    done = home.run("lots", write(home, GOOD + "s2,2024-01-04T10:00:00Z,BTC-USD,sell,2,50000,0\n"), "--json")

    assert done.returncode == 0
    assert "s2" in done.stderr
    assert json.loads(done.stdout)["errors"][0]["id"] == "s2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("time,price\n1,2\n", "has no column"),
        ('[{"id": "a"', "is not JSON"),
        ("{}", "must be a JSON list"),
    ],
)
def test_lots_of_an_unusable_file_is_one_sentence(home: Home, text: str | None, said: str) -> None:
    """A missing file and one without trades end the command with one sentence that names it, and exit code 1."""
    name = "trades.csv" if text is None else write(home, text)

    done = home.run("lots", name)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"daybook: {name}")
    assert said in done.stderr


def test_lots_ends_with_exit_code_2_after_wrong_use(home: Home) -> None:
    """No file, an unknown option, and an invalid base are wrong use."""
    name = write(home, GOOD)
    for arguments in ((), (name, "--no-such-option"), (name, "--base", "us dollar"), (name, "--base", "")):
        done = home.run("lots", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage: daybook lots" in done.stderr
        assert "Traceback" not in done.stderr
    assert "'us dollar' is not an asset symbol" in home.run("lots", name, "--base", "us dollar").stderr


def test_lots_quotes_bare_symbols_in_the_base(home: Home) -> None:
    """With another base a bare symbol is still the same lot, without an error."""
    done = home.run("lots", write(home, GOOD), "--base", "EUR", "--json")

    assert done.returncode == 0
    assert "AAPL" in json.loads(done.stdout)["totals"]
