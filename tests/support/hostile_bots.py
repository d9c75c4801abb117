"""Bots that mean harm, and some that only fail. They run in processes of their own; nothing here is ever asked in ours."""

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
"""A test puts the path of a file of its own here."""


class TrendParams(Parameters):
    length: int = Field(5, ge=2, le=100, description="bars")
    weight: float = Field(0.5, ge=0, le=1)


class Trend:
    """A bot like others."""

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


def told_to_parent(text: bytes) -> None:
    """Written into whatever is open for writing: the pipe to the parent among them."""
    for number in range(3, 20):
        try:
            os.set_blocking(number, True)
            os.write(number, text)
        except OSError:
            continue


class Flood(Trend):
    """Says more and more, line by line."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        while True:
            told_to_parent(b'{"number":3,"signal":null}\n' * 100)


class HugeLine(Trend):
    """Says one thing that never ends."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        while True:
            told_to_parent(b"x" * 10_000)


class HugeAnswer(Trend):
    """Keeps the form, and answers with more parts than anyone can read."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        part = {"name": "x" * 100, "score": 0.0, "weight": 1.0}
        return Signal.model_validate({"score": 0.0, "parts": (part,) * 10_000})


class Garbage(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        told_to_parent(b"\xff\xfe not json \x00\n")
        hang()


class DeepGarbage(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        told_to_parent(b"[" * 90_000 + b"\n")
        hang()


class HalfCharacter(Trend):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        told_to_parent(b'{"number": 4, "fault": "\\ud800"}\n')
        hang()


class Forger(Trend):
    """Answers what was not asked."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        told_to_parent(b'{"number":1,"signal":{"score":1.0}}\n')
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
    """Writes a file, if it finds a place where it can."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        return Signal(score=1.0)


class Multiplies(Trend):
    """Leaves another process behind, past everything that Python itself refuses, and hangs."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.open(__file__, os.O_RDONLY)  # something by which the test finds them again
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
    """Looks for a database, or anybody."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        with socket.socket() as line:
            line.connect(("127.0.0.1", 5432))
        return Signal(score=1.0)


class Snoops(Trend):
    """Looks for secrets in the environment of whoever started it."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.0, note=Path(f"/proc/{os.getppid()}/environ").read_text(encoding="utf-8")[:500])


class SnoopsInBytes(Trend):
    """The same from within another folder, in bytes, and by the lower door."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        os.chdir("/tmp")
        told = os.read(os.open(f"../proc/{os.getppid()}/environ".encode(), os.O_RDONLY), 500)
        return Signal(score=0.0, note=told.decode())


class SnoopsByLink(Trend):
    """The same over a link that somebody left."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.0, note=Path(f"{THEIRS}/{os.getppid()}/environ").read_text(encoding="utf-8")[:500])


class Empties(Trend):
    """Wants a file of ours to hold nothing any more."""

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
    """Says what it sees of the world around it."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        sys.stdout.write("a word to those who read along\n")
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
