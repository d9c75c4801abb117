"""Worker processes that end with this one."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from threading import Thread


def worker_processes(count: int) -> ProcessPoolExecutor:
    """Start `count` worker processes, each a fresh interpreter; they end with this process."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_parent)


def _end_with_parent() -> None:
    """Exit with the parent, which may be killed while this worker waits, and leave reporting interrupts to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in worker processes only"

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
