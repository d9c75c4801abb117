"""Leadership and halt lock: one program stores and sends a portfolio's orders, and none after a halt is stored."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol
from uuid import UUID

from ledger.errors import DaybookError
from ledger.log.envelope import NewEvent
from ledger.projections.book import Book

PATIENCE_S: Final = 40
"""Seconds that a halt waits for sends in progress. A program that hangs in a send must not keep trading open."""

StillHeld = Callable[[], bool]
"""Returns True while the lock is still held; a program that was suspended may have lost it."""


class HaltLock(Protocol):
    """Shared by the sends of a portfolio, held alone by a halt."""

    def sending(self, portfolio_id: UUID) -> AbstractContextManager[StillHeld]:
        """Keep halts from being stored while the context is open.

        Enter it, then read the halt, then check `StillHeld`, then call the venue. Leaving it raises nothing of its own,
        because the venue's reply still has to be stored.
        """

    def halting(self, portfolio_id: UUID) -> AbstractContextManager[bool]:
        """Keep sends from starting while the context is open. Yields False if a send was still running after `PATIENCE_S`."""


class LocalHaltLock:
    """A halt lock within one process."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._locks: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)
        self._patience_s = patience_s

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[StillHeld]:
        with self._locks[portfolio_id]:
            yield lambda: True

    @contextmanager
    def halting(self, portfolio_id: UUID) -> Iterator[bool]:
        lock = self._locks[portfolio_id]
        acquired = lock.acquire(timeout=self._patience_s)
        try:
            yield acquired
        finally:
            if acquired:
                lock.release()


class NotLeader(DaybookError):
    """Another trader leads the portfolio: this one may neither store orders nor send them."""


class Leadership(Protocol):
    """One trader's claim to a portfolio. It ends for good when another trader takes over.

    `ledger.postgres.leadership.PostgresLeadership` is the claim to a stored portfolio.
    """

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        """Store the events, and verify the claim in the same transaction.

        Raises:
            NotLeader: another trader has taken over.
        """

    def confirm(self) -> None:
        """Raise NotLeader if another trader has taken over."""


class Alone:
    """The claim of a book's only trader; it always holds."""

    def __init__(self, book: Book, portfolio_id: UUID) -> None:
        self._book, self._portfolio_id = book, portfolio_id

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        return self._book.record(self._portfolio_id, events, expected_position)

    def confirm(self) -> None:
        pass
