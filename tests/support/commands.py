"""`daybook` commands in processes of their own, forked from a warm one: see `tests/support/warm_daybook.py`."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from tests.support.waiting import DEADLINE_S

ROOT = Path(__file__).resolve().parents[2]


class Command:
    """A running command: its output so far, in lines, and its exit code (negative: the signal that ended it)."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, new_session: bool = False
    ) -> None:
        request = {
            "command": list(command),
            "folder": str(folder),
            "environment": dict(environment),
            "new_session": new_session,
        }
        self._told, out, err = _begun(json.dumps(request))
        self.pid = int(self._told.readline())
        self.returncode: int | None = None
        self.out: list[str] = []
        self.err: list[str] = []
        self._ended = Event()
        work = ((self._await_end,), (_read_all, out, self.out), (_read_all, err, self.err))
        self._threads = [Thread(target=call, args=arguments, daemon=True) for call, *arguments in work]
        for thread in self._threads:
            thread.start()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        """Wait for the end and return the exit code; all output has been read."""
        assert self._ended.wait(DEADLINE_S), "it does not end"
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "something that it started holds its output"
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await_end(self) -> None:
        with self._told:
            self.returncode = int(self._told.readline())
        self._ended.set()


def _begun(request: str) -> tuple[TextIO, TextIO, TextIO]:
    """Have the warm process fork a command; return its status stream, output and errors."""
    ours, theirs = socket.socketpair()
    (out, out_of_it), (err, err_of_it) = os.pipe(), os.pipe()
    with ours, theirs:
        ours.sendall(f"{request}\n".encode())
        socket.send_fds(_warm(), [b"+"], [theirs.fileno(), out_of_it, err_of_it])
        told = ours.makefile()
    os.close(out_of_it)
    os.close(err_of_it)
    return told, os.fdopen(out), os.fdopen(err)


@cache
def _warm() -> socket.socket:
    """The socket of the warm process, which starts with the first command and ends when the socket is closed."""
    ours, theirs = socket.socketpair()
    others = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_daybook", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env={**others, "COLUMNS": "80", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _read_all(stream: TextIO, lines: list[str]) -> None:
    with stream:
        lines.extend(stream)
