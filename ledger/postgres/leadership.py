"""Who trades a portfolio, in the database: the epoch counts the holders, and the newest one is the leader."""

import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.errors import DaybookError
from ledger.log.envelope import NewEvent
from ledger.postgres.book import Alongside, PostgresBook
from ledger.postgres.log import Raw
from ledger.postgres.sessions import LEADER
from ledger.values import Clock

LOCK_CLASS: Final = 73053


class NotLeader(DaybookError):
    """Another trader has taken the portfolio over, or trades it now: this one must neither store nor send."""


def claim(connection: Raw, portfolio_id: UUID, holder: str, at: datetime) -> int:
    """The holder leads from now on; returns its epoch. Waits for recordings of the leader before to end."""
    row = connection.execute(
        "insert into leaders (portfolio_id, epoch, holder, since) values (%s, 1, %s, %s)"
        " on conflict (portfolio_id) do update"
        " set epoch = leaders.epoch + 1, holder = excluded.holder, since = excluded.since returning epoch",
        (portfolio_id, holder, at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def confirm(connection: Raw, portfolio_id: UUID, epoch: int, *, until_commit: bool = False) -> None:
    """The epoch is the newest; with `until_commit` it stays so until the transaction ends. Raises NotLeader."""
    asked = "select epoch, holder, since from leaders where portfolio_id = %s"
    row = connection.execute(asked + " for share" if until_commit else asked, (portfolio_id,)).fetchone()
    if row is None or row[0] != epoch:
        taken = "nobody leads it" if row is None else f"{row[1]} took it over at {row[2]:%Y-%m-%d %H:%M:%S} UTC"
        raise NotLeader(f"this Daybook no longer trades portfolio {portfolio_id}: {taken}")


def hold(connection: Raw, portfolio_id: UUID) -> bool:
    """Whether this session holds the portfolio's lock, which one session at a time can hold; it does until it ends."""
    row = connection.execute(
        "select pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_CLASS, str(portfolio_id))
    ).fetchone()
    return row is not None and bool(row[0])


class PostgresLeadership:
    """The claim to a portfolio of a stored book.

    A session of its own holds the portfolio's lock, so that nobody takes over from a leader that lives. A leader that
    falls silent loses the session, and with it the lock; when it comes back the epoch tells it whether it still leads.
    """

    def __init__(
        self, book: PostgresBook, engine: Engine, portfolio_id: UUID, holder: str, clock: Clock, silence: str = LEADER
    ) -> None:
        """Takes over. Raises NotLeader while another one's session lives; ours ends after so long a `silence`."""
        self._book, self._engine, self._portfolio_id, self._silence = book, engine, portfolio_id, silence
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
            session = _own_session(self._engine, self._silence)
            if not hold(session, self._portfolio_id):
                with closing(session):
                    raise NotLeader(f"another Daybook trades portfolio {self._portfolio_id} now: stop it first")
            self._session = session
        return self._session

    def _let_go(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _own_session(engine: Engine, silence: str) -> Raw:
    """A connection that belongs to no pool, each statement its own transaction, ended by the server after the silence."""
    pooled = engine.raw_connection()
    session = pooled.driver_connection
    assert isinstance(session, psycopg.Connection)
    pooled.detach()
    session.rollback()
    session.autocommit = True
    session.execute(f"set idle_session_timeout = '{silence}'")
    return session
