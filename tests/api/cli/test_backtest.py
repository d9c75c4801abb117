"""The command `daybook backtest`."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import cli
from signals import registry
from tests.api.backtest.test_audit import Peeks
from tests.support.documents.generated import check_generated
from tests.support.market_files import write_market

ROOT = Path(__file__).resolve().parents[3]
COSTS = ("--fee", "0.001", "--half-spread", "0.0005")


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of candles in the folder that the command is called in."""
    monkeypatch.chdir(tmp_path)
    return write_market(tmp_path, 200).name


def backtest(*words: str) -> Result:
    return CliRunner().invoke(cli, ["backtest", *words])


def test_run_prints_json_and_writes_files(market: str, tmp_path: Path) -> None:
    """With --json one object is printed, with numbers as text; --out writes the same and the whole log."""
    done = backtest("run", "--candles", market, "--bot", "ma_cross", *COSTS, "--json", "--out", "result/one")
    result = json.loads(done.stdout)
    folder = tmp_path / "result" / "one"
    log = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]

    assert done.exit_code == 0
    assert result == json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["label"].startswith("SIMULATED")
    assert (len(log), log[-1]["hash"]) == (result["events"], result["log_hash"])
    assert isinstance(result["performance"]["equity"], str)
    assert len((folder / "trades.csv").read_text(encoding="utf-8").splitlines()) == result["trades"] + 1
    assert (folder / "equity.csv").read_text(encoding="utf-8").startswith("day,equity,cash,invested\n2025-01-01,")


def test_run_writes_a_log_that_the_verifier_accepts(market: str) -> None:
    """The stand-alone verifier accepts the log that --out writes."""
    backtest("run", "--candles", market, "--bot", "rsi", "--params", '{"smoothing":"simple"}', *COSTS, "--out", "x")
    script = ROOT / "docs" / "verify_log.py"
    done = subprocess.run([sys.executable, script, "x/events.jsonl"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_run_draws_the_same_labelled_chart_each_time(market: str, tmp_path: Path) -> None:
    """--png and --html write files that depend on nothing but the result."""
    words = ("run", "--candles", market, "--bot", "ma_cross", *COSTS, "--png", "a.png", "--html", "a.html")
    backtest(*words)
    first = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.html").read_text(encoding="utf-8")
    backtest(*words)
    again = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.html").read_text(encoding="utf-8")

    assert first == again
    assert first[0][:4] == b"\x89PNG"
    assert "<svg" in first[1]
    assert first[1].count("SIMULATED") >= 3


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("--fee", "0.001"), 2, "--half-spread"),
        (("--half-spread", "0.001"), 2, "--fee"),
        ((*COSTS, "--limit", "warm_score"), 2, "name=value"),
        ((*COSTS, "--limit", "warmth=1"), 1, "there is no limit 'warmth'"),
        ((*COSTS, "--params", "{}", "--params", "{}"), 2, "2 --params for 1 --bot"),
        ((*COSTS, "--params", '{"length": 1}'), 1, "rsi are wrong: length must be greater than or equal to 2"),
        ((*COSTS, "--params", '{"lenght": 9}'), 1, "parameters of rsi are wrong: lenght is not known here"),
        ((*COSTS, "--params", "[]"), 1, "parameters of rsi are wrong: it must be an object"),
        ((*COSTS, "--params", "9 bars"), 1, "parameters of rsi are wrong: it is not JSON"),
        ((*COSTS, "--from", "2030-01-01T00:00:00Z"), 1, "no candle lies between"),
        ((*COSTS, "--impact", "2"), 2, "'--impact': 2 must be from 0 to 1"),
        (("--fee", "-1", "--half-spread", "0"), 2, "'--fee': -1 must be from 0 to below 1"),
        ((*COSTS, "--maker-fee", "1"), 2, "'--maker-fee': 1 must be from 0 to below 1"),
        ((*COSTS, "--cash", "0"), 2, "'--cash': 0 must be above 0"),
        ((*COSTS, "--volume-share", "0"), 2, "'--volume-share': 0 must be above 0 and up to 1"),
        ((*COSTS, "--html", "nowhere/a.html"), 1, "there is no folder"),
        ((*COSTS, "--png", "."), 1, "is not a regular file"),
        ((*COSTS, "--out", "test-BTC-USD-1m.csv/x"), 1, "test-BTC-USD-1m.csv is not a folder"),
    ],
)
def test_run_refuses_wrong_use_in_one_sentence(market: str, words: tuple[str, ...], code: int, why: str) -> None:
    """Missing costs are wrong use like any other; nothing is printed to standard output."""
    done = backtest("run", "--candles", market, "--bot", "rsi", *words)

    assert (done.exit_code, done.stdout) == (code, "")
    assert why in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())


def test_run_refuses_candles_of_an_unnamed_market(market: str, tmp_path: Path) -> None:
    """A folder, and a file without product and timeframe in its name, are refused with the remedy."""
    (tmp_path / "candles.csv").write_bytes((tmp_path / market).read_bytes())
    for candles, why in (
        ("candles.csv", "candles.csv names no instrument and timeframe: rename it like coinbase-BTC-USD-1h.csv"),
        (".", ". is a folder: name a CSV file in it"),
    ):
        done = backtest("run", "--candles", candles, "--bot", "rsi", *COSTS)
        assert (done.exit_code, done.stdout) == (1, "")
        assert why in " ".join(done.stderr.split())


def test_audit_exits_with_3_after_a_difference(market: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 without a difference, 3 for a bot that looks ahead."""
    honest = backtest("audit", "--samples", "2", "--candles", market, "--bot", "ma_cross", *COSTS)
    monkeypatch.setitem(registry.BUILT_IN, "plain", Peeks())
    cheating = backtest("audit", "--samples", "2", "--candles", market, "--bot", "plain", *COSTS)

    assert (honest.exit_code, cheating.exit_code) == (0, 3), honest.stdout + cheating.stdout
    assert "look-ahead: first difference at" in cheating.stdout


@pytest.mark.campaign
@pytest.mark.generated
def test_backtest_page_shows_real_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command in docs/backtest.md, run on the candles of the page, prints the lines below it."""
    write_market(tmp_path, 1500)
    write_market(tmp_path, 400, 5, "6h")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "backtest.md"
    examples = re.findall(r"```sh\ndaybook (.*?)```\n+```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)

    assert len(examples) >= 4
    for command, documented in examples:
        done = CliRunner().invoke(cli, shlex.split(command.replace("\\\n", " ")))
        assert done.exit_code == 0
        check_generated(page, documented, done.stdout)
