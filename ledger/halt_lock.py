"""The gate between orders and the kill switch: what was seen of the halt in front of a send is still true when it begins."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol
from uuid import UUID

PATIENCE_S: Final = 40
"""A send under way keeps a halt waiting no longer: a program that hangs in one must not keep trading open."""


Held = Callable[[], bool]


class SendGate(Protocol):
    """Sends and halts of a portfolio, kept apart, whoever they come from."""

    def sending(self, portfolio_id: UUID) -> AbstractContextManager[Held]:
        """No halt is stored while the context is open. A send begins when it is entered: then it looks, then it calls.

        Gives what tells, in front of the call, whether halts are kept waiting still: a program that stood still for long
        has lost the gate. Leaving it raises nothing of its own: the venue's answer is still to be stored.
        """

    def halting(self, portfolio_id: UUID) -> AbstractContextManager[bool]:
        """No send begins while the context is open. Gives whether all that had begun were through in `PATIENCE_S`."""


class LocalGate:
    """The gate within one process."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._locks: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)
        self._patience_s = patience_s

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[Held]:
        with self._locks[portfolio_id]:
            yield lambda: True

    @contextmanager
    def halting(self, portfolio_id: UUID) -> Iterator[bool]:
        lock = self._locks[portfolio_id]
        through = lock.acquire(timeout=self._patience_s)
        try:
            yield through
        finally:
            if through:
                lock.release()
