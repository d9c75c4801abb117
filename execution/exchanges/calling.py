"""Calling a venue's client without being hurt: whatever it raises becomes a value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """The call raised this."""

    error: Exception


def called(ask: Callable[[], T]) -> T | Failed:
    """What the call returned, or how it failed."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - a venue's client is foreign code: on odd answers it may raise anything
        return Failed(error)
