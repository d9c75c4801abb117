"""Waiting for what must come true, without guessing how long it takes."""

import time
from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE_S: Final = 120.0
"""Longer than anything here takes on the slowest machine: it ends a test that would wait for ever."""


def until(condition: Callable[[], T], what: str) -> T:
    """What `condition` gives once that is true. Fails, naming `what`, when it never is."""
    deadline, pause = time.monotonic() + DEADLINE_S, Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)
    return found
