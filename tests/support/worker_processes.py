"""Worker processes for tests, forked from a process with the imports done; those of Daybook are spawned."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def processes(workers: int) -> Callable[[], ProcessPoolExecutor]:
    """Return a function that creates a pool of this many processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["api.backtest.sweep", "ledger.replay.parallel"])
    return lambda: ProcessPoolExecutor(workers, context)
