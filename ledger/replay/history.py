"""Rows at a point in time, folded from the log and cached.

The cache is disposable: it grows only by folding further events.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Engine

from ledger.events import EVENTS
from ledger.log.envelope import Envelope
from ledger.log.event_log import BrokenLog, Head, genesis_hash, verified
from ledger.log.point_in_time import AsOfFilter, PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import (
    Raw,
    events_after,
    head_record,
    position_known_at,
    read_event,
    read_stream,
)
from ledger.postgres.point_in_time import count_between, read_between
from ledger.postgres.sessions import snapshot
from ledger.postgres.views import StoredRows, read_checkpoint, versions_text
from ledger.projections import PROJECTIONS, VALUE_PROJECTIONS
from ledger.projections.book import Stopped, attempt_fold
from ledger.projections.portfolio import PortfolioView
from ledger.projections.valuation import PortfolioValuation, value_portfolio
from ledger.replay.differences import PortfolioReplay, replay_result, stop_difference
from ledger.replay.fast.history import HistoryStart, replay_history
from ledger.replay.fast.replay import FAST_FROM, Progress
from ledger.replay.fast.rows import FoldedRows
from ledger.rows import Change, MemoryRows, Projection, Rows

_KNOWN_TYPES: Final = frozenset(name for name, _ in EVENTS)
TIMES_SLOWER: Final = 3
"""Folding events one by one takes about this many times as long as the fast replay."""
KEPT_MAX: Final = 8
"""Points in time cached at once."""
KEPT_EVENTS_MAX: Final = 500_000
"""Events folded for all of them together, except the newest: an event takes up to 5 kB."""


class History:
    """Reads portfolios at points in time. Safe for threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = threading.Lock()
        self._kept: OrderedDict[_Key, _Folded] = OrderedDict()

    @contextmanager
    def reading(
        self, portfolio_id: UUID, point: PointInTime, projections: tuple[Projection, ...] = PROJECTIONS
    ) -> Iterator[StoredReading]:
        """The portfolio at `point`; `position` is the last one known then (0 before the first event).

        Only the rows of `projections` are complete.
        """
        with snapshot(self._engine) as own:
            end = _end(own, portfolio_id)
            known = None if point.known_at is None else position_known_at(own, portfolio_id, point.known_at)
            present = _present(own, portfolio_id, point.as_of, end) if known in (None, end) else None
            if present is not None:
                yield present
                return
            folded, earlier = self._folded(_Key(portfolio_id, point.as_of, known, projections))
            with folded.gate:
                if not folded.position:
                    folded.start(own, portfolio_id, end if known is None else known, earlier)
                folded.catch_up(own, portfolio_id, known)
                if folded.stopped is not None:
                    # The database may have been gone for a moment: the next reading folds again.
                    self._forget(folded)
                rows = folded.rows.within(partial(read_event, own, portfolio_id))
                yield StoredReading(folded.position, folded.stopped, rows, own, portfolio_id)

    def _folded(self, key: "_Key") -> tuple["_Folded", list["_Folded"]]:
        """Return the cached rows of this point in time, and those of others that can be extended to it."""
        with self._gate:
            folded = self._kept.pop(key, None) or _Folded(key.as_of, key.projections)
            earlier = [kept for other, kept in self._kept.items() if other.extends_to(key)]
            self._kept[key] = folded
            while len(self._kept) > KEPT_MAX or (len(self._kept) > 1 and self._folded_events() > KEPT_EVENTS_MAX):
                self._kept.popitem(last=False)
            return folded, earlier

    def _forget(self, folded: "_Folded") -> None:
        with self._gate:
            for key in [key for key, kept in self._kept.items() if kept is folded]:
                del self._kept[key]

    def _folded_events(self) -> int:
        return sum(folded.position for folded in self._kept.values())


def _present(connection: Raw, portfolio_id: UUID, moment: datetime | None, end: int) -> StoredReading | None:
    """Return the stored views if they are at the end of the log and no event occurred after `moment`."""
    checkpoint = read_checkpoint(connection, portfolio_id)
    if checkpoint is None or (checkpoint.position, checkpoint.stopped) != (end, None):
        return None
    if checkpoint.versions != versions_text() or (moment and events_after(connection, portfolio_id, moment)[0]):
        return None
    rows = StoredRows(portfolio_id, checkpoint.generation).within(connection)
    return StoredReading(end, None, rows, connection, portfolio_id)


def events_at(reading: StoredReading, past: PointInTime) -> Iterator[Envelope]:
    """The events from which the reading at `past` was folded, in log order."""
    return AsOfFilter(past.as_of).of(read_stream(reading.connection, reading.portfolio_id, 0, reading.position))


@dataclass(frozen=True, slots=True)
class ReplayAt:
    """A portfolio replayed up to a point in time, and its valuation then (None before it was opened)."""

    replay: PortfolioReplay
    position: int
    worth: PortfolioValuation | None


def replay_at(engine: Engine, portfolio_id: UUID, point: PointInTime, progress: Progress = lambda _: None) -> ReplayAt:
    """Verify and fold the log up to `point` and check the invariants. Stored views are not compared."""
    with snapshot(engine) as own:
        known = None if point.known_at is None else position_known_at(own, portfolio_id, point.known_at)
        start = _started(own, portfolio_id, point.as_of, known, progress)
        rows, position, stopped = start.rows.within(partial(read_event, own, portfolio_id)), start.head.position, None
        try:
            for envelope in verified(portfolio_id, read_stream(own, portfolio_id, position, known), start.head):
                position = envelope.position
                if stopped is None and start.as_of.counts(envelope):
                    changes, failure = attempt_fold(rows, envelope)
                    rows.apply(changes)
                    stopped = Stopped(position, failure) if failure else None
                if position % 1000 == 0:
                    progress(1000)
        except BrokenLog as broken:
            return ReplayAt(PortfolioReplay(portfolio_id, "", position, 0, "", (), broken), position, None)
        progress(position % 1000)
        differences = [stop_difference(portfolio_id, stopped)] if stopped else []
        return ReplayAt(replay_result(portfolio_id, rows, position, differences), position, _worth(rows))


def _started(
    connection: Raw, portfolio_id: UUID, moment: datetime | None, known: int | None, progress: Progress
) -> HistoryStart:
    """The result of the fast replay for a long log; an empty start otherwise."""
    last = known if known is not None else _end(connection, portfolio_id)
    start = replay_history(connection, portfolio_id, moment, last, PROJECTIONS) if last >= FAST_FROM else None
    if start is None:
        return HistoryStart(Head(0, genesis_hash(portfolio_id)), AsOfFilter(moment), FoldedRows())
    progress(start.head.position // 1000 * 1000)
    return start


def _end(connection: Raw, portfolio_id: UUID) -> int:
    head = head_record(connection, portfolio_id)
    return head.position if head else 0


def _worth(rows: MemoryRows) -> PortfolioValuation | None:
    return value_portfolio(rows) if next(rows.where(PortfolioView), None) else None


class _Key(NamedTuple):
    """A point in time of a portfolio. `known` is the last position known, None for the end of the log."""

    portfolio_id: UUID
    as_of: datetime | None
    known: int | None
    projections: tuple[Projection, ...]

    def extends_to(self, later: "_Key") -> bool:
        """Return True if the rows at `later` follow from these rows and further events.

        With the same `as_of`, further events are at the end of the log. With a later one they are anywhere in it, and
        only the value projections give the same rows in any order.
        """
        if (self.portfolio_id, self.projections) != (later.portfolio_id, later.projections):
            return False
        if self.as_of == later.as_of:
            return True
        grows = self.as_of is not None and (later.as_of is None or self.as_of < later.as_of)
        return grows and set(map(type, self.projections)) <= set(map(type, VALUE_PROJECTIONS))


class _Folded:
    """The rows at a point in time, and the position up to which the log is folded."""

    def __init__(self, moment: datetime | None, projections: tuple[Projection, ...]) -> None:
        self._projections = projections
        self._types = {kind.type for projection in projections for kind in projection.events}
        self.gate = threading.Lock()
        self.rows = FoldedRows()
        self.position = 0
        self.stopped: Stopped | None = None
        self.as_of = AsOfFilter(moment)

    def start(self, connection: Raw, portfolio_id: UUID, known: int, earlier: Iterable["_Folded"]) -> None:
        """Begin with the rows of an earlier point in time if they are most of the work, or with a fast replay."""
        nearest = max((one for one in earlier if one.position <= known), key=_nearness, default=None)
        if nearest is not None and self._continue_from(nearest, connection, portfolio_id, known):
            return
        if known >= FAST_FROM:
            start = replay_history(connection, portfolio_id, self.as_of.moment, known, self._projections)
            if start is not None:
                self.rows, self.position, self.as_of = start.rows, start.head.position, start.as_of

    def catch_up(self, connection: Raw, portfolio_id: UUID, known: int | None) -> None:
        """Fold up to position `known` or the end of the log; stop at an event that cannot be folded."""
        self.rows.within(partial(read_event, connection, portfolio_id))
        if self.stopped is not None or self.position == known:
            return
        for envelope in read_stream(connection, portfolio_id, self.position, known):
            if self.as_of.counts(envelope):
                changes, failure = self._changes(self.rows, envelope)
                if failure is not None:
                    self.stopped = Stopped(envelope.position, failure)
                    return
                self.rows.apply(changes)
            self.position = envelope.position

    @property
    def reached(self) -> tuple[datetime | None, int]:
        """The time of occurrence and the position up to which events are folded."""
        return self.as_of.moment, self.position

    def _continue_from(self, seen: "_Folded", connection: Raw, portfolio_id: UUID, known: int) -> bool:
        """Copy the rows of an earlier point in time and fold the events that it left out only for their time.

        Return False, without effect, if those rows are in use or stopped, or if most events remain to be folded.
        """
        if not seen.gate.acquire(blocking=False):
            return False
        try:
            if seen.stopped is not None or not 0 < seen.position <= known:
                return False
            if TIMES_SLOWER * count_between(connection, portfolio_id, seen.reached, (self.as_of.moment, known)) > known:
                return False
            rows, as_of, position = seen.rows.copied(), seen.as_of, seen.position
            moment = self.as_of.moment
            left_out = read_between(connection, portfolio_id, as_of.moment, moment, position, as_of.too_early)
            later, added = as_of.later(moment, left_out)
        finally:
            seen.gate.release()
        rows.within(partial(read_event, connection, portfolio_id))
        for envelope in added:
            changes, failure = self._changes(rows, envelope)
            if failure is not None:
                return False
            rows.apply(changes)
        self.rows, self.as_of, self.position = rows, later, position
        return True

    def _changes(self, rows: Rows, envelope: Envelope) -> tuple[list[Change], str | None]:
        """As `attempt_fold`; no changes for an event that no projection here folds."""
        if envelope.type not in self._types and envelope.type in _KNOWN_TYPES:
            return [], None
        return attempt_fold(rows, envelope, self._projections)


def _nearness(folded: _Folded) -> tuple[bool, datetime, int]:
    moment, position = folded.reached
    return moment is None, moment or datetime.min.replace(tzinfo=UTC), position
