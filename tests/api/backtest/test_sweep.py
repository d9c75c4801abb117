"""Sweeps: every combination once, the same at any number of workers and after any interruption."""

import json
import os
import re
import signal
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.backtest import sweep as sweeping
from api.backtest.run import BacktestResult, BacktestSpec, BadBacktest, BotSpec, run_backtest
from api.backtest.sweep import RESULTS, Axis, axis_of, sweep
from api.backtest.walk_forward import walk_forward
from api.cli import cli
from api.cli.workers import Workers
from execution.exchanges.paper.exchange import PaperTerms
from ledger.replay.parallel import NewExecutor
from tests.support.market_files import write_market
from tests.support.worker_processes import processes

SIX_HOURS = timedelta(hours=6)
AXES = (Axis("length", (5, 9)), Axis("oversold", (25, 30, 60)), Axis("limit.cooldown_minutes", (0, 720)))
"""Twelve combinations, of which the bot refuses the four with 60 as oversold."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BacktestSpec:
    """An RSI bot on a hundred simulated days."""
    path = write_market(tmp_path_factory.mktemp("candles"), 400, 5, "6h")
    return BacktestSpec(path, (BotSpec("rsi", '{"smoothing":"simple"}'),), Decimal(10_000), PaperTerms())


def threads() -> Executor:
    return ThreadPoolExecutor(1)


@pytest.fixture(scope="module")
def alone(spec: BacktestSpec) -> sweeping.Sweep:
    return sweep(spec, AXES, threads)


def test_sweep_runs_one_backtest_for_each_combination(spec: BacktestSpec, alone: sweeping.Sweep) -> None:
    """Eight of twelve run, each with the log of the same backtest run alone, the best Sharpe ratio first."""
    assert (len(alone.trials), alone.refused) == (8, 4)
    assert "oversold" in alone.reason
    rated = [one.sharpe for one in alone.trials if one.sharpe is not None]
    assert rated == sorted(rated, reverse=True)
    assert len({one.log_hash for one in alone.trials}) > 1
    settings = dict(alone.trials[0].settings)
    limits = (("cooldown_minutes", Decimal(str(settings.pop("limit.cooldown_minutes")))),)
    bot = BotSpec("rsi", json.dumps(settings | {"smoothing": "simple"}))
    by_itself = run_backtest(BacktestSpec(spec.candles, (bot,), spec.cash, spec.terms, limits))
    assert (by_itself.run_id, by_itself.log_hash) == (alone.trials[0].run_id, alone.trials[0].log_hash)


@pytest.mark.parametrize(
    "pool",
    [
        processes(2),
        *(pytest.param(one, marks=pytest.mark.campaign) for one in (processes(1), Workers(2).executor, processes(4))),
    ],
)
def test_sweep_is_the_same_at_every_number_of_workers(
    spec: BacktestSpec, alone: sweeping.Sweep, pool: NewExecutor
) -> None:
    """Worker processes change no trial and no hash. `Workers` starts them as `--workers` does."""
    assert sweep(spec, AXES, pool) == alone


@pytest.mark.campaign
def test_sweep_is_the_same_on_a_dask_cluster(spec: BacktestSpec, alone: sweeping.Sweep) -> None:
    """The workers of a Dask cluster change nothing either."""
    from distributed import LocalCluster  # slow to load

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        assert sweep(spec, AXES, Workers(cluster=address).executor) == alone


@pytest.mark.campaign
def test_sweep_survives_a_killed_worker(spec: BacktestSpec, alone: sweeping.Sweep, tmp_path: Path) -> None:
    """The first worker is killed after the first result; a new one does the rest, and nothing is stored twice."""
    pools: list[ProcessPoolExecutor] = []

    def new_pool() -> ProcessPoolExecutor:
        pools.append(processes(1)())
        return pools[-1]

    def kill_the_first(done: int, _wanted: int) -> None:
        if done == 1:
            for worker in pools[0]._processes:
                os.kill(worker, signal.SIGKILL)

    assert sweep(spec, AXES, new_pool, tmp_path, kill_the_first) == alone
    assert len(pools) == 2
    kept = [json.loads(line)["run_id"] for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert sorted(kept) == sorted(one.run_id for one in alone.trials)


@pytest.fixture(scope="module")
def results(spec: BacktestSpec, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a completed sweep."""
    folder = tmp_path_factory.mktemp("swept")
    sweep(spec, AXES, threads, folder)
    return (folder / RESULTS).read_bytes()


@pytest.mark.parametrize("cut", [300, *(pytest.param(one, marks=pytest.mark.campaign) for one in (0, 2, 1500))])
def test_sweep_continues_after_an_interruption(
    spec: BacktestSpec,
    alone: sweeping.Sweep,
    results: bytes,
    tmp_path: Path,
    cut: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever an interruption left of the file, whole lines are not run again, and the result is the same."""
    file = tmp_path / RESULTS
    file.write_bytes(results[:-cut] if cut else results)
    whole = file.read_bytes().count(b"\n")
    runs: list[BacktestSpec] = []

    def counted(one: BacktestSpec) -> BacktestResult:
        runs.append(one)
        return run_backtest(one)

    monkeypatch.setattr(sweeping, "run_backtest", counted)
    assert sweep(spec, AXES, threads, tmp_path) == alone
    assert len(runs) == 8 - whole
    assert sweep(spec, AXES, threads, tmp_path) == alone
    assert len(runs) == 8 - whole


@pytest.mark.campaign
def test_sweep_ignores_results_of_other_runs(spec: BacktestSpec, tmp_path: Path) -> None:
    """A folder may hold results with other cash: they are other runs, and are ignored."""
    alone = sweep(spec, AXES[:1], threads)

    sweep(replace(spec, cash=Decimal(77)), AXES[:1], threads, tmp_path)
    assert sweep(spec, AXES[:1], threads, tmp_path) == alone


def test_walk_forward_trades_the_settings_chosen_in_training(spec: BacktestSpec) -> None:
    """Each test is the backtest of the settings that were best in training, on the bars after the gap."""
    found = walk_forward(spec, AXES[:2], threads, 2, purge=3, embargo=Decimal("0.01"))
    assert found.trials == 8
    for one in found.stretches:
        assert one.chosen is not None
        assert one.tested is not None
        assert one.tested_from - one.trained_to == (3 + 4) * SIX_HOURS
        trained = sweep(replace(spec, begin=one.trained_from, end=one.trained_to), AXES[:2], threads)
        assert one.chosen.sharpe == trained.trials[0].sharpe
        assert one.tested.settings == one.chosen.settings
    first, second = (one.tested.total_return or 0 for one in found.stretches if one.tested)
    assert found.total_return == (1 + first) * (1 + second) - 1


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("length=7,14", (7, 14)),
        ("length=5..15/5", (5, 10, 15)),
        ("x=0.1..0.3/0.1", (0.1, 0.2, 0.3)),
        ("x=3..5, 9", (3, 4, 5, 9)),
        ("smoothing=wilder,simple", ("wilder", "simple")),
        ("on=true,false", (True, False)),
    ],
)
def test_axis_of_parses_values(text: str, values: tuple[object, ...]) -> None:
    """Numbers, ranges with their end, truth values, and words."""
    assert axis_of(text) == Axis(text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        (("length",), "write length=7,14,21"),
        (("length=",), "write length=7,14,21"),
        (("length=9..5",), "must rise"),
        (("length=1..2/0",), "is not a range"),
        (("length=1..9/-1",), "must rise"),
        (("length=a..b",), "is not a range"),
        (("length=3", "length=5"), "varied twice"),
        (("nothing=1",), "the parameters of rsi are wrong"),
        (("limit.nothing=1",), "there is no limit 'nothing'"),
        (("limit.cooldown_minutes=x",), "limits are numbers"),
        (("length=1..999", "oversold=1..999"), "998001 combinations (limit: 100000)"),
    ],
)
def test_sweep_refuses_invalid_axes_in_one_sentence(
    spec: BacktestSpec, over: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    """The sentence gives the fault, and nothing is run or written."""
    with pytest.raises(BadBacktest, match=re.escape(sentence)):
        sweep(spec, [axis_of(text) for text in over], threads, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sweep_commands_print_their_results(spec: BacktestSpec, tmp_path: Path, alone: sweeping.Sweep) -> None:
    """sweep, walk-forward and compare are labelled as simulated, with the hashes of the same runs."""
    costs = ["--candles", str(spec.candles), "--bot", "rsi", "--fee", "0.001", "--half-spread", "0.0005"]
    over = ["--over", "length=5,9", "--over", "oversold=25,60"]
    swept = CliRunner().invoke(cli, ["backtest", "sweep", *costs, *over, "--out", str(tmp_path / "s"), "--top", "1"])
    assert swept.exit_code == 0
    assert "SIMULATED" in swept.output
    assert "2 combinations were left out" in swept.output
    assert "and 1 more" in swept.output
    said = json.loads(CliRunner().invoke(cli, ["backtest", "sweep", *costs, *over, "--json"]).output)
    assert said["sweep_hash"] in swept.output
    walked = CliRunner().invoke(cli, ["backtest", "walk-forward", *costs, *over, "--folds", "1"])
    assert "all tests in a row" in walked.output
    runs = [str(tmp_path / name) for name in ("one", "two")]
    for folder, length in zip(runs, ("5", "9"), strict=True):
        params = json.dumps({"length": int(length)})
        done = CliRunner().invoke(cli, ["backtest", "run", *costs, "--params", params, "--out", folder])
        assert done.exit_code == 0
    compared = CliRunner().invoke(cli, ["backtest", "compare", *runs])
    assert compared.exit_code == 0
    assert "sharpe" in compared.output
    refused = CliRunner().invoke(cli, ["backtest", "compare", str(spec.candles)])
    assert refused.exit_code == 1
    assert "is not the result of a backtest" in refused.output
