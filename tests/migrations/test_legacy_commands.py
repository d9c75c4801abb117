"""`daybook import legacy` and `daybook export legacy` on the command line."""

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
from ledger.postgres.database import connected
from ledger.postgres.log import head_record, portfolio_ids, raw
from migrations.legacy.read import source
from migrations.legacy.read.source import file_hash
from tests.migrations.test_legacy_imports import trade_later
from tests.support.legacy.databases import make_legacy
from tests.support.legacy.imports import move_of
from tests.support.processes import DAYBOOK, Home, new_home
from tests.support.waiting import until

SAMPLE = (Path(__file__).resolve().parents[1] / "samples" / "legacy" / "evening.sql").read_text(encoding="utf-8")


@pytest.fixture
def home(database_url: str) -> Iterator[Home]:
    """A home with an empty ledger and the legacy file."""
    with new_home(candles=100, database_url=database_url) as made:
        write_sample(made.folder / "trading.db")
        yield made


def write_sample(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SAMPLE)


def call(home: Home, *arguments: str) -> Result:
    """Run the command in this process, which saves a second."""
    with pytest.MonkeyPatch.context() as context:
        context.chdir(home.folder)
        return CliRunner().invoke(cli, list(arguments), env=home.environment(), prog_name="daybook")


def result_of(home: Home, verb: str, *options: str, code: int = 0) -> dict[str, Any]:
    done = call(home, "import", "legacy", verb, "trading.db", "--portfolio", "mine", "--json", *options)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plan_reason(plan: dict[str, Any]) -> str:
    """Return the reason of the one quarantined row."""
    (reason,) = [str(row["reason"]) for row in plan["rows"] if row["fate"] == "quarantined"]
    return reason


def portfolios(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(portfolio_ids(raw(connection)))


def test_import_from_plan_to_rollback(home: Home, engine: Engine) -> None:
    """The plan writes nothing, the run imports all, the check verifies it with exit code 0, the rollback reverses it."""
    before = file_hash(home.folder / "trading.db")
    plan = result_of(home, "plan")
    assert portfolios(engine) == 0
    assert plan["fates"]["trades"] == {"archived": 1, "imported": 3, "merged": 2, "quarantined": 1}
    assert plan_reason(plan).startswith("size_usd and fills are missing")

    assert result_of(home, "check", code=3)["ok"] is False, "nothing is imported yet"
    assert result_of(home, "run")["imported"] == plan["new_events"] + plan["new_paper_events"]
    checked = result_of(home, "check")
    assert checked["ok"] is True
    assert checked["rows"]["trades"] == {"source": 7, "imported": 4, "merged": 2, "quarantined": 1, "unaccounted": 0}
    assert set(checked["pnl"]) == {"BTC-USD"}
    assert set(checked["pnl"]["BTC-USD"]) >= {"legacy", "ledger", "difference", "causes"}
    assert result_of(home, "run")["imported"] == 0

    done = result_of(home, "rollback")
    assert done == {
        "mine": {"reversed": 3, "before": 0, "later": 0, "closed": True},
        "mine paper": {"reversed": 1, "before": 0, "later": 0, "closed": True},
    }
    failed = call(home, "import", "legacy", "run", "trading.db", "--portfolio", "mine")
    assert (failed.exit_code, "was rolled back" in failed.output) == (1, True)
    proof, _ = home.replay()
    assert proof == 0
    assert file_hash(home.folder / "trading.db") == before


def test_check_report_causes_add_up_for_each_formula(home: Home) -> None:
    result_of(home, "run")
    for product in result_of(home, "check")["pnl"].values():
        for one in (product, *product["formulas"].values()):
            assert sum(map(Decimal, one["causes"].values())) == Decimal(one["difference"])
        assert Decimal(product["ledger"]) - Decimal(product["legacy"]["fifo"]) == Decimal(product["difference"])


def test_decisions_file_is_applied_and_remembered(home: Home) -> None:
    result_of(home, "run")
    (home.folder / "decisions.json").write_text('{"trades": {"6": {"unit": "base"}}}', encoding="utf-8")
    assert result_of(home, "run", "--decisions", "decisions.json")["imported"] == 1
    assert result_of(home, "check")["rows"]["trades"]["quarantined"] == 0


def test_report_page_contains_the_printed_lines(home: Home) -> None:
    done = call(home, "import", "legacy", "plan", "trading.db", "--portfolio", "mine", "--report", "plan.html")
    page = (home.folder / "plan.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert all(line.replace("'", "&#x27;") in page for line in done.stdout.splitlines())


def test_export_writes_the_old_rows_and_later_trades(home: Home, engine: Engine) -> None:
    """The exported file can be imported again."""
    result_of(home, "run")
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


def test_existing_database_is_never_replaced(home: Home) -> None:
    """Neither by an export nor by a report."""
    result_of(home, "run")
    before = (home.folder / "trading.db").read_bytes()
    for arguments in (
        ("export", "legacy", "trading.db", "--portfolio", "mine"),
        ("import", "legacy", "plan", "trading.db", "--portfolio", "mine", "--report", "trading.db"),
    ):
        done = call(home, *arguments)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "is a database, which is never replaced" in done.stderr
    assert (home.folder / "trading.db").read_bytes() == before


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"only text that is no database, and long enough to be one" * 20, "is not a readable SQLite database"),
        (b"", "contains none of the legacy tables"),
        (None, "no such file"),
    ],
)
def test_unusable_source_is_reported_in_one_line(
    content: bytes | None, message: str, home: Home, engine: Engine
) -> None:
    """With exit code 1, and nothing is written."""
    path = home.folder / "trading.db"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for verb in ("plan", "run", "check"):
        done = call(home, "import", "legacy", verb, "trading.db", "--portfolio", "mine")
        assert (done.exit_code, done.stdout) == (1, "")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert portfolios(engine) == 0


def test_locked_source_is_reported_in_one_line(home: Home, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written."""
    monkeypatch.setattr(source, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(home.folder / "trading.db", isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        done = call(home, "import", "legacy", "run", "trading.db", "--portfolio", "mine")
        holder.execute("rollback")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "is locked by another program" in done.stderr
    assert portfolios(engine) == 0


def test_rollback_of_an_unknown_import_is_reported(home: Home) -> None:
    done = call(home, "import", "legacy", "rollback", "trading.db", "--portfolio", "mine")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)


def test_plan_reports_an_invalid_portfolio_name(home: Home) -> None:
    done = call(home, "import", "legacy", "plan", "trading.db", "--portfolio", "")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "invalid portfolio name" in done.stderr


@pytest.mark.nightly
def test_killed_run_ends_in_the_state_of_an_undisturbed_one(database_url: str, empty_database_url: str) -> None:
    """Killed at twenty positions of the log."""
    with new_home(candles=100, database_url=database_url) as home, connected(database_url) as engine:
        legacy = make_legacy(home.folder / "trading.db", 77, 6000, 5)
        move = move_of(engine, legacy, home.folder / "check", "mine")
        command = [str(DAYBOOK), "import", "legacy", "run", "trading.db", "--portfolio", "mine"]
        kills = 0
        for turn in range(20):
            process = subprocess.Popen(command, cwd=home.folder, env=home.environment(), stdout=subprocess.DEVNULL)
            wanted = 1 + turn * 900

            def reached(running: subprocess.Popen[bytes] = process, wanted: int = wanted) -> bool:
                with engine.connect() as connection:
                    head = head_record(raw(connection), move.portfolio_id)
                return running.poll() is not None or (head is not None and head.position >= wanted)

            until(reached, "the import to reach the position")
            kills += process.poll() is None
            process.kill()
            process.wait()
        assert kills > 3
        assert home.run("import", "legacy", "run", "trading.db", "--portfolio", "mine").returncode == 0
        assert home.run("import", "legacy", "check", "trading.db", "--portfolio", "mine").returncode == 0
        killed = move.verified_state()
    with new_home(candles=100, database_url=empty_database_url) as home:
        make_legacy(home.folder / "trading.db", 77, 6000, 5)
        assert home.run("import", "legacy", "run", "trading.db", "--portfolio", "mine").returncode == 0
        with connected(empty_database_url) as engine:
            assert move_of(engine, home.folder / "trading.db", home.folder, "mine").verified_state() == killed
