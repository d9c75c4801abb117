"""Exactly one trader per portfolio: whoever takes over last leads, and nobody else stores orders or sends them."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from ledger.log.envelope import NewEvent
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
