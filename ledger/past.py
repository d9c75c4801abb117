"""Readings of the past: the rows as they were at a cut, folded from the log and kept for the next question.

What is kept is disposable and never the truth: it only grows by folding the events that came since.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Engine

from ledger.book import Stopped, attempt_fold
from ledger.chain import BrokenLog, checked
from ledger.cuts import AsOf, Cut
from ledger.differences import Difference, PortfolioReplay
from ledger.envelope import Envelope
from ledger.events import EVENTS
from ledger.identities import broken_identities
from ledger.postgres import Raw, position_known_at, raw, read_event, read_stream
from ledger.postgres_book import StoredReading
from ledger.projections import PROJECTIONS
from ledger.projections.portfolio import PortfolioView
from ledger.projections.trades import TradeView
from ledger.replay import Progress
from ledger.rows import MemoryRows, Projection, R, Recorded, all_rows, key_of, row_text, state_hash
from ledger.valuation import Worth, worth_of
from ledger.views import row_kinds

KNOWN_TYPES: Final = {name for name, _ in EVENTS}
KEPT: Final = 8
"""So many cuts are remembered at a time,"""
KEPT_EVENTS: Final = 500_000
"""and so many events folded for them in all, beside the newest: an event takes up to 5 kB."""


class Past:
    """Answers questions about the past of any portfolio in the database. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = threading.Lock()
        self._kept: OrderedDict[_Key, _Folded] = OrderedDict()

    @contextmanager
    def reading(
        self, portfolio_id: UUID, cut: Cut, projections: tuple[Projection, ...] = PROJECTIONS
    ) -> Iterator[StoredReading]:
        """The portfolio as it was at `cut`; `position` is the last one known then (0 before the first event).

        Only the rows of `projections` are there; events that none of them folds cost next to nothing.
        """
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            own = raw(connection)
            known = None if cut.known_at is None else position_known_at(own, portfolio_id, cut.known_at)
            folded = self._folded(_Key(portfolio_id, cut.as_of, known, projections))
            with folded.gate:
                folded.catch_up(own, portfolio_id, known)
                if folded.stopped is not None:
                    # What stopped the fold may have been the database going away: the next question folds anew.
                    self._forget(folded)
                rows = folded.rows.within(partial(read_event, own, portfolio_id))
                yield StoredReading(folded.position, folded.stopped, rows, own, portfolio_id)

    def _folded(self, key: "_Key") -> "_Folded":
        with self._gate:
            folded = self._kept.pop(key, None) or _Folded(key.as_of, key.projections)
            self._kept[key] = folded
            while len(self._kept) > KEPT or (len(self._kept) > 1 and self._folded_events() > KEPT_EVENTS):
                self._kept.popitem(last=False)
            return folded

    def _forget(self, folded: "_Folded") -> None:
        with self._gate:
            for key in [key for key, kept in self._kept.items() if kept is folded]:
                del self._kept[key]

    def _folded_events(self) -> int:
        return sum(folded.position for folded in self._kept.values())


def events_at(reading: StoredReading, past: Cut) -> Iterator[Envelope]:
    """The events that the rows of the reading, made at `past`, were folded from, in log order."""
    return AsOf(past.as_of).of(read_stream(reading.connection, reading.portfolio_id, 0, reading.position))


@dataclass(frozen=True, slots=True)
class ReplayAt:
    """A portfolio replayed at a cut: what the replay found, and its worth then (None where it was not open yet)."""

    replay: PortfolioReplay
    position: int
    worth: Worth | None


def replay_at(engine: Engine, portfolio_id: UUID, cut: Cut, progress: Progress = lambda _: None) -> ReplayAt:
    """The log up to what was known is proven and folded anew; the identities must hold at the cut too.

    Stored views are of now, so there is nothing of theirs to compare.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        rows, as_of, position = FoldedRows(recorded=partial(read_event, own, portfolio_id)), AsOf(cut.as_of), 0
        known = None if cut.known_at is None else position_known_at(own, portfolio_id, cut.known_at)
        stopped: Stopped | None = None
        try:
            for envelope in checked(portfolio_id, read_stream(own, portfolio_id, 0, known)):
                position = envelope.position
                if stopped is None and as_of.counts(envelope):
                    changes, failure = attempt_fold(rows, envelope)
                    rows.apply(changes)
                    stopped = Stopped(position, failure) if failure else None
                if position % 1000 == 0:
                    progress(1000)
        except BrokenLog as broken:
            return ReplayAt(PortfolioReplay(portfolio_id, "", position, 0, "", (), broken), position, None)
        progress(position % 1000)
        return ReplayAt(_found(portfolio_id, rows, position, stopped), position, _worth(rows))


def _found(portfolio_id: UUID, rows: MemoryRows, position: int, stopped: Stopped | None) -> PortfolioReplay:
    differences = [Difference(portfolio_id, *broken, None) for broken in broken_identities(rows)]
    if stopped is not None:
        text = f"folding stops: {stopped.reason}"
        differences.append(Difference(portfolio_id, "replay", "", text, stopped.position))
    name = next((view.name for view in rows.where(PortfolioView)), "")
    trades = sum(1 for _ in rows.history(TradeView))
    texts = (row_text(row) for row in all_rows(rows, row_kinds()))
    return PortfolioReplay(portfolio_id, name, position, trades, state_hash(texts), tuple(differences))


def _worth(rows: MemoryRows) -> Worth | None:
    return worth_of(rows) if next(rows.where(PortfolioView), None) else None


class _Key(NamedTuple):
    """What makes two cuts the same: `known` is the last position known, None for the end of the log."""

    portfolio_id: UUID
    as_of: datetime | None
    known: int | None
    projections: tuple[Projection, ...]


class _Folded:
    """One cut: its rows, and how far the log has been folded into them."""

    def __init__(self, as_of: datetime | None, projections: tuple[Projection, ...]) -> None:
        self._projections = projections
        self._types = {kind.type for projection in projections for kind in projection.events}
        self.gate = threading.Lock()
        self.rows = FoldedRows()
        self.position = 0
        self.stopped: Stopped | None = None
        self._as_of = AsOf(as_of)

    def catch_up(self, connection: Raw, portfolio_id: UUID, known: int | None) -> None:
        """The rows hold everything up to position `known`, or to the end of the log; a fold that fails ends it."""
        self.rows.within(partial(read_event, connection, portfolio_id))
        if self.stopped is not None or self.position == known:
            return
        for envelope in read_stream(connection, portfolio_id, self.position, known):
            if self._as_of.counts(envelope) and (envelope.type in self._types or envelope.type not in KNOWN_TYPES):
                changes, failure = attempt_fold(self.rows, envelope, self._projections)
                if failure is not None:
                    self.stopped = Stopped(envelope.position, failure)
                    return
                self.rows.apply(changes)
            self.position = envelope.position


class FoldedRows(MemoryRows):
    """Rows in memory that can be paged like stored ones."""

    def within(self, recorded: Recorded) -> "FoldedRows":
        """The same rows, finding events by `recorded`."""
        self.recorded = recorded
        return self

    def naming(self, kind: type[R], event_id: UUID, *columns: str) -> list[R]:
        """As `StoredRows.naming`."""
        found = [row for row in self.history(kind) if any(getattr(row, name) == event_id for name in columns)]
        return sorted(found, key=key_of)

    def newest(self, kind: type[R], before: int | None, limit: int, **equal: object) -> list[R]:
        """As `StoredRows.newest`."""
        wanted = {name: value for name, value in equal.items() if value is not None}
        found = [
            row
            for row in self.history(kind)
            if (before is None or _position(row) < before)
            and all(getattr(row, name) == value for name, value in wanted.items())
        ]
        return sorted(found, key=_position, reverse=True)[:limit]


def _position(row: object) -> int:
    position = getattr(row, "position", None)
    assert isinstance(position, int), f"{type(row).__name__} has no position"
    return position
