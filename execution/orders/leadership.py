"""Exactly one trader per portfolio: whoever takes over last leads, and nobody else stores orders or sends them."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from ledger.log.envelope import NewEvent
from ledger.postgres.leadership import NotLeader
from ledger.projections.book import Book


class Leadership(Protocol):
    """One trader's claim to a portfolio. It ends when another one takes over, and never comes back.

    `ledger.postgres.leadership.PostgresLeadership` is one to a stored portfolio.
    """

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        """Stores the events while the claim holds, in one act; raises NotLeader, and what `Book.record` raises."""

    def confirm(self) -> None:
        """The claim holds. Raises NotLeader."""


class Alone:
    """The claim of the only trader that a book can have: nobody else knows the book."""

    def __init__(self, book: Book, portfolio_id: UUID) -> None:
        self._book, self._portfolio_id = book, portfolio_id

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        return self._book.record(self._portfolio_id, events, expected_position)

    def confirm(self) -> None:
        """It always holds."""


class MemoryLeaders:
    """Claims to the portfolios of one book in memory."""

    def __init__(self) -> None:
        self._gate = threading.RLock()
        self._epochs: defaultdict[UUID, int] = defaultdict(int)

    def take_over(self, book: Book, portfolio_id: UUID) -> Leadership:
        """Leads from now on."""
        with self._gate:
            self._epochs[portfolio_id] += 1
            return _MemoryLeadership(book, portfolio_id, self._gate, self._epochs)


class _MemoryLeadership:
    def __init__(self, book: Book, portfolio_id: UUID, gate: threading.RLock, epochs: dict[UUID, int]) -> None:
        self._book, self._portfolio_id, self._gate, self._epochs = book, portfolio_id, gate, epochs
        self._epoch = epochs[portfolio_id]

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        with self._gate:
            self.confirm()
            return self._book.record(self._portfolio_id, events, expected_position)

    def confirm(self) -> None:
        with self._gate:
            if self._epochs[self._portfolio_id] != self._epoch:
                raise NotLeader(f"another trader has taken over portfolio {self._portfolio_id}")
