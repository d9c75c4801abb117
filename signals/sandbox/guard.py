"""The one door through which code of others is called: whatever it raises becomes a value."""

from collections.abc import Callable
from dataclasses import dataclass
from traceback import format_exception_only
from typing import TypeVar

T = TypeVar("T")


def answer_of(call: Callable[[], T]) -> "T | Failure":
    """What the call returns, or the failure it raised. Ctrl-C and the end of the program pass through."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - a bot is foreign code: it may raise anything, and must not stop the others
        # The exception is foreign too: even printing it may fail, which this function knows how to survive.
        said = "".join(format_exception_only(error)).removeprefix(f"{type(error).__module__}.")
        return Failure(" ".join(said.encode("utf-8", "replace").decode().split()))


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as one line of text that can be stored: its type and what it said."""

    text: str
