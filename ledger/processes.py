"""Processes that work for this one: they end with it, and what they give comes back in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from threading import Thread
from typing import Final, TypeVar

AHEAD: Final = 8
"""So many parts are handed out before the first has come back: nobody waits, and memory stays flat."""

Part = TypeVar("Part")
Result = TypeVar("Result")


def worker_processes(count: int) -> ProcessPoolExecutor:
    """So many processes, each with the modules of its work and nothing else of this one; they end with it."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_parent)


def each(
    executor: Executor | None, work: Callable[[Part], Result], parts: Iterable[Part], ahead: int = AHEAD
) -> Iterator[Result]:
    """What `work` makes of every part, in the order of the parts; without an executor it is made here.

    Raises what `work` raises, and BrokenExecutor when a worker was killed.
    """
    if executor is None:
        yield from map(work, parts)
        return
    waiting: deque[Future[Result]] = deque()
    for part in parts:
        waiting.append(executor.submit(work, part))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next part for ever; an interrupt is the parent's to tell of."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a started process has this to do"

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
