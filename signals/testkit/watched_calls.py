"""Detects that a bot reads a clock or uses unseeded chance during an evaluation."""

import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_CLOCKS: Final = {
    *(
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
        for unit in ("", "_ns")
    ),
    # Also refused with a time as argument, which cannot be observed; a bot has datetimes for that.
    *("time.localtime", "time.gmtime", "time.ctime", "time.strftime", "posix.times"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
_SYSTEM_CHANCE: Final = {"posix.urandom", "nt.urandom", "posix.getrandom"}
_SHARED_DICE: Final = vars(random)["random"].__self__
"""The shared, unseeded generator behind `random.random()`. A bot may use a generator that it seeds itself."""


@contextmanager
def watching(seen: list[str]) -> Iterator[None]:
    """Add a sentence to `seen` for each call in the context that reads a clock or uses unseeded chance.

    Only calls from Python code are observed, not those within compiled code. Observes nothing when another profiler is
    active.
    """
    if sys.getprofile() is not None:
        yield
        return

    def observe(frame: FrameType, event: str, called: object) -> None:
        # Writing a log record reads the clock, and does not affect the signal.
        if event == "c_call" and frame.f_globals.get("__name__") != "logging":
            seen.extend(_named(called))

    # Callbacks of the garbage collector, some of which read the clock, are not the bot's calls.
    collecting = gc.isenabled()
    gc.disable()
    sys.setprofile(observe)
    try:
        yield
    finally:
        sys.setprofile(None)
        if collecting:
            gc.enable()


def _named(called: object) -> Iterator[str]:
    name = getattr(called, "__qualname__", "")
    module = getattr(called, "__module__", None)
    full = f"{module}.{name}" if module else name
    if full in _CLOCKS:
        yield f"reads the clock ({full})"
    elif full in _SYSTEM_CHANCE or getattr(called, "__self__", None) is _SHARED_DICE:
        yield f"uses unseeded chance ({full})"
