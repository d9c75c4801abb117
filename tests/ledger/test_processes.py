"""Worker processes end with their parent and leave interrupts to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
import operator, os, signal, sys
from ledger import processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # SIGINT may be ignored where the tests run
{planted}
with processes.worker_processes(2) as executor:
    seen = set()
    while len(seen) < 2:
        seen |= set(executor.map(operator.call, [os.getpid] * 20))
    print(*seen, flush=True)
    sys.stdin.read()
"""


PLANTED = pytest.mark.parametrize("planted", ["", "processes._end_with_parent = int"], ids=["unchanged", "planted"])


@PLANTED
def test_workers_end_when_the_parent_is_killed(planted: str) -> None:
    """Planted workers keep waiting for their next item."""
    with started(planted) as (program, workers):
        program.kill()
    _, left = psutil.wait_procs(workers, timeout=1 if planted else 60)
    for one in left:
        one.kill()

    assert bool(left) == bool(planted)


@PLANTED
def test_interrupt_is_reported_once(planted: str) -> None:
    """Ctrl-C reaches all processes; only the parent prints a traceback. Planted workers print theirs as well."""
    with started(planted) as (program, workers):
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate()
    psutil.wait_procs(workers)
    assert errors.count("KeyboardInterrupt") == (3 if planted else 1)


@contextmanager
def started(planted: str) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """Start a program whose two workers have done their work and wait for more."""
    command = [sys.executable, "-c", WAITING.format(planted=planted)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        yield program, [psutil.Process(int(one)) for one in program.stdout.readline().split()]
