"""How many processes work on a source."""

import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from typing import Final

from ledger.processes import worker_processes
from migrations.legacy.read.source import BadSource

MANY_ROWS: Final = 20_000
"""Of a smaller source the work is done before other processes have started."""
MOST: Final = 4
"""More processes than that wait for the one that reads and stores."""


@contextmanager
def processes_for(rows: int) -> Iterator[Executor | None]:
    """Processes for the work on so many rows; None where it is done as soon without them.

    Raises BadSource when one of them ends before its work is done.
    """
    count = min(_processors(), MOST)
    if rows < MANY_ROWS or count < 2:  # one alone would only carry parts
        yield None
        return
    try:
        with worker_processes(count) as processes:
            yield processes
    except BrokenExecutor:
        raise BadSource(
            "a process that worked on it ended too early: look for lack of memory in the system's log, then try again"
        ) from None


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
