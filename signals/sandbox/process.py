"""The near end of the pipe: starts the process of one bot, asks it, and ends it when it is late or says what it must not."""

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
    """What a bot of another package may use: seconds for an answer and for its start, bytes of answer and memory, files.

    Other processes it may not start at all; where Daybook runs as root the system does not enforce that, and only Python's
    own ways of starting one are refused.
    """

    answer_s: float = 5.0
    start_s: float = 30.0
    answer_bytes: int = 2**18
    memory_bytes: int = 2**31
    files: int = 64


class BotRaised(DaybookError):
    """The bot itself raised something; the text says what. Its process goes on."""


class BotProcess:
    """A bot in a process of its own, which starts when it is first asked and anew after it was ended.

    `find` says before each start where the code is, and refuses (BotUnusable) code that may not run.
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
        """The bot's kind, version, whether it is scale-free, and the JSON schema of its parameters. Raises as `ask`."""
        with self._gate:
            self._ready()
            return self._loaded

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        """The answer. Raises BotRaised for what the bot raised, and BotUnusable after anything it must not do.

        In the latter case the process, and whatever else it started in its group, is gone.
        """
        with self._gate:
            self._ready()
            return self._heard(do, self._limits.answer_s, **more)

    def close(self) -> None:
        """The process is gone; asking again would start another."""
        with self._gate:
            self._end()

    def _ready(self) -> None:
        """The process runs the code that may run."""
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
            env={"OPENBLAS_NUM_THREADS": "1"},  # it counts against the memory that a bot may use
            start_new_session=True,
        )
        for pipe in (self._running.stdin, self._running.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        limits = {"memory": self._limits.memory_bytes, "files": self._limits.files}
        folder = str(code.root.parent)
        try:
            self._loaded = self._heard("load", self._limits.start_s, target=code.target, folder=folder, **limits)
        except BotRaised as raised:
            self._give_up(f"it cannot be loaded: {raised}")
        self._check_again(code)

    def _check_again(self, code: BotCode) -> None:
        """What was loaded is what `find` allowed: the files may have changed between its look at them and the loading."""
        try:
            same = self._find() == code and code.stamp() == self._stamp
        except BotUnusable:
            self._end()
            raise
        if not same:
            self._give_up("its files changed while they were loaded")

    def _heard(self, do: str, seconds: float, **more: object) -> dict[str, Any]:
        self._number += 1
        line = self._exchanged(json.dumps({"do": do, "number": self._number, **more}).encode() + b"\n", seconds)
        try:
            answer = json.loads(line, parse_constant=_no_number)
            json.dumps(answer, ensure_ascii=False).encode()  # half characters could not be told again
        except (ValueError, RecursionError):
            self._give_up("its answer is not JSON")
        if not isinstance(answer, dict) or answer.get("number") != self._number:
            self._give_up("it answers what it was not asked")
        if "fault" in answer:
            raise BotRaised(" ".join(str(answer["fault"]).split())[:500])
        return answer

    def _exchanged(self, unsent: bytes, seconds: float) -> bytes:
        """The line that comes back. Reading and writing wait together: neither can be held up by the other."""
        assert self._running is not None
        asked, answers = self._running.stdin, self._running.stdout
        assert asked is not None
        assert answers is not None
        until, said = monotonic() + seconds, bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(asked, selectors.EVENT_WRITE)
            waiting.register(answers, selectors.EVENT_READ)
            while b"\n" not in said:
                left = until - monotonic()
                ready = {key.fileobj for key, _ in waiting.select(left)} if left > 0 else set()
                if not ready:
                    self._give_up(f"it gave no answer within {seconds:g} s")
                if asked in ready:
                    unsent = unsent[self._written(asked.fileno(), unsent) :]
                    if not unsent:
                        waiting.unregister(asked)
                if answers in ready:
                    said += self._read(answers.fileno())
                if len(said) > self._limits.answer_bytes:
                    self._give_up(f"its answer is longer than {self._limits.answer_bytes:,} bytes")
        line, _, more = bytes(said).partition(b"\n")
        if more:
            self._give_up("it says more than it was asked")
        return line

    def _written(self, pipe: int, unsent: bytes) -> int:
        try:
            return os.write(pipe, unsent[:_PIECE])
        except BrokenPipeError:
            self._fallen()

    def _read(self, pipe: int) -> bytes:
        found = os.read(pipe, _PIECE)
        if not found:
            self._fallen()
        return found

    def _fallen(self) -> NoReturn:
        """The process hung up: how it ended is in the sentence."""
        assert self._running is not None
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(_FAREWELL_S)
        code = self._end()
        if code == -signal.SIGKILL:
            raise BotUnusable("its process hung up or was killed")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise BotUnusable(f"its process {how}")

    def _give_up(self, reason: str) -> NoReturn:
        self._end()
        raise BotUnusable(reason)

    def _end(self) -> int:
        """The exit code of the process, which is gone with its group. One that ended by itself keeps its own code."""
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
    raise ValueError(f"{text} is no number")


_PIECE: Final = 2**16
_FAREWELL_S: Final = 1.0
"""So long may a process that hung up take to end by itself, so that its exit code can be told."""
