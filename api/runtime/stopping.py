"""Orderly shutdown on Ctrl-C, SIGTERM or a closed terminal, at any time."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

REQUESTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A request to stop came while the program was starting."""


class StopRequests:
    """Handles requests to stop: the first one raises Stopped; later ones do nothing."""

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
        """Call `act` on a request while the context is open."""
        before, self._act = self._act, act
        try:
            yield
        finally:
            self._act = before

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Postpone requests to the end of the context, so that a half-finished start completes."""
        requested: list[bool] = []
        try:
            with self.doing(lambda: requested.append(True)):
                yield
        finally:
            if requested:
                self._stop()

    def ignore(self) -> None:
        """Ignore requests from now on: the program is stopping."""
        self._act = lambda: None

    def _stop(self) -> None:
        self.ignore()
        raise Stopped

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._act()
