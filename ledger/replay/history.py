"""Readings of the past: the rows as they were at a cut, folded from the log and kept for the next question.

What is kept is disposable and never the truth: it only grows by folding the events that came since.
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
from ledger.postgres.views import StoredRows, read_checkpoint, row_kinds, versions_text
from ledger.projections import PROJECTIONS, VALUE_PROJECTIONS
from ledger.projections.book import Stopped, attempt_fold
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import PortfolioView
from ledger.projections.trades import TradeView
from ledger.projections.valuation import PortfolioValuation, value_portfolio
from ledger.replay.differences import Difference, PortfolioReplay
from ledger.replay.fast.history import HistoryStart, replay_history
from ledger.replay.fast.replay import FAST_FROM, Progress
from ledger.replay.fast.rows import FoldedRows
from ledger.rows import Change, MemoryRows, Projection, Rows, all_rows, row_text, state_hash

_KNOWN_TYPES: Final = frozenset(name for name, _ in EVENTS)
TIMES_SLOWER: Final = 3
"""Folding events one by one takes about this many times as long as the fast replay."""
KEPT: Final = 8
"""So many cuts are remembered at a time,"""
KEPT_EVENTS: Final = 500_000
"""and so many events folded for them in all, beside the newest: an event takes up to 5 kB."""


class History:
    """Answers questions about the past of any portfolio in the database. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = threading.Lock()
        self._kept: OrderedDict[_Key, _Folded] = OrderedDict()

    @contextmanager
    def reading(
        self, portfolio_id: UUID, point: PointInTime, projections: tuple[Projection, ...] = PROJECTIONS
    ) -> Iterator[StoredReading]:
        """The portfolio as it was at `cut`; `position` is the last one known then (0 before the first event).

        Nothing but the rows of `projections` is sure to be there; events that none of them folds cost next to nothing.
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
                    # What stopped the fold may have been the database going away: the next question folds anew.
                    self._forget(folded)
                rows = folded.rows.within(partial(read_event, own, portfolio_id))
                yield StoredReading(folded.position, folded.stopped, rows, own, portfolio_id)

    def _folded(self, key: "_Key") -> tuple["_Folded", list["_Folded"]]:
        """What is kept for this cut, and what is kept for others from which it may be reached."""
        with self._gate:
            folded = self._kept.pop(key, None) or _Folded(key.as_of, key.projections)
            earlier = [kept for other, kept in self._kept.items() if other.may_become(key)]
            self._kept[key] = folded
            while len(self._kept) > KEPT or (len(self._kept) > 1 and self._folded_events() > KEPT_EVENTS):
                self._kept.popitem(last=False)
            return folded, earlier

    def _forget(self, folded: "_Folded") -> None:
        with self._gate:
            for key in [key for key, kept in self._kept.items() if kept is folded]:
                del self._kept[key]

    def _folded_events(self) -> int:
        return sum(folded.position for folded in self._kept.values())


def _present(connection: Raw, portfolio_id: UUID, moment: datetime | None, end: int) -> StoredReading | None:
    """The stored views, where they stand at the end of the log and all of it had happened by then."""
    checkpoint = read_checkpoint(connection, portfolio_id)
    if checkpoint is None or (checkpoint.position, checkpoint.stopped) != (end, None):
        return None
    if checkpoint.versions != versions_text() or (moment and events_after(connection, portfolio_id, moment)[0]):
        return None
    rows = StoredRows(portfolio_id, checkpoint.generation).within(connection)
    return StoredReading(end, None, rows, connection, portfolio_id)


def events_at(reading: StoredReading, past: PointInTime) -> Iterator[Envelope]:
    """The events that the rows of the reading, made at `past`, were folded from, in log order."""
    return AsOfFilter(past.as_of).of(read_stream(reading.connection, reading.portfolio_id, 0, reading.position))


@dataclass(frozen=True, slots=True)
class ReplayAt:
    """A portfolio replayed at a cut: what the replay found, and its worth then (None where it was not open yet)."""

    replay: PortfolioReplay
    position: int
    worth: PortfolioValuation | None


def replay_at(engine: Engine, portfolio_id: UUID, point: PointInTime, progress: Progress = lambda _: None) -> ReplayAt:
    """The log up to what was known is proven and folded anew; the identities must hold at the cut too.

    Stored views are of now, so there is nothing of theirs to compare.
    """
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
        return ReplayAt(_found(portfolio_id, rows, position, stopped), position, _worth(rows))


def _started(
    connection: Raw, portfolio_id: UUID, moment: datetime | None, known: int | None, progress: Progress
) -> HistoryStart:
    """As far as the column road proves and folds a long log; nothing of a short one."""
    last = known if known is not None else _end(connection, portfolio_id)
    start = replay_history(connection, portfolio_id, moment, last, PROJECTIONS) if last >= FAST_FROM else None
    if start is None:
        return HistoryStart(Head(0, genesis_hash(portfolio_id)), AsOfFilter(moment), FoldedRows())
    progress(start.head.position // 1000 * 1000)
    return start


def _end(connection: Raw, portfolio_id: UUID) -> int:
    head = head_record(connection, portfolio_id)
    return head.position if head else 0


def _found(portfolio_id: UUID, rows: MemoryRows, position: int, stopped: Stopped | None) -> PortfolioReplay:
    differences = [Difference(portfolio_id, *broken, None) for broken in broken_invariants(rows)]
    if stopped is not None:
        text = f"folding stops: {stopped.reason}"
        differences.append(Difference(portfolio_id, "replay", "", text, stopped.position))
    name = next((view.name for view in rows.where(PortfolioView)), "")
    trades = sum(1 for _ in rows.history(TradeView))
    texts = (row_text(row) for row in all_rows(rows, row_kinds()))
    return PortfolioReplay(portfolio_id, name, position, trades, state_hash(texts), tuple(differences))


def _worth(rows: MemoryRows) -> PortfolioValuation | None:
    return value_portfolio(rows) if next(rows.where(PortfolioView), None) else None


class _Key(NamedTuple):
    """What makes two cuts the same: `known` is the last position known, None for the end of the log."""

    portfolio_id: UUID
    as_of: datetime | None
    known: int | None
    projections: tuple[Projection, ...]

    def may_become(self, later: "_Key") -> bool:
        """Whether the rows of `later` may be these and what more events change.

        More events of the same time of occurrence stand at the end of the log. Those of a later time stand anywhere in
        it: only the folds of value give the same in any order.
        """
        if (self.portfolio_id, self.projections) != (later.portfolio_id, later.projections):
            return False
        if self.as_of == later.as_of:
            return True
        grows = self.as_of is not None and (later.as_of is None or self.as_of < later.as_of)
        return grows and set(map(type, self.projections)) <= set(map(type, VALUE_PROJECTIONS))


class _Folded:
    """One cut: its rows, and how far the log has been folded into them."""

    def __init__(self, moment: datetime | None, projections: tuple[Projection, ...]) -> None:
        self._projections = projections
        self._types = {kind.type for projection in projections for kind in projection.events}
        self.gate = threading.Lock()
        self.rows = FoldedRows()
        self.position = 0
        self.stopped: Stopped | None = None
        self.as_of = AsOfFilter(moment)

    def start(self, connection: Raw, portfolio_id: UUID, known: int, earlier: Iterable["_Folded"]) -> None:
        """The rows hold what an earlier cut has told already, where that is most of it; else what columns can tell."""
        nearest = max((one for one in earlier if one.position <= known), key=_nearness, default=None)
        if nearest is not None and self._goes_on_from(nearest, connection, portfolio_id, known):
            return
        if known >= FAST_FROM:
            start = replay_history(connection, portfolio_id, self.as_of.moment, known, self._projections)
            if start is not None:
                self.rows, self.position, self.as_of = start.rows, start.head.position, start.as_of

    def catch_up(self, connection: Raw, portfolio_id: UUID, known: int | None) -> None:
        """The rows hold everything up to position `known`, or to the end of the log; a fold that fails ends it."""
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
        """The time of occurrence and the position up to which all is folded."""
        return self.as_of.moment, self.position

    def _goes_on_from(self, seen: "_Folded", connection: Raw, portfolio_id: UUID, known: int) -> bool:
        """Takes over the rows of an earlier cut and adds what that left out only for its time; False, and nothing is done,
        when they are in use or good for nothing, or when the most is still to be folded."""
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
        """As `attempt_fold`; nothing for an event that no fold here looks at."""
        if envelope.type not in self._types and envelope.type in _KNOWN_TYPES:
            return [], None
        return attempt_fold(rows, envelope, self._projections)


def _nearness(folded: _Folded) -> tuple[bool, datetime, int]:
    moment, position = folded.reached
    return moment is None, moment or datetime.min.replace(tzinfo=UTC), position
