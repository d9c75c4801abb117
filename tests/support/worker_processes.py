"""Worker processes for tests: forked from a clean one that has imported what they need, where Daybook's own are spawned."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def processes(workers: int) -> Callable[[], ProcessPoolExecutor]:
    """Makes pools of so many processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["api.backtest.sweep", "ledger.replay.parallel"])
    return lambda: ProcessPoolExecutor(workers, context)
