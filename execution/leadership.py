"""Exactly one trader per portfolio: whoever takes over last leads, and nobody else stores orders or sends them."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from typing import Final, Protocol
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.book import Book
from ledger.envelope import NewEvent
from ledger.leaders import NotLeader, claim, confirm, hold
from ledger.postgres import Raw
from ledger.postgres_book import Alongside, PostgresBook
from ledger.values import Clock

IDLE: Final = "60s"
"""A leader that has not been heard of for so long (its process is stopped, its machine gone) can be replaced."""


class Leadership(Protocol):
    """One trader's claim to a portfolio. It ends when another one takes over, and never comes back."""

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


class PostgresLeadership:
    """The claim to a portfolio of a stored book.

    A session of its own holds the portfolio's lock, so that nobody takes over from a leader that lives. A leader that
    falls silent loses the session, and with it the lock; when it comes back the epoch tells it whether it still leads.
    """

    def __init__(self, book: PostgresBook, engine: Engine, portfolio_id: UUID, holder: str, clock: Clock) -> None:
        """Takes over. Raises NotLeader while another one's session lives."""
        self._book, self._engine, self._portfolio_id = book, engine, portfolio_id
        self._gate = threading.Lock()
        self._session: Raw | None = None
        with self._gate:
            self._epoch = claim(self._held(), portfolio_id, holder, clock())

    def record(
        self,
        events: Sequence[NewEvent],
        expected_position: int | None = None,
        *,
        alongside: Alongside = lambda connection: None,
    ) -> object:
        def both(connection: Raw) -> None:
            confirm(connection, self._portfolio_id, self._epoch, until_commit=True)
            alongside(connection)

        return self._book.record(self._portfolio_id, events, expected_position, alongside=both)

    def confirm(self) -> None:
        with self._gate:
            try:
                confirm(self._held(), self._portfolio_id, self._epoch)
            except psycopg.OperationalError:
                self._let_go()  # the session may have ended while nobody looked: a new one tells
                confirm(self._held(), self._portfolio_id, self._epoch)

    def close(self) -> None:
        """Another one may take over at once."""
        with self._gate:
            self._let_go()

    def _held(self) -> Raw:
        """The session that holds the lock. Raises NotLeader when another one's does."""
        if self._session is None:
            session = _own_session(self._engine)
            if not hold(session, self._portfolio_id):
                with closing(session):
                    raise NotLeader(f"another Daybook trades portfolio {self._portfolio_id} now: stop it first")
            self._session = session
        return self._session

    def _let_go(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _own_session(engine: Engine) -> Raw:
    """A connection that belongs to no pool, each statement its own transaction, ended by the server after `IDLE`."""
    pooled = engine.raw_connection()
    session = pooled.driver_connection
    assert isinstance(session, psycopg.Connection)
    pooled.detach()
    session.rollback()
    session.autocommit = True
    session.execute(f"set idle_session_timeout = '{IDLE}'")
    return session
