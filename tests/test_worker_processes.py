"""Processes that work for another one end with it, and what they give comes back in order."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
WAITING = """
import sys
from ledger import processes
{planted}
with processes.worker_processes(2) as executor:
    print(*processes.each(executor, abs, range(40)), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("planted", ["", "processes._end_with_parent = int"], ids=["as they are", "planted"])
def test_they_end_with_the_one_that_was_killed(planted: str) -> None:
    """A killed command leaves no process behind; the planted ones go on waiting for their next part."""
    command = [sys.executable, "-c", WAITING.format(planted=planted)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline().split() == [str(one) for one in range(40)]
        workers = [
            one
            for one in psutil.Process(program.pid).children(recursive=True)
            if any("spawn_main" in part for part in one.cmdline())
        ]
        assert len(workers) == 2
        program.kill()
    _, left = psutil.wait_procs(workers, timeout=1 if planted else 60)
    for one in left:
        one.kill()

    assert bool(left) == bool(planted)
