"""The one door through which code of others is called: whatever it raises becomes a value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def answer_of(call: Callable[[], T]) -> "T | Failure":
    """What the call returns, or the failure it raised. Ctrl-C and the end of the program pass through."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - a bot is foreign code: it may raise anything, and must not stop the others
        return Failure(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text: its type and what it said."""

    text: str
