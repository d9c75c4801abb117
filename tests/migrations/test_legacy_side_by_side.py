"""A long source is translated and compared in several processes: to the same work file and the same figures."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from ledger.log.event_log import NoSuchPortfolio
from ledger.processes import worker_processes
from ledger.values import Asset
from migrations.legacy.check.pnl import compared
from migrations.legacy.load import parts, run, side_by_side, stage
from migrations.legacy.read.source import BadSource, open_source
from migrations.legacy.translate.decisions import Decisions
from tests.support.legacy_databases import GENERATIONS, make_legacy
from tests.support.legacy_imports import move_of

REAL, PAPER, BASE = UUID(int=1), UUID(int=2), Asset("USD")
SMALL = 5
"""So many rows a part, so that a small source has many."""
Tables = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Two processes."""
    with worker_processes(2) as pool:
        yield pool


def translated(path: Path, processes: Executor | None, decisions: Decisions | None = None) -> tuple[Tables, object]:
    """The tables of the work file, each in the order of its rows, and the comparison."""
    with open_source(str(path)) as source:
        context = stage.context_of(source, REAL, PAPER, BASE, decisions or {})
        with stage.staged(source, context, processes=processes) as found:
            rows = {name: found.connection.execute(f"select * from {name}").fetchall() for name in ("events", "seen")}
            fates = found.connection.execute("select * from fates order by tbl, key").fetchall()
            return {**rows, "fates": fates}, compared(found, REAL, BASE, processes)


@pytest.mark.parametrize("generation", range(GENERATIONS))
def test_processes_and_parts_change_nothing(
    tmp_path: Path, processes: Executor, monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    """In one part or in many, here or elsewhere, with decisions for some rows: one work file, one comparison."""
    path = make_legacy(tmp_path / "legacy.db", generation, 60, generation).path
    decisions: Decisions = {"trades": {"3": {"action": "archive"}, "*": {"unit": "base"}}}
    whole = translated(path, None, decisions)
    assert whole[0]["events"]

    monkeypatch.setattr(stage, "AT_ONCE", SMALL)

    assert translated(path, None, decisions) == whole
    assert translated(path, processes, decisions) == whole


def test_parts_that_come_in_another_order_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: results are taken as they come, and two figures of one moment change places."""
    path = make_legacy(tmp_path / "legacy.db", 5, 60, 5).path
    whole = translated(path, None)
    monkeypatch.setattr(stage, "AT_ONCE", SMALL)

    def disordered(_: object, work: Callable[[Any], Any], some: Iterable[Any]) -> Iterator[Any]:
        yield from reversed([work(one) for one in some])

    monkeypatch.setattr(stage, "each", disordered)

    assert translated(path, None) != whole


def test_rows_about_one_execution_stay_in_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without fills are parted between two executions only; parted anywhere, they would count twice."""
    path = make_legacy(tmp_path / "legacy.db", 1, 200, 5).path
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("delete from raw_trades")
    whole = translated(path, None)[0]
    assert any(word == "merged" for _, _, word, *_ in whole["fates"])

    monkeypatch.setattr(stage, "AT_ONCE", 1)
    assert translated(path, None)[0] == whole

    monkeypatch.setattr(stage, "_WINDOW", -(10**18))
    assert translated(path, None)[0] != whole


def test_a_dense_history_comes_in_parts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without fills, each close to the one before: no part holds more of them than fit, with one cluster over."""
    path = make_legacy(tmp_path / "legacy.db", 1, 3, 5).path
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = "bot_id, order_id, product_id, side, size, price, status"
        values = "1, 'o-' || value, 'BTC-USD', 'BUY', 0.1, 100, 'filled'"
        connection.execute(
            f"with recursive numbers(value) as (select 1 union all select value + 1 from numbers where value < 900)"
            f" insert into trades ({columns}, created_at) select {values},"
            " datetime('2025-01-01', value * 60 || ' seconds') from numbers"
        )
    sizes = []

    def seen(_: object, work: Callable[[Any], Any], some: Iterable[Any]) -> Iterator[Any]:
        for one in some:
            if work.func is parts.others_told:  # type: ignore[attr-defined]
                sizes.append(sum(map(len, one)))
            yield work(one)

    monkeypatch.setattr(stage, "AT_ONCE", 50)
    monkeypatch.setattr(stage, "each", seen)
    translated(path, None)

    assert sum(sizes) >= 900
    assert max(sizes) <= 50 + stage.LARGEST_CLUSTER


def test_a_column_that_is_computed_is_a_column(engine: Engine, tmp_path: Path) -> None:
    """A hand has added a generated column to the old table: its rows go in, and each is accounted for."""
    legacy = make_legacy(tmp_path / "legacy.db", 5, 40, 5)
    with closing(sqlite3.connect(legacy.path)) as connection, connection:
        connection.execute("alter table trades add column worth as (size * price)")
    move = move_of(engine, legacy, tmp_path, "computed")
    move.run()

    assert move.check().wrong == ()
    assert move.trades() == legacy.happened


def test_a_long_source_is_moved_in_by_several_processes(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run and check of a source that counts as long give what they give for a short one."""
    legacy = make_legacy(tmp_path / "legacy.db", 5, 40, 5)
    short, long = (move_of(engine, legacy, tmp_path, name) for name in ("short", "long"))
    short.run()
    wanted = short.check()

    seen = []

    def told(rows: int) -> AbstractContextManager[Executor | None]:
        seen.append(rows)
        return side_by_side.processes_for(rows)

    monkeypatch.setattr(side_by_side, "MANY_ROWS", 1)
    monkeypatch.setattr(side_by_side, "_processors", lambda: 2)
    monkeypatch.setattr(run, "processes_for", told)
    long.run()
    found = long.check()

    assert seen == [sum(legacy.rows[name] for name in ("bots", "raw_trades", "trades", "bot_signal_history"))] * 2
    assert (found.wrong, found.rows, found.pnl) == ((), wanted.rows, wanted.pnl)
    assert long.trades() == short.trades()


def test_a_killed_worker_is_one_sentence(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, and the sentence says where to look."""
    legacy = make_legacy(tmp_path / "legacy.db", 5, 40, 5)
    move = move_of(engine, legacy, tmp_path, "killed")
    monkeypatch.setattr(side_by_side, "MANY_ROWS", 1)
    monkeypatch.setattr(side_by_side, "_processors", lambda: 2)
    monkeypatch.setattr(stage, "signals_told", die)

    with pytest.raises(BadSource, match="ended too early: look for lack of memory"):
        move.run()
    with pytest.raises(NoSuchPortfolio):
        move.events()


def die(*_: object) -> None:
    """What the system does to a process when memory is short."""
    assert multiprocessing.parent_process() is not None, "the tests themselves live on"
    os.kill(os.getpid(), signal.SIGKILL)
