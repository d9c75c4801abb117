"""Bots that attack and bots that fail. They run only in processes of their own."""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from pydantic import Field

from signals.bot import Needs, Parameters, Signal, Window

THEIRS = "/nowhere/a file of somebody else"
"""Replaced by tests with the path of a file of theirs."""


class TrendParams(Parameters):
    length: int = Field(5, ge=2, le=100, description="bars")
    weight: float = Field(0.5, ge=0, le=1)


class Trend:
    """A bot that conforms."""

    kind: ClassVar[str] = "trend"
    version: ClassVar[str] = "3"
    Params: ClassVar[type[Parameters]] = TrendParams

    def needs(self, params: Any) -> Needs:
        return Needs(bars=params.length)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=params.weight if window.close[-1] > window.close[0] else -params.weight)


class Hang(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        hang()


class Spin(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        while True:
            pass


def hang() -> NoReturn:
    while True:
        time.sleep(1)


def write_to_parent(text: bytes) -> None:
    """Write into every open descriptor, among them the pipe to the parent."""
    for number in range(3, 20):
        try:
            os.set_blocking(number, True)
            os.write(number, text)
        except OSError:
            continue


class Flood(Trend):
    """Writes answers without end."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        while True:
            write_to_parent(b'{"number":3,"signal":null}\n' * 100)


class HugeLine(Trend):
    """Writes a line without end."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        while True:
            write_to_parent(b"x" * 10_000)


class HugeAnswer(Trend):
    """Answers in the right form with far too many parts."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        part = {"name": "x" * 100, "score": 0.0, "weight": 1.0}
        return Signal.model_validate({"score": 0.0, "parts": (part,) * 10_000})


class Garbage(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        write_to_parent(b"\xff\xfe not json \x00\n")
        hang()


class DeepGarbage(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        write_to_parent(b"[" * 90_000 + b"\n")
        hang()


class HalfCharacter(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        write_to_parent(b'{"number": 4, "fault": "\\ud800"}\n')
        hang()


class Forger(Trend):
    """Answers with the number of another request."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        write_to_parent(b'{"number":1,"signal":{"score":1.0}}\n')
        hang()


class OutOfBounds(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal.model_construct(score=5.0, confidence=1.0)


class NotANumber(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal.model_construct(score=float("nan"), confidence=1.0)


class Exits(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        sys.exit(7)


class Crashes(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.abort()


class HangsUp(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.closerange(3, 20)
        hang()


class EatsMemory(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.0, note=str(len(b"x" * 2**34)))


class EatsFiles(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        held = [Path(os.devnull).open() for _ in range(1000)]  # noqa: SIM115 - that is the point
        return Signal(score=0.0, note=str(len(held)))


class Writes(Trend):
    """Writes a temporary file."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        return Signal(score=1.0)


class Multiplies(Trend):
    """Forks past Python's own checks, and hangs."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.open(__file__, os.O_RDONLY)  # the test finds the processes by this file
        ctypes.pythonapi.fork()
        hang()


class Spawns(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        subprocess.run([sys.executable, "-c", ""], check=True)
        return Signal(score=1.0)


class Forks(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=float(os.fork() > 0))


class Dials(Trend):
    """Connects to a database."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        with socket.socket() as line:
            line.connect(("127.0.0.1", 5432))
        return Signal(score=1.0)


class Snoops(Trend):
    """Reads the environment of its parent."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.0, note=Path(f"/proc/{os.getppid()}/environ").read_text(encoding="utf-8")[:500])


class SnoopsInBytes(Trend):
    """The same by a relative path in bytes, with `os.open`."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.chdir("/tmp")
        text = os.read(os.open(f"../proc/{os.getppid()}/environ".encode(), os.O_RDONLY), 500)
        return Signal(score=0.0, note=text.decode())


class SnoopsByLink(Trend):
    """The same through a link."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.0, note=Path(f"{THEIRS}/{os.getppid()}/environ").read_text(encoding="utf-8")[:500])


class Empties(Trend):
    """Truncates a file while opening it."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.close(os.open(THEIRS, os.O_WRONLY | os.O_TRUNC))
        return Signal(score=1.0)


class Overwrites(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        Path(THEIRS).open("w").close()
        return Signal(score=1.0)


class Truncates(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.truncate(THEIRS, 0)
        return Signal(score=1.0)


class Removes(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        Path(THEIRS).unlink()
        return Signal(score=1.0)


class Renames(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        Path(THEIRS).rename(THEIRS + ".gone")
        return Signal(score=1.0)


class Raises(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        raise ZeroDivisionError("of course")


class Curious(Trend):
    """Reports its environment, input and folder."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        sys.stdout.write("output\n")
        family = socket.AF_INET.name
        note = f"{dict(os.environ)} {sys.stdin.read()!r} {Path.cwd()} {sys.flags.isolated} {family}"
        return Signal(score=0.0, note=note)


class NeedsTooMuch(Trend):
    def needs(self, params: Any) -> Needs:
        return Needs(bars=10**12)


class AnotherName(Trend):
    kind: ClassVar[str] = "rsi"


class LongVersion(Trend):
    version: ClassVar[str] = "9" * 1000
