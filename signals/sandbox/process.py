"""Daybook's end of the pipe: starts the process of a bot, sends requests, and ends it when it breaks a limit."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final, NoReturn

from ledger.errors import DaybookError
from signals.sandbox.discovery import BotCode, BotUnusable


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a bot of another package: seconds per answer and start, bytes per answer and of memory, open files.

    It may start no processes. When Daybook runs as root the system does not enforce that, and only Python's own ways of
    starting one are refused.
    """

    answer_s: float = 5.0
    start_s: float = 30.0
    answer_bytes: int = 2**18
    memory_bytes: int = 2**31
    files: int = 64


class BotRaised(DaybookError):
    """The bot raised an exception. Its process continues."""


class BotProcess:
    """A bot in a process of its own, started at the first request and again after it was ended.

    `find` locates the code before each start, and raises BotUnusable for code that may not run.
    """

    def __init__(self, find: Callable[[], BotCode], limits: Limits) -> None:
        self._find = find
        self._limits = limits
        self._gate = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._stamp: object = None
        self._code: BotCode
        self._number = 0
        self._loaded: dict[str, Any] = {}

    def describe(self) -> dict[str, Any]:
        """The bot's kind, version, `scale_free` and the JSON schema of its parameters. Raises as `request`."""
        with self._gate:
            self._ready()
            return self._loaded

    def request(self, do: str, **more: object) -> dict[str, Any]:
        """Send a request and return the answer. Raises BotRaised for an exception of the bot, BotUnusable for a breach.

        A breach ends the process and its process group.
        """
        with self._gate:
            self._ready()
            return self._answer(do, self._limits.answer_s, **more)

    def close(self) -> None:
        """End the process. A later request starts another."""
        with self._gate:
            self._end()

    def _ready(self) -> None:
        """Start the process unless it runs the present files."""
        if self._running is not None and self._code.stamp() != self._stamp:
            self._end()
        if self._running is not None:
            return
        code = self._find()
        self._code, self._stamp = code, code.stamp()
        self._running = subprocess.Popen(
            [sys.executable, "-I", "-m", "signals.sandbox.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=Path(sys.executable).anchor,
            env={"OPENBLAS_NUM_THREADS": "1"},  # its threads count against the memory limit
            start_new_session=True,
        )
        for pipe in (self._running.stdin, self._running.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        limits = {"memory": self._limits.memory_bytes, "files": self._limits.files}
        folder = str(code.root.parent)
        try:
            self._loaded = self._answer("load", self._limits.start_s, target=code.target, folder=folder, **limits)
        except BotRaised as raised:
            self._give_up(f"it cannot be loaded: {raised}")
        self._check_again(code)

    def _check_again(self, code: BotCode) -> None:
        """Check the files again after loading: they may have changed since `find` checked them."""
        try:
            same = self._find() == code and code.stamp() == self._stamp
        except BotUnusable:
            self._end()
            raise
        if not same:
            self._give_up("its files changed while they were loaded")

    def _answer(self, do: str, seconds: float, **more: object) -> dict[str, Any]:
        self._number += 1
        line = self._exchange(json.dumps({"do": do, "number": self._number, **more}).encode() + b"\n", seconds)
        try:
            answer = json.loads(line, parse_constant=_no_number)
            json.dumps(answer, ensure_ascii=False).encode()  # lone surrogates could not be stored
        except (ValueError, RecursionError):
            self._give_up("its answer is not JSON")
        if not isinstance(answer, dict) or answer.get("number") != self._number:
            self._give_up("its answer has the wrong number")
        if "fault" in answer:
            raise BotRaised(" ".join(str(answer["fault"]).split())[:500])
        return answer

    def _exchange(self, unsent: bytes, seconds: float) -> bytes:
        """Send the request and return the answered line. Reads while writing, so that neither side can block."""
        assert self._running is not None
        requests, answers = self._running.stdin, self._running.stdout
        assert requests is not None
        assert answers is not None
        until, line = monotonic() + seconds, bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(requests, selectors.EVENT_WRITE)
            waiting.register(answers, selectors.EVENT_READ)
            while b"\n" not in line:
                left = until - monotonic()
                ready = {key.fileobj for key, _ in waiting.select(left)} if left > 0 else set()
                if not ready:
                    self._give_up(f"it gave no answer within {seconds:g} s")
                if requests in ready:
                    unsent = unsent[self._written(requests.fileno(), unsent) :]
                    if not unsent:
                        waiting.unregister(requests)
                if answers in ready:
                    line += self._read(answers.fileno())
                if len(line) > self._limits.answer_bytes:
                    self._give_up(f"its answer is longer than {self._limits.answer_bytes:,} bytes")
        answer, _, more = bytes(line).partition(b"\n")
        if more:
            self._give_up("it wrote more than one answer")
        return answer

    def _written(self, pipe: int, unsent: bytes) -> int:
        try:
            return os.write(pipe, unsent[:_PIECE])
        except BrokenPipeError:
            self._closed()

    def _read(self, pipe: int) -> bytes:
        found = os.read(pipe, _PIECE)
        if not found:
            self._closed()
        return found

    def _closed(self) -> NoReturn:
        """Raise BotUnusable with the exit of a process that closed its pipe."""
        assert self._running is not None
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(_EXIT_S)
        code = self._end()
        if code == -signal.SIGKILL:
            raise BotUnusable("its process closed the pipe or was killed")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise BotUnusable(f"its process {how}")

    def _give_up(self, reason: str) -> NoReturn:
        self._end()
        raise BotUnusable(reason)

    def _end(self) -> int:
        """End the process and its group, and return its exit code, which is its own if it had ended by itself."""
        running, self._running = self._running, None
        if running is None:
            return 0
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        code = running.wait()
        for pipe in (running.stdin, running.stdout):
            assert pipe is not None
            pipe.close()
        return code


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_PIECE: Final = 2**16
_EXIT_S: Final = 1.0
"""Seconds to wait for the exit code of a process that closed its pipe."""
