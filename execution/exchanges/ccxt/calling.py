"""Calling a venue's client without being hurt: whatever it raises becomes a value, and our arithmetic stays ours."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import localcontext
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """The call raised this."""

    error: Exception


def attempt(ask: Callable[[], T]) -> T | Failed:
    """What the call returned, or how it failed. The thread's decimal context is as it was before."""
    try:
        # ccxt sets the thread's rounding and traps whenever it writes a number (decimal_to_precision).
        with localcontext():
            return ask()
    except Exception as error:  # noqa: BLE001 - a venue's client is foreign code: on odd answers it may raise anything
        return Failed(error)
