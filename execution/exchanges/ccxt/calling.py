"""Calls to a venue's client: exceptions become values, and the decimal context is protected."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import localcontext
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """The call raised `error`."""

    error: Exception


def attempt(call: Callable[[], T]) -> T | Failed:
    """Return the result of the call, or its failure. The thread's decimal context is unchanged."""
    try:
        # ccxt sets the thread's rounding and traps whenever it writes a number (decimal_to_precision).
        with localcontext():
            return call()
    except Exception as error:  # noqa: BLE001 - third-party code, which may raise anything for unexpected replies
        return Failed(error)
