"""The lock between sends and halts as a PostgreSQL advisory lock, for all processes on one database."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.locks import PATIENCE_S, StillHeld
from ledger.postgres.database import DATABASE_GONE
from ledger.postgres.log import Raw, raw


class PostgresHaltLock:
    """A halt lock that sends share and a halt holds alone.

    It is released with the connection, so a program that dies in a send blocks no halt.
    """

    def __init__(self, engine: Engine, patience_s: float = PATIENCE_S) -> None:
        self._engine = engine
        self._patience = f"{int(patience_s * 1000)}ms"

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[StillHeld]:
        connection = self._engine.connect()
        try:
            own = raw(connection)
            own.execute("select pg_advisory_xact_lock_shared(73052, hashtext(%s))", (str(portfolio_id),))
            yield partial(_is_alive, own)
        finally:
            # Closing the session releases the lock, even if closing fails.
            with suppress(*DATABASE_GONE):
                connection.close()

    @contextmanager
    def halting(self, portfolio_id: UUID) -> Iterator[bool]:
        with self._engine.begin() as connection:
            yield self._acquired(raw(connection), portfolio_id)

    def _acquired(self, connection: Raw, portfolio_id: UUID) -> bool:
        connection.execute("select set_config('lock_timeout', %s, true)", (self._patience,))
        try:
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(73052, hashtext(%s))", (str(portfolio_id),))
        except psycopg.errors.LockNotAvailable:
            return False
        return True


def _is_alive(session: Raw) -> bool:
    try:
        session.execute("select")
    except DATABASE_GONE:
        return False
    return True
