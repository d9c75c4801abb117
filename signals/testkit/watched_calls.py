"""Sees a bot look at a clock or throw dice while it is asked, whatever comes of it."""

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
    # These may be given a time of their own; whether they were is not seen, and a bot has datetimes for that.
    *("time.localtime", "time.gmtime", "time.ctime", "time.strftime", "posix.times"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
_SYSTEM_CHANCE: Final = {"posix.urandom", "nt.urandom", "posix.getrandom"}
_SHARED_DICE: Final = vars(random)["random"].__self__
"""The generator behind `random.random()` and its like, which nobody seeds. One that a bot seeds itself is its own affair."""


@contextmanager
def watching(seen: list[str]) -> Iterator[None]:
    """While the context is open each look at a clock, and each throw of unseeded dice, is put into `seen` by name.

    Only calls that Python itself makes are seen: what compiled code does within shows in the answers or not at all.
    A profiler that is at work already is left alone, and nothing is seen.
    """
    if sys.getprofile() is not None:
        yield
        return

    def look(frame: FrameType, event: str, called: object) -> None:
        # Whoever writes to a log looks at the clock, and says nothing by it.
        if event == "c_call" and frame.f_globals.get("__name__") != "logging":
            seen.extend(_named(called))

    # What others do while memory is collected (some look at the clock) would be seen as the bot's doing.
    collecting = gc.isenabled()
    gc.disable()
    sys.setprofile(look)
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
        yield f"looks at the clock ({full})"
    elif full in _SYSTEM_CHANCE or getattr(called, "__self__", None) is _SHARED_DICE:
        yield f"throws dice that nobody seeded ({full})"
