"""How long the server bears a session that says nothing: its program is stopped or its machine gone, and others wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from ledger.postgres.log import Raw, raw

LEADER: Final = "60s"
"""A leader that has not been heard of for so long can be replaced."""

IN_TRANSACTION: Final = "2min"
"""Nobody who may hold locks says nothing for so long: a call to a venue is through in 40 s, and who folds much again, for an
entry comes late, does it `at_leisure`. Whoever waits for the server, or feeds or reads a COPY however slowly, is not idle."""

AT_LEISURE: Final = "1h"
"""Whoever reads one moment, or writes rows that nobody uses yet, may think between two questions for so long, or wait for
whoever reads what it prints: it keeps hardly anybody waiting."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Raw]:
    """One moment of the database, to be read for as long as the context is open and thought about at leisure."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        with own.pipeline():  # with the beginning of the transaction in one trip to the server
            at_leisure(own)
        yield own


def at_leisure(connection: Raw) -> None:
    """The transaction may be silent for much longer than others, until it ends or is `in_haste`."""
    connection.execute(f"set local idle_in_transaction_session_timeout = '{AT_LEISURE}'")


def in_haste(connection: Raw) -> None:
    """From now on others wait for the transaction: it may be silent no longer than any."""
    connection.execute(f"set local idle_in_transaction_session_timeout = '{IN_TRANSACTION}'")
