"""Parts worked on side by side: the same results in the same order, in this process or in several."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Final, TypeVar

MANY_ROWS: Final = 20_000
"""Of a smaller source the work is done before other processes have started."""
MOST: Final = 4
"""More processes than that wait for the one that reads and stores."""

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def processes_for(rows: int) -> Iterator[Executor | None]:
    """Processes for the work on so many rows; None where it is done as soon without them. They end with this one."""
    count = min(os.cpu_count() or 1, MOST)
    if rows < MANY_ROWS or count < 2:  # one alone would only carry parts
        yield None
        return
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_parent) as processes:
        yield processes


def each(
    processes: Executor | None, work: Callable[[Part], Result], parts: Iterable[Part], ahead: int = 2 * MOST
) -> Iterator[Result]:
    """What `work` makes of every part, in the order of the parts; at most so many are worked on ahead."""
    if processes is None:
        yield from map(work, parts)
        return
    waiting: deque[Future[Result]] = deque()
    for part in parts:
        waiting.append(processes.submit(work, part))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for its next part for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a started process has this to do"

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
