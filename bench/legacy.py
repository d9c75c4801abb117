"""Legacy import of a long database: seconds and memory of plan, run, check and rollback."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from bench.figures import Figure, peak_memory_mb, processor_seconds
from ledger.imports.run import Store
from ledger.postgres.book import PostgresBook
from ledger.replay.verify import rebuild_portfolio
from ledger.values import Asset, derived_id, system_clock
from migrations.legacy.check.check_import import check_import
from migrations.legacy.load.run import Wanted, prepared, run_import
from migrations.legacy.report import plan_lines
from migrations.legacy.rollback import roll_back
from tests.support.legacy.databases import make_legacy

ROWS_PER_EXECUTION: Final = 1.83
"""Rows of trades per execution in a generated database of the last generation, on average."""


def measure_legacy(engine: Engine, trades: int) -> list[Figure]:
    """Measure the import of about `trades` rows, with as many fills and half as many signals."""
    name = f"bench legacy {trades}"
    with tempfile.TemporaryDirectory(prefix="daybook-bench-legacy-") as folder:
        made = make_legacy(Path(folder) / "legacy.db", 7, int(trades / ROWS_PER_EXECUTION), generation=5)
        rows = made.rows["trades"]
        store = Store(PostgresBook(engine, system_clock), partial(rebuild_portfolio, engine))
        portfolio_id = derived_id("portfolio", name)
        wanted = Wanted(str(made.path), name, portfolio_id, Path(folder) / "kept", {}, Asset("USD"))

        def plan() -> None:
            with prepared(store, wanted) as found:
                assert len(list(plan_lines(found))) > 0, "the plan has lines"

        def run() -> None:
            with prepared(store, wanted, origins=True) as found:
                run_import(store, found)

        def check() -> None:
            with prepared(store, wanted, comparison=True) as found:
                assert check_import(store, found).ok, "the import is verified"

        def rollback() -> None:
            assert roll_back(store, portfolio_id, name, system_clock()).closed, "the portfolio has no other events"

        figures = [Figure("memory before a legacy import", peak_memory_mb(), "MB")]
        took = {step.__name__: _seconds(step) for step in (plan, run, check)}
        figures += [Figure(f"legacy {step} of {rows} trades", seconds, "s") for step, (seconds, _) in took.items()]
        figures.append(Figure("  total", sum(seconds for seconds, _ in took.values()), "s"))
        figures.append(
            Figure("  processor time, without the server", sum(computed for _, computed in took.values()), "s")
        )
        figures.append(Figure("  peak memory of this process", peak_memory_mb(), "MB"))
        figures.append(Figure("  rollback", _seconds(rollback)[0], "s"))
        return [*figures, Figure("  peak memory after the rollback", peak_memory_mb(), "MB")]


def _seconds(step: Callable[[], None]) -> tuple[float, float]:
    """Return wall-clock and processor seconds of a step, server not included."""
    start, computed = time.perf_counter(), processor_seconds()
    step()
    return time.perf_counter() - start, processor_seconds() - computed
