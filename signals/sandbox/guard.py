"""Calls to code of other packages: any exception becomes a value."""

from collections.abc import Callable
from dataclasses import dataclass
from traceback import format_exception_only
from typing import TypeVar

T = TypeVar("T")


def answer_of(call: Callable[[], T]) -> "T | Failure":
    """Return the result of the call, or its exception as a Failure. KeyboardInterrupt and SystemExit pass."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - a bot may raise anything, and must not stop the others
        # Even printing the exception may fail; format_exception_only survives that.
        text = "".join(format_exception_only(error)).removeprefix(f"{type(error).__module__}.")
        return Failure(" ".join(text.encode("utf-8", "replace").decode().split()))


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as one storable line of text: its type and message."""

    text: str
