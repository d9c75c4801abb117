"""The fast replay of a portfolio: verify its log, fold it, and yield the rows as lines, a few megabytes at a time."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.booking.lots import Lot
from ledger.events import SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.log.event_log import Head, genesis_hash
from ledger.log.point_in_time import AsOfFilter
from ledger.postgres.log import Raw
from ledger.projections import PROJECTIONS
from ledger.projections.book import attempt_fold
from ledger.projections.holdings import HoldingsProjection
from ledger.projections.orders import OrdersProjection
from ledger.projections.portfolio import PortfolioView
from ledger.projections.reversals import ReversalsProjection
from ledger.projections.signals import OpinionsProjection, OpinionView
from ledger.projections.trades import TradesProjection
from ledger.replay.fast.copy import ENDLESS, has_late, raw_events, reversed_ids
from ledger.replay.fast.decode import (
    PlainTrade,
    RawEvent,
    envelope_of,
    id_of,
    occurred_us,
    plain_trade,
    position_of,
    type_of,
    verified_raw,
)
from ledger.replay.fast.fold import FOLDED, LINES, ORDERED, FastFold, Unsupported
from ledger.replay.fast.lines import datetime_of, line_of
from ledger.replay.fast.reversals import FastReversals
from ledger.rows import MemoryRows, Projection, Row, all_rows

CHUNK: Final = 20_000
"""Lines are handed on after this many events."""

FAST_FROM: Final = 5_000
"""Logs of at least this many events are folded by the fast replay; for shorter ones it gains nothing."""

Progress = Callable[[int], None]
"""Called now and then with the number of events done since the last call."""

Lines = tuple[type[Row], list[str]]

_FAST: Final = (HoldingsProjection, ReversalsProjection, TradesProjection)
_FOLDED_TYPES: Final = frozenset(kind.type for kind in FOLDED)
_PROJECTED_TYPES: Final = frozenset(kind.type for one in PROJECTIONS for kind in one.events)


class FastReplay:
    """One replay of the log up to position `last`, of the events that count at `moment` (None: all of them).

    Value events become lines. All other projections fold their events into `rows`. `head`, `recorded_at`, `rows` and
    `fold` are complete once `closed_lines` or `lines` is exhausted.
    """

    def __init__(
        self,
        connection: Raw,
        portfolio_id: UUID,
        progress: Progress = lambda _: None,
        *,
        rows: MemoryRows | None = None,
        last: int = ENDLESS,
        moment: datetime | None = None,
        projections: tuple[Projection, ...] = PROJECTIONS,
    ) -> None:
        self.head = Head(0, genesis_hash(portfolio_id))
        self.recorded_at: datetime | None = None
        self.as_of = AsOfFilter(moment)
        self._connection = connection
        self._portfolio_id = portfolio_id
        self._progress = progress
        self._last = last
        self.rows = MemoryRows() if rows is None else rows
        self._others = tuple(one for one in projections if not isinstance(one, _FAST))
        self._skipped = _PROJECTED_TYPES - {kind.type for one in self._others for kind in one.events}
        self._all_trades_concern_others = any(
            TradeExecuted in one.events and not isinstance(one, OrdersProjection | OpinionsProjection)
            for one in self._others
        )
        self._late = False
        self._reversals = FastReversals(frozenset())
        self._opened_fold: FastFold | None = None

    def lines(self) -> Generator[Lines, None, None]:
        """The lines of all rows, by kind, in no order; otherwise as `closed_lines`."""
        yield from self.closed_lines()
        if lots := self.fold.open_lots():
            yield Lot, lots
        by_kind: dict[type[Row], list[str]] = {}
        others = all_rows(self.rows, (kind for one in self._others for kind in one.rows))
        for row in (*others, *self.current_rows()):
            by_kind.setdefault(type(row), []).append(line_of(row))
        yield from by_kind.items()

    def closed_lines(self) -> Generator[Lines, None, None]:
        """The lines of rows that no later event changes, by kind, in no order.

        The connection must not be used for anything else until this is exhausted or closed, and must see a single
        snapshot throughout.

        Raises:
            Unsupported: the log holds something that only the event-by-event replay folds.
            Unverified: the hash chain does not hold.
        In both cases discard all lines and use the event-by-event replay.
        """
        self._late = has_late(self._connection, self._portfolio_id, [kind.type for kind in ORDERED])
        self._reversals = FastReversals(reversed_ids(self._connection, self._portfolio_id, self._last))
        raw: RawEvent = b""
        with closing(raw_events(self._connection, self._portfolio_id, last=self._last)) as raws:
            for number, raw in enumerate(verified_raw(self._portfolio_id, raws), start=1):
                self._take(raw)
                if number % CHUNK == 0:
                    self._progress(CHUNK)
                    yield from self._new_lines()
        if raw:
            envelope = envelope_of(raw)
            self.head, self.recorded_at = Head(envelope.position, envelope.hash), envelope.recorded_at
            self._progress(envelope.position % CHUNK)
        if self._late:
            yield from self._fold_by_time()
        yield from self._new_lines()

    def current_rows(self) -> Iterator[Row]:
        """Holdings, balances and reversals."""
        yield from self._reversals.rows()
        yield from self.fold.current_rows()

    def _take(self, raw: RawEvent) -> None:
        kind = type_of(raw)
        if not _counts(self.as_of, kind, raw):
            return
        if kind == TradeExecuted.type:
            self._take_trade(raw)
        elif kind == TradeReversed.type:
            self._reversals.add(envelope_of(raw))
        elif kind == SplitRecorded.type:
            raise Unsupported(kind)
        elif kind in _FOLDED_TYPES or kind not in self._skipped:
            envelope = envelope_of(raw)
            if kind not in self._skipped:
                self._offer(envelope)
            if kind in _FOLDED_TYPES:
                undone = self._reversals.see(id_of(raw))
                if not self._late:
                    self.fold.add_event(envelope, undone=undone)

    def _take_trade(self, raw: RawEvent) -> None:
        undone = self._reversals.see(id_of(raw))
        # A late log is folded in a second pass; here its trades matter only to the other projections.
        trade = plain_trade(raw) if not self._late or b'"bot:' in raw else None
        if self._concerns_others(raw, trade):
            self._offer(envelope_of(raw))
        if not self._late:
            self._add_trade(raw, trade, undone=undone)

    def _add_trade(self, raw: RawEvent, trade: PlainTrade | None, *, undone: bool) -> None:
        if trade is None or not self.fold.add_trade(trade, undone=undone):
            self.fold.add_event(envelope_of(raw), undone=undone)

    def _fold_by_time(self) -> Iterator[Lines]:
        """Fold the value events again in order of occurrence, as sorted by the database; the chain is already verified."""
        types = sorted(_FOLDED_TYPES)
        with closing(raw_events(self._connection, self._portfolio_id, last=self._last, by_time=types)) as raws:
            for number, raw in enumerate(raws, start=1):
                if self.as_of.moment is None or not self.as_of.leaves_out(UUID(bytes=id_of(raw))):
                    self._add_trade(raw, plain_trade(raw), undone=self._reversals.undoes(id_of(raw)))
                if number % CHUNK == 0:
                    yield from self._new_lines()

    def _offer(self, envelope: Envelope) -> None:
        changes, failure = attempt_fold(self.rows, envelope, self._others)
        if failure is not None:
            raise Unsupported(failure)
        self.rows.apply(changes)

    def _concerns_others(self, raw: RawEvent, trade: PlainTrade | None) -> bool:
        """Return True if the trade fills one of our orders or follows an opinion: other projections read such trades."""
        if self._all_trades_concern_others or b'"order_id"' in raw:
            return True
        if trade is None:
            return b'"bot:' in raw
        source = trade.triggered_by
        if source is None or not source.startswith("bot:"):
            return False
        return self.rows.get(OpinionView, source[4:], f"{trade.base}-{trade.quote}") is not None

    @property
    def fold(self) -> FastFold:
        """The fold of value events. Raises Unsupported for a portfolio that only the event-by-event replay folds."""
        if self._opened_fold is None:
            portfolio = next(self.rows.where(PortfolioView), None)
            if portfolio is None or portfolio.allow_short:
                raise Unsupported("no opening" if portfolio is None else "short selling")
            self._opened_fold = FastFold(portfolio.base_currency)
        return self._opened_fold

    def _new_lines(self) -> Iterator[Lines]:
        for kind in LINES:
            lines = self.fold.lines[kind]
            if lines:
                yield kind, lines
                self.fold.lines[kind] = []


def _counts(as_of: AsOfFilter, kind: str, raw: RawEvent) -> bool:
    """Return `as_of.counts` of the event; decode it only if more than its time matters."""
    if as_of.moment is None:
        return True
    if kind != TradeExecuted.type or b'"order_id"' in raw:
        return as_of.counts(envelope_of(raw))
    if datetime_of(occurred_us(raw)) <= as_of.moment:
        return True
    as_of.leave_out(UUID(bytes=id_of(raw)), position_of(raw))
    return False
