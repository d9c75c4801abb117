"""A cut of a long log folded by the column road: the rows of the plain fold, several times as fast.

Up to the first split or reversal the column road knows everything; what comes after is for the plain fold, which goes on
from the rows that are here.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from ledger.booking.lots import Lot
from ledger.events import EVENTS, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.log.hash_chain import Head, genesis_hash
from ledger.log.point_in_time import AsOfFilter
from ledger.postgres.log import Raw
from ledger.postgres.point_in_time import first_of
from ledger.projections.book import attempt_fold
from ledger.projections.holdings import HoldingsProjection
from ledger.projections.orders import OrdersProjection
from ledger.projections.portfolio import PortfolioView
from ledger.projections.signals import OpinionsProjection
from ledger.projections.trades import TradesProjection
from ledger.replay.fast.copy import has_late, raw_events
from ledger.replay.fast.decode import RawEvent, Unproven, envelope_of, plain_trade, proven, type_of
from ledger.replay.fast.fold import FOLDED, LINES, ORDERED, ColumnFold, Unusual
from ledger.replay.fast.rows import FoldedRows, row_reader
from ledger.rows import Projection

KNOWN_TYPES: Final = frozenset(name for name, _ in EVENTS)
_UNUSUAL_TYPES: Final = (SplitRecorded.type, TradeReversed.type)
_FOLDED_TYPES: Final = frozenset(kind.type for kind in FOLDED)
_IN_COLUMNS: Final = (HoldingsProjection, TradesProjection)
_ASK_ONLY_ORDERS_AND_BOTS: Final = (OrdersProjection, OpinionsProjection)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ColumnCut:
    """The rows that follow from the events up to `head` that `as_of` counts."""

    head: Head
    as_of: AsOfFilter
    rows: FoldedRows


def cut_by_columns(
    connection: Raw,
    portfolio_id: UUID,
    moment: datetime | None,
    known: int,
    projections: tuple[Projection, ...],
) -> ColumnCut | None:
    """The log up to position `known`, or up to what only the plain fold knows, proven and cut at a time of occurrence.

    None when only the plain fold can tell, from the beginning: of short selling, and of a log that is not whole. Runs in
    the caller's transaction, which has to see one moment throughout and is as it was afterwards.
    """
    unusual = first_of(connection, portfolio_id, _UNUSUAL_TYPES)
    last = known if unusual is None else min(known, unusual - 1)
    if last < 1 or not all(any(isinstance(one, kind) for one in projections) for kind in _IN_COLUMNS):
        return None
    cut = _Cut(AsOfFilter(moment), projections)
    try:
        with connection.transaction():
            late = has_late(connection, portfolio_id, [kind.type for kind in ORDERED])
            with closing(raw_events(connection, portfolio_id, last=last)) as raws:
                head = cut.take(proven(portfolio_id, raws), late=late)
            if late:
                with closing(raw_events(connection, portfolio_id, last=last, by_time=sorted(_FOLDED_TYPES))) as raws:
                    cut.take_by_time(raws)
            return ColumnCut(head or Head(0, genesis_hash(portfolio_id)), cut.as_of, cut.finished())
    except (Unusual, Unproven):
        return None


def _counts(as_of: AsOfFilter, raw: RawEvent) -> bool:
    """`as_of.counts` of the event, which is read only where its time is not all that matters."""
    if as_of.moment is None:
        return True
    if type_of(raw) != TradeExecuted.type or b'"order_id"' in raw:
        return as_of.counts(envelope_of(raw))
    if _EPOCH + timedelta(microseconds=int.from_bytes(raw[94:102], "big", signed=True)) <= as_of.moment:
        return True
    as_of.leave_out(_id_of(raw), int.from_bytes(raw[39:47], "big"))
    return False


def _id_of(raw: RawEvent) -> UUID:
    return UUID(bytes=raw[51:67])


class _Cut:
    """The events of value in columns, all others in the folds that look at them."""

    def __init__(self, as_of: AsOfFilter, projections: tuple[Projection, ...]) -> None:
        self.as_of = as_of
        self._rows = FoldedRows()
        self._others = tuple(one for one in projections if not isinstance(one, _IN_COLUMNS))
        self._types = {kind.type for one in self._others for kind in one.events}
        self._every_trade_concerns_others = any(
            TradeExecuted in one.events and not isinstance(one, _ASK_ONLY_ORDERS_AND_BOTS) for one in self._others
        )
        self._fold: ColumnFold | None = None

    def take(self, raws: Iterable[RawEvent], *, late: bool) -> Head | None:
        """Everything in the order of the log; when some of it is late, what is of value is left for `take_by_time`."""
        raw: RawEvent | None = None
        for raw in raws:
            kind = type_of(raw)
            if not _counts(self.as_of, raw):
                continue
            if kind not in KNOWN_TYPES or (kind in self._types and self._concerns_others(kind, raw)):
                self._offer(envelope_of(raw))
            if kind in _FOLDED_TYPES:
                self._fold = self._fold or self._opened()
                if not late:
                    self._add(self._fold, raw)
        return Head(envelope_of(raw).position, raw[-32:]) if raw else None

    def take_by_time(self, raws: Iterable[RawEvent]) -> None:
        """What is of value and counts, in the order in which it occurred."""
        for raw in raws:
            if self._fold is not None and not self.as_of.leaves_out(_id_of(raw)):
                self._add(self._fold, raw)

    def finished(self) -> FoldedRows:
        """All rows. What is open stands there as rows, history as lines."""
        if self._fold is not None:
            for kind in LINES:
                self._rows.add_history(kind, self._fold.lines[kind])
            self._fold.lines[Lot] = []
            self._rows.apply(self._fold.finish())
            self._rows.apply(map(row_reader(Lot), self._fold.lines[Lot]))
        return self._rows

    def _concerns_others(self, kind: str, raw: RawEvent) -> bool:
        """Whether one of the other folds may look at it: they ask for the orders and bots behind a trade."""
        if kind != TradeExecuted.type or self._every_trade_concerns_others:
            return True
        return b'"order_id"' in raw or b'"bot:' in raw

    def _offer(self, envelope: Envelope) -> None:
        changes, failure = attempt_fold(self._rows, envelope, self._others)
        if failure is not None:
            raise Unusual(failure)
        self._rows.apply(changes)

    def _opened(self) -> ColumnFold:
        portfolio = next(self._rows.where(PortfolioView), None)
        if portfolio is None or portfolio.allow_short:
            raise Unusual("no opening" if portfolio is None else "short selling")
        return ColumnFold(portfolio.base_currency)

    @staticmethod
    def _add(fold: ColumnFold, raw: RawEvent) -> None:
        trade = plain_trade(raw)
        if trade is None or not fold.add_trade(trade):
            fold.add_event(envelope_of(raw))
