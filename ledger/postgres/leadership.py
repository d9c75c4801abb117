"""Leadership of a portfolio in the database: each new leader raises the epoch, and only the newest epoch may record."""

import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.locks import NotLeader
from ledger.log.envelope import NewEvent
from ledger.postgres.book import Alongside, PostgresBook
from ledger.postgres.log import Raw
from ledger.postgres.sessions import LEADER_TIMEOUT
from ledger.values import Clock

LOCK_CLASS: Final = 73053


class PostgresLeadership:
    """The claim to a portfolio of a stored book.

    A session of its own holds the portfolio's lock, so that no other trader takes over from a live leader. The server
    ends the session of a leader that is idle for too long, and releases the lock; the epoch then shows whether the
    leader was replaced.
    """

    def __init__(
        self,
        book: PostgresBook,
        engine: Engine,
        portfolio_id: UUID,
        holder: str,
        clock: Clock,
        idle_timeout: str = LEADER_TIMEOUT,
    ) -> None:
        """Take over, once recordings of the previous leader have ended.

        Raises:
            NotLeader: the session of another leader is alive.
        """
        self._book, self._engine, self._portfolio_id, self._idle_timeout = book, engine, portfolio_id, idle_timeout
        self._gate = threading.Lock()
        self._session: Raw | None = None
        with self._gate:
            inserted = self._locked_session().execute(
                "insert into leaders (portfolio_id, epoch, holder, since) values (%s, 1, %s, %s)"
                " on conflict (portfolio_id) do update"
                " set epoch = leaders.epoch + 1, holder = excluded.holder, since = excluded.since returning epoch",
                (portfolio_id, holder, clock()),
            )
            row = inserted.fetchone()
        assert row is not None
        self._epoch = int(row[0])

    def record(
        self,
        events: Sequence[NewEvent],
        expected_position: int | None = None,
        *,
        alongside: Alongside = lambda connection: None,
    ) -> object:
        def both(connection: Raw) -> None:
            self._confirm(connection, until_commit=True)
            alongside(connection)

        return self._book.record(self._portfolio_id, events, expected_position, alongside=both)

    def confirm(self) -> None:
        with self._gate:
            try:
                self._confirm(self._locked_session())
            except psycopg.OperationalError:
                self._release()  # the server may have ended the session: look again through a new one
                self._confirm(self._locked_session())

    def close(self) -> None:
        """End the claim: another trader may take over at once."""
        with self._gate:
            self._release()

    def _confirm(self, connection: Raw, *, until_commit: bool = False) -> None:
        """Raise NotLeader unless the epoch is the newest; with `until_commit` it stays so until the transaction ends."""
        statement = "select epoch, holder, since from leaders where portfolio_id = %s"
        row = connection.execute(
            statement + " for share" if until_commit else statement, (self._portfolio_id,)
        ).fetchone()
        if row is None or row[0] != self._epoch:
            leader = "it has no leader" if row is None else f"{row[1]} took over at {row[2]:%Y-%m-%d %H:%M:%S} UTC"
            raise NotLeader(f"this Daybook no longer trades portfolio {self._portfolio_id}: {leader}")

    def _locked_session(self) -> Raw:
        """The session that holds the portfolio's lock. Raises NotLeader if another one holds it."""
        if self._session is None:
            session = _own_session(self._engine, self._idle_timeout)
            locked = session.execute(
                "select pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_CLASS, str(self._portfolio_id))
            ).fetchone()
            if locked != (True,):
                with closing(session):
                    raise NotLeader(f"another Daybook trades portfolio {self._portfolio_id} now: stop it first")
            self._session = session
        return self._session

    def _release(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _own_session(engine: Engine, idle_timeout: str) -> Raw:
    """A connection outside the pool in autocommit mode, which the server ends after the timeout."""
    pooled = engine.raw_connection()
    session = pooled.driver_connection
    assert isinstance(session, psycopg.Connection)
    pooled.detach()
    session.rollback()
    session.autocommit = True
    session.execute(f"set idle_session_timeout = '{idle_timeout}'")
    return session
