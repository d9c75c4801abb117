"""PostgresBook: the log and its views in one transaction."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.log.envelope import EncodedEvent, Envelope, NewEvent, encoded
from ledger.log.event_log import EventLog
from ledger.postgres.log import Appended, PostgresLog, Raw, domain_errors, raw, read_stream, send_append
from ledger.postgres.sessions import snapshot
from ledger.postgres.views import (
    StoredRows,
    ViewCheckpoint,
    read_checkpoint,
    send_checkpoint,
    versions_text,
    write_checkpoint,
    write_step,
)
from ledger.projections import PROJECTIONS
from ledger.projections.book import Reading, Stopped, attempt_fold
from ledger.rows import Change, PagedRows, Projection
from ledger.values import Clock

Alongside = Callable[[Raw], None]
"""Writes more rows in the transaction of a recording."""


@dataclass(frozen=True, slots=True)
class StoredReading(Reading):
    """A reading from the database: its rows can be paged, and `connection` sees the same snapshot."""

    rows: PagedRows
    connection: Raw
    portfolio_id: UUID


@dataclass(slots=True)
class _Kept:
    """Rows kept between recordings, and the checkpoint they match."""

    checkpoint: ViewCheckpoint
    rows: StoredRows


class PostgresBook:
    """A book in PostgreSQL. Safe for threads and processes: the lock on the head row serialises recordings."""

    def __init__(self, engine: Engine, clock: Clock, projections: Iterable[Projection] = PROJECTIONS) -> None:
        self._stored_log = PostgresLog(engine, clock)
        self.log: EventLog = self._stored_log
        self._engine = engine
        self._clock = clock
        self._projections = tuple(projections)
        self._kept: dict[UUID, _Kept] = {}
        self._gates: defaultdict[UUID, threading.RLock] = defaultdict(threading.RLock)

    def record(
        self,
        portfolio_id: UUID,
        events: Sequence[NewEvent],
        expected_position: int | None = None,
        *,
        alongside: Alongside | None = None,
    ) -> list[Envelope]:
        with self._gates[portfolio_id], domain_errors():
            # Removed until the commit succeeds: the kept rows may be ahead of the stored ones.
            kept = self._kept.pop(portfolio_id, None)
            with self._engine.begin() as connection:
                own = raw(connection)
                appended, checkpoint = self._append(own, portfolio_id, events, expected_position)
                new = appended.envelopes(new=True)
                if new:
                    kept = self._update_views(own, portfolio_id, new, kept, checkpoint)
                if alongside is not None:
                    alongside(own)
            if kept is not None:
                self._kept[portfolio_id] = kept
            return appended.envelopes()

    @contextmanager
    def reading(self, portfolio_id: UUID) -> Iterator["StoredReading"]:
        with snapshot(self._engine) as own:
            checkpoint = read_checkpoint(own, portfolio_id) or self._empty()
            rows = StoredRows(portfolio_id, checkpoint.generation).within(own)
            yield StoredReading(checkpoint.position, checkpoint.stopped, rows, own, portfolio_id)

    def append_encoded(self, portfolio_id: UUID, events: Sequence[EncodedEvent]) -> int:
        """Append as `PostgresLog.append_encoded`, without updating the views."""
        return self._stored_log.append_encoded(portfolio_id, events)

    @contextmanager
    def transaction(self) -> Iterator[Raw]:
        """A transaction on the book's database, for reads and for tables beside the log."""
        with self._engine.begin() as connection:
            yield raw(connection)

    def _append(
        self, connection: Raw, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None
    ) -> tuple[Appended, ViewCheckpoint]:
        """Append, read the views' checkpoint and set the savepoint of the fold, in one round trip."""
        texts = [encoded(new) for new in events]
        with connection.pipeline():
            appended = send_append(connection, portfolio_id, texts, expected_position, self._clock())
            checkpoint = send_checkpoint(connection, portfolio_id)
            # A fold may fail in the database: the transaction must survive that.
            connection.execute("savepoint views")
        return appended(), checkpoint() or self._empty()

    def _update_views(
        self,
        connection: Raw,
        portfolio_id: UUID,
        new: Sequence[Envelope],
        kept: _Kept | None,
        checkpoint: ViewCheckpoint,
    ) -> _Kept | None:
        """Fold up to the last of `new` and write the views; return the rows to keep."""
        if checkpoint.stopped is not None:
            return None
        if kept is None or kept.checkpoint != checkpoint:
            kept = _Kept(checkpoint, StoredRows(portfolio_id, checkpoint.generation))
        pending: Iterable[Envelope] = new
        if checkpoint.position != new[0].position - 1:
            pending = list(read_stream(connection, portfolio_id, checkpoint.position))
        return self._fold_and_write(connection, portfolio_id, kept, pending)

    def _fold_and_write(
        self, connection: Raw, portfolio_id: UUID, kept: _Kept, pending: Iterable[Envelope]
    ) -> _Kept | None:
        rows = kept.rows.within(connection)
        changes: list[Change] = []
        position, stopped = kept.checkpoint.position, None
        for envelope in pending:
            changed, failure = attempt_fold(rows, envelope, self._projections)
            if failure is not None:
                connection.execute("rollback to savepoint views")
                stopped = Stopped(envelope.position, failure)
                break
            rows.apply(changed)
            changes += changed
            position = envelope.position
        after = replace(kept.checkpoint, position=position, stopped=stopped)
        failure = _write(connection, portfolio_id, after, changes)
        if failure is None:
            return _Kept(after, kept.rows)
        write_checkpoint(
            connection, portfolio_id, replace(kept.checkpoint, stopped=Stopped(kept.checkpoint.position + 1, failure))
        )
        return None

    def _empty(self) -> ViewCheckpoint:
        return ViewCheckpoint(1, 0, versions_text(self._projections))


def _write(connection: Raw, portfolio_id: UUID, after: ViewCheckpoint, changes: Sequence[Change]) -> str | None:
    """Write the rows and their checkpoint; if the database refuses, roll back to the savepoint and return the reason.

    A lost connection raises: the whole recording fails.
    """
    try:
        write_step(connection, portfolio_id, after, changes)
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        connection.execute("rollback to savepoint views")
        return f"{type(error).__name__}: {error.diag.message_primary}"
    return None
