"""Stopping on request: Ctrl-C, SIGTERM and a closed terminal all end the program in order, whenever they come."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

REQUESTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The program was asked to stop while it was starting."""


class StopRequests:
    """What a request to stop does. At first it raises Stopped, once; while the program stops it does nothing."""

    def __init__(self) -> None:
        self._act: Callable[[], None] = self._stop

    def __enter__(self) -> Self:
        self._before = {one: signal.signal(one, self._received) for one in REQUESTS}
        return self

    def __exit__(self, *_error: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    @contextmanager
    def doing(self, act: Callable[[], None]) -> Iterator[None]:
        """A request calls `act` while the context is open."""
        before, self._act = self._act, act
        try:
            yield
        finally:
            self._act = before

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A request that comes while the context is open takes effect at its end: what is half-started is finished."""
        asked: list[bool] = []
        try:
            with self.doing(lambda: asked.append(True)):
                yield
        finally:
            if asked:
                self._stop()

    def ignore(self) -> None:
        """Requests do nothing from now on: the program stops already."""
        self._act = lambda: None

    def _stop(self) -> None:
        self.ignore()
        raise Stopped

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._act()
