"""Idle-session timeouts: the server ends sessions of suspended programs and lost machines, which would block others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from ledger.postgres.log import Raw, raw

LEADER_TIMEOUT: Final = "60s"
"""A leader idle for this long can be replaced."""

TRANSACTION_TIMEOUT: Final = "2min"
"""For transactions that may hold locks: a call to a venue takes at most 40 s, and long refolds use `extend_timeout`. Waiting
for the server and reading or writing a COPY, however slowly, is not idle."""

EXTENDED_TIMEOUT: Final = "1h"
"""For transactions that block almost no one: they read a snapshot or write rows that are not in use yet, and compute, or wait
for the reader of their output, between statements."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Raw]:
    """Open a transaction that sees a single snapshot, with the extended idle timeout."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        with own.pipeline():  # one round trip, with the start of the transaction
            extend_timeout(own)
        yield own


def extend_timeout(connection: Raw) -> None:
    """Give the transaction the extended idle timeout, until it ends or `restore_timeout`."""
    connection.execute(f"set local idle_in_transaction_session_timeout = '{EXTENDED_TIMEOUT}'")


def restore_timeout(connection: Raw) -> None:
    """Return the transaction to the usual idle timeout before it takes locks that others wait for."""
    connection.execute(f"set local idle_in_transaction_session_timeout = '{TRANSACTION_TIMEOUT}'")
