"""`daybook import legacy` and `daybook export legacy` as a person calls them."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from api.cli import cli
from ledger.postgres.log import head_record, portfolio_ids, raw
from migrations.legacy.read import source
from migrations.legacy.read.source import file_hash
from tests.migrations.test_legacy_imports import trade_later
from tests.support.legacy_databases import make_legacy
from tests.support.legacy_imports import connections, move_of
from tests.support.processes import DAYBOOK, Home, new_home
from tests.support.waiting import until

SAMPLE = (Path(__file__).resolve().parents[1] / "samples" / "legacy" / "evening.sql").read_text(encoding="utf-8")


@pytest.fixture
def home(database_url: str) -> Iterator[Home]:
    """A home with an empty ledger and the old system's file in it."""
    with new_home(candles=100, database_url=database_url) as made:
        write_sample(made.folder / "trading.db")
        yield made


def write_sample(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SAMPLE)


def call(home: Home, *arguments: str) -> Result:
    """The command, in this process: a process of its own costs a second more."""
    with pytest.MonkeyPatch.context() as context:
        context.chdir(home.folder)
        return CliRunner().invoke(cli, list(arguments), env=home.environment(), prog_name="daybook")


def told(home: Home, verb: str, *options: str, code: int = 0) -> dict[str, Any]:
    done = call(home, "import", "legacy", verb, "trading.db", "--portfolio", "mine", "--json", *options)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plan_reason(plan: dict[str, Any]) -> str:
    """Why the one quarantined row is."""
    (reason,) = [str(row["reason"]) for row in plan["rows"] if row["fate"] == "quarantined"]
    return reason


def portfolios(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(portfolio_ids(raw(connection)))


def test_the_evening_from_plan_to_rollback(home: Home, engine: Engine) -> None:
    """Planned, nothing is there; run, all of it is; checked, it is proven with exit code 0; rolled back, it is gone."""
    before = file_hash(home.folder / "trading.db")
    plan = told(home, "plan")
    assert portfolios(engine) == 0
    assert plan["fates"]["trades"] == {"archived": 1, "imported": 3, "merged": 2, "quarantined": 1}
    assert plan_reason(plan).startswith("size_usd is missing")

    assert told(home, "check", code=3)["ok"] is False, "nothing is imported yet"
    assert told(home, "run")["imported"] == plan["new_events"] + plan["new_paper_events"]
    checked = told(home, "check")
    assert checked["ok"] is True
    assert checked["rows"]["trades"] == {"source": 7, "imported": 4, "merged": 2, "quarantined": 1, "unaccounted": 0}
    assert set(checked["pnl"]) == {"BTC-USD"}
    assert set(checked["pnl"]["BTC-USD"]) >= {"legacy", "ledger", "difference", "causes"}
    assert told(home, "run")["imported"] == 0

    done = told(home, "rollback")
    assert done == {
        "mine": {"reversed": 3, "before": 0, "later": 0, "closed": True},
        "mine paper": {"reversed": 1, "before": 0, "later": 0, "closed": True},
    }
    failed = call(home, "import", "legacy", "run", "trading.db", "--portfolio", "mine")
    assert (failed.exit_code, "was rolled back" in failed.output) == (1, True)
    proof, _ = home.replay()
    assert proof == 0
    assert file_hash(home.folder / "trading.db") == before


def test_the_causes_of_each_product_add_up(home: Home) -> None:
    """As text, exactly, for the headline and for each formula."""
    told(home, "run")
    for product in told(home, "check")["pnl"].values():
        for one in (product, *product["formulas"].values()):
            assert sum(map(Decimal, one["causes"].values())) == Decimal(one["difference"])
        assert Decimal(product["ledger"]) - Decimal(product["legacy"]["fifo"]) == Decimal(product["difference"])


def test_a_decision_is_taken_from_its_file(home: Home) -> None:
    """The quarantined row goes in; the decision is remembered by the check."""
    told(home, "run")
    (home.folder / "decisions.json").write_text('{"trades": {"6": {"unit": "base"}}}', encoding="utf-8")
    assert told(home, "run", "--decisions", "decisions.json")["imported"] == 1
    assert told(home, "check")["rows"]["trades"]["quarantined"] == 0


def test_a_report_is_a_page_of_its_own(home: Home) -> None:
    """It says what the command printed."""
    done = call(home, "import", "legacy", "plan", "trading.db", "--portfolio", "mine", "--report", "plan.html")
    page = (home.folder / "plan.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert all(line.replace("'", "&#x27;") in page for line in done.stdout.splitlines())


def test_the_old_system_can_start_again(home: Home, engine: Engine) -> None:
    """Exported, the old tables are there row by row as they were, with later trades behind them; these can be read again."""
    told(home, "run")
    move = move_of(engine, home.folder / "trading.db", home.folder, "mine")
    untouched = call(home, "export", "legacy", "again.db", "--portfolio", "mine")
    assert untouched.exit_code == 0, untouched.output
    assert dump(home.folder / "again.db") == dump(home.folder / "trading.db")

    trade_later(move)
    done = call(home, "export", "legacy", "later.db", "--portfolio", "mine", "--json")
    assert json.loads(done.stdout)["later"] == 2
    assert json.loads(done.stdout)["left_out"] == 1
    old, new = dump(home.folder / "trading.db"), dump(home.folder / "later.db")
    assert [line for line in old if line not in new] == []
    assert len(new) == len(old) + 4
    again = call(home, "import", "legacy", "run", "later.db", "--portfolio", "other", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["fates"]["raw_trades"] == {"imported": 3}


def test_no_database_is_ever_replaced(home: Home) -> None:
    """Neither an export nor a report takes the place of the old system's file."""
    told(home, "run")
    before = (home.folder / "trading.db").read_bytes()
    for arguments in (
        ("export", "legacy", "trading.db", "--portfolio", "mine"),
        ("import", "legacy", "plan", "trading.db", "--portfolio", "mine", "--report", "trading.db"),
    ):
        done = call(home, *arguments)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "is a database, and none is ever replaced" in done.stderr
    assert (home.folder / "trading.db").read_bytes() == before


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"only text that is no database, and long enough to be one" * 20, "is not a SQLite database"),
        (b"", "holds none of the legacy system's tables"),
        (None, "there is no file"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_sentence(
    content: bytes | None, said: str, home: Home, engine: Engine
) -> None:
    """Exit code 1, one line, and nothing is written."""
    path = home.folder / "trading.db"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for verb in ("plan", "run", "check"):
        done = call(home, "import", "legacy", verb, "trading.db", "--portfolio", "mine")
        assert (done.exit_code, done.stdout) == (1, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert portfolios(engine) == 0


def test_a_locked_source_is_one_sentence(home: Home, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written while another program holds the file."""
    monkeypatch.setattr(source, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(home.folder / "trading.db", isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        done = call(home, "import", "legacy", "run", "trading.db", "--portfolio", "mine")
        holder.execute("rollback")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "is locked by another program" in done.stderr
    assert portfolios(engine) == 0


def test_rolling_back_what_never_was_is_said(home: Home) -> None:
    """There is no such portfolio."""
    done = call(home, "import", "legacy", "rollback", "trading.db", "--portfolio", "mine")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)


def test_a_name_that_no_portfolio_can_have_is_said_before_anything_is_planned(home: Home) -> None:
    """Not only when the import is run."""
    done = call(home, "import", "legacy", "plan", "trading.db", "--portfolio", "")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "cannot be a portfolio's name" in done.stderr


@pytest.mark.nightly
def test_a_run_that_is_killed_for_real_goes_on(database_url: str, empty_database_url: str) -> None:
    """Killed by the system at twenty moments, told by how far the log has come, the run ends as one that was left alone."""
    with new_home(candles=100, database_url=database_url) as home, connections(database_url) as engine:
        legacy = make_legacy(home.folder / "trading.db", 77, 6000, 5)
        move = move_of(engine, legacy, home.folder / "check", "mine")
        command = [str(DAYBOOK), "import", "legacy", "run", "trading.db", "--portfolio", "mine"]
        kills = 0
        for turn in range(20):
            process = subprocess.Popen(command, cwd=home.folder, env=home.environment(), stdout=subprocess.DEVNULL)
            wanted = 1 + turn * 900

            def come_far(running: subprocess.Popen[bytes] = process, wanted: int = wanted) -> bool:
                with engine.connect() as connection:
                    head = head_record(raw(connection), move.portfolio_id)
                return running.poll() is not None or (head is not None and head.position >= wanted)

            until(come_far, "the import to come so far")
            kills += process.poll() is None
            process.kill()
            process.wait()
        assert kills > 3
        assert home.run("import", "legacy", "run", "trading.db", "--portfolio", "mine").returncode == 0
        assert home.run("import", "legacy", "check", "trading.db", "--portfolio", "mine").returncode == 0
        killed = move.proven()
    with new_home(candles=100, database_url=empty_database_url) as home:
        make_legacy(home.folder / "trading.db", 77, 6000, 5)
        assert home.run("import", "legacy", "run", "trading.db", "--portfolio", "mine").returncode == 0
        with connections(empty_database_url) as engine:
            assert move_of(engine, home.folder / "trading.db", home.folder, "mine").proven() == killed
